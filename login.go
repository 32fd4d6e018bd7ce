package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// brokerPort is where a broker listens unless told otherwise.
const brokerPort = "3080"

func (c *cli) login() *cobra.Command {
	var in loginInput
	cmd := &cobra.Command{
		Use:   "login --proxy HOST[:PORT] [--auth NAME]",
		Short: "Sign in and get a short-lived certificate",
		Long: "Sign in and get a short-lived certificate.\n\n" +
			"--auth=local asks for a password on the terminal, or reads it from stdin where\n" +
			"that is none; the code of an authenticator app is the next line. Security keys\n" +
			"are used in the browser, and --auth=browser is there from the beginning.\n\n" +
			"--auth=NAME signs in at the identity provider that the connector NAME is for: in\n" +
			"a browser on this machine or, with --device, on any machine.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runLogin(cmd.Context(), in) },
	}
	f := cmd.Flags()
	f.StringVar(&in.proxy, "proxy", envOr("POSTERN_PROXY", ""), "address of postern, HOST[:PORT]")
	f.StringVar(&in.user, "user", envOr("POSTERN_USER", os.Getenv("USER")), "user name, with --auth=local")
	f.StringVar(&in.auth, "auth", envOr("POSTERN_AUTH", authLocal), "how to sign in: local, browser or a connector's name")
	f.BoolVar(&in.device, "device", false, "sign in at the identity provider with a browser on another machine")
	f.StringVar(&in.ca, "ca-file", envOr("POSTERN_CA_FILE", ""), "PEM file of postern's CA")
	f.StringVar(&in.pin, "ca-pin", "", "pin or fingerprint of postern's CA, sha256:HEX, as postern ca show prints them")
	f.StringVar(&in.ttl, "ttl", "", "shorter life of the certificate, such as 1h")
	return cmd
}

// Values of --auth besides the names of connectors.
const (
	authLocal   = "local"
	authBrowser = "browser"
)

type loginInput struct {
	proxy, user, auth, ca, pin, ttl string
	device                          bool
}

func (c *cli) runLogin(ctx context.Context, in loginInput) error {
	switch {
	case in.proxy == "":
		return usageError{errors.New("where to sign in? give --proxy HOST[:PORT]")}
	case in.user == "" && in.auth == authLocal:
		return usageError{errors.New("who signs in? give --user")}
	case strings.ContainsAny(in.proxy, "/@ ") || !hostPortAddr(withPort(in.proxy, brokerPort)):
		return usageError{fmt.Errorf("--proxy=%s: want HOST[:PORT], such as postern.example.com or postern.example.com:%s", in.proxy, brokerPort)}
	case in.device && (in.auth == authLocal || in.auth == authBrowser):
		return usageError{errors.New("--device goes with --auth and a connector's name")}
	}
	h, err := c.home()
	if err != nil {
		return err
	}
	url := "https://" + withPort(in.proxy, brokerPort)
	roots, err := c.trust(ctx, h, url, in)
	if err != nil {
		return err
	}
	key, csr, err := newRequest()
	if err != nil {
		return err
	}
	b, err := client.New(url, &tls.Config{RootCAs: roots})
	if err != nil {
		return err
	}
	machine, err := h.prove(csr)
	if err != nil {
		return err
	}
	cert, err := c.certificate(ctx, b, in, csr, machine)
	if err != nil {
		return err
	}
	id := &identity{BrokerURL: url, Auth: in.auth, Identity: api.Identity{
		User:      cert.User,
		ExpiresAt: cert.ExpiresAt,
		KeyPEM:    []byte(key),
		CertPEM:   []byte(cert.Certificate),
		CAPEM:     []byte(cert.CA),
	}}
	if in.auth == authLocal {
		id.Auth = ""
	}
	if err := writePrivateBytes(filepath.Join(h.profileDir(id), "identity.pem"), id.file()); err != nil {
		return err
	}
	if err := writePrivateBytes(filepath.Join(h.dir, "current"), []byte(h.profileName(url, id.User))); err != nil {
		return err
	}
	c.say("Signed in as %s until %s. Next: postern apps ls", id.User, until(id.ExpiresAt))
	if c.identity != "" {
		c.say("Commands act by the identity in %s all the same, until POSTERN_IDENTITY is unset and --identity left out.", c.identity)
	}
	return nil
}

// certificate signs in.
func (c *cli) certificate(ctx context.Context, b *client.Client, in loginInput, csr string, machine *api.DeviceProof) (api.Certificate, error) {
	switch {
	case in.auth == authBrowser:
		return c.browserLogin(ctx, b, api.BrowserLogin{CSR: csr, TTL: in.ttl, Device: machine})
	case in.device:
		return c.deviceLogin(ctx, b, api.DeviceLogin{Auth: in.auth, CSR: csr, TTL: in.ttl, Device: machine})
	case in.auth != authLocal:
		return c.browserLogin(ctx, b, api.BrowserLogin{Auth: in.auth, CSR: csr, TTL: in.ttl, Device: machine})
	}
	password, err := c.password(fmt.Sprintf("Password of %s: ", in.user))
	if err != nil {
		return api.Certificate{}, err
	}
	try := api.Login{User: in.user, Password: password, CSR: csr, TTL: in.ttl, Device: machine}
	cert, err := b.Login(ctx, try)
	var asks *api.Error
	if !errors.As(err, &asks) || asks.Code != api.CodeNoFactor || len(asks.Details) == 0 {
		return cert, err
	}
	if !slices.Contains(asks.Details, "totp") {
		c.say("Your second factor is a security key.")
		return c.browserLogin(ctx, b, api.BrowserLogin{CSR: csr, TTL: in.ttl, Device: machine})
	}
	if try.TOTP, err = c.password("Code of your authenticator app: "); err != nil {
		return cert, err
	}
	return b.Login(ctx, try)
}

func (c *cli) browserLogin(ctx context.Context, b *client.Client, in api.BrowserLogin) (api.Certificate, error) {
	back, err := newBrowserReturn(ctx, c.warnings())
	if err != nil {
		return api.Certificate{}, err
	}
	in.Port, in.Challenge = back.port, back.challenge
	to, err := b.BrowserLogin(ctx, in)
	if err != nil {
		return api.Certificate{}, err
	}
	code, err := back.wait(ctx, c, to)
	if err != nil {
		return api.Certificate{}, err
	}
	return b.FinishLogin(ctx, api.FinishLogin{Code: code, Verifier: back.verifier})
}

// deviceLogin is the device flow (RFC 8628).
func (c *cli) deviceLogin(ctx context.Context, b *client.Client, in api.DeviceLogin) (api.Certificate, error) {
	d, err := b.DeviceLogin(ctx, in)
	if err != nil {
		return api.Certificate{}, err
	}
	c.say("On any machine, visit\n  %s\nand type the code\n  %s", d.URL, d.UserCode)
	interval := time.Duration(d.Interval) * time.Second
	for {
		select {
		case <-ctx.Done():
			return api.Certificate{}, ctx.Err()
		case <-time.After(interval):
		}
		cert, err := b.FinishDevice(ctx, api.FinishDevice{Device: d.Device})
		var later *api.Error
		if !errors.As(err, &later) || later.Code != api.CodePending {
			return cert, err
		}
		interval += time.Duration(later.RetryAfter) * time.Second
	}
}

// provesFactor proves a second factor for a session: on the terminal, or in the
// browser where it is a security key. Without a terminal, nothing is read from stdin
// unless that is what it is for.
func (c *cli) provesFactor(stdin bool) func(context.Context, *client.Client, *api.StartSession, *api.Error) error {
	return func(ctx context.Context, b *client.Client, in *api.StartSession, asks *api.Error) error {
		c.say("%s.", asks.Message)
		if slices.Contains(asks.Details, "totp") && (stdin || isTerminal(c.stdin)) {
			var err error
			in.TOTP, err = c.password("Code of your authenticator app: ")
			return err
		}
		if !slices.Contains(asks.Details, "webauthn") {
			return errors.New("this is no terminal to ask for a code on: run postern apps login " + in.App + " in one")
		}
		var err error
		in.Code, in.Verifier, err = c.factorInBrowser(ctx, b, api.BrowserProof{Purpose: "session", App: in.App})
		return err
	}
}

// factorInBrowser does with the user's second factors what in says.
func (c *cli) factorInBrowser(ctx context.Context, b *client.Client, in api.BrowserProof) (code, verifier string, err error) {
	back, err := newBrowserReturn(ctx, c.warnings())
	if err != nil {
		return "", "", err
	}
	in.Port, in.Challenge = back.port, back.challenge
	to, err := b.FactorInBrowser(ctx, in)
	if err != nil {
		return "", "", err
	}
	code, err = back.wait(ctx, c, to)
	return code, back.verifier, err
}
