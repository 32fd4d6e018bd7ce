package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// trust finds the CA that the broker's certificate must be of: a file, a
// fingerprint, a former login, the system's roots (nil), or the user's own eyes.
func (c *cli) trust(ctx context.Context, h home, url string, in loginInput) (*x509.CertPool, error) {
	switch {
	case in.ca != "":
		return trustFile(in.ca)
	case in.pin != "":
		return trustPinned(ctx, url, in.pin)
	}
	if pool := x509.NewCertPool(); pool.AppendCertsFromPEM(h.knownCA(url)) {
		_, err := fetchCA(ctx, url, &tls.Config{RootCAs: pool})
		if errors.As(err, new(*tls.CertificateVerificationError)) {
			err = fmt.Errorf("%s does not prove to be the one of your last sign-in: if whoever runs postern says that its CA is another one now, give --ca-file FILE or --ca-pin sha256:FINGERPRINT (%w)", url, err)
		}
		return pool, err
	}
	_, err := fetchCA(ctx, url, &tls.Config{})
	if !errors.As(err, new(*tls.CertificateVerificationError)) {
		return nil, err
	}
	return c.trustSeen(ctx, url)
}

func trustFile(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("--ca-file %s: no certificate in it", path)
	}
	return pool, nil
}

func trustPinned(ctx context.Context, url, pins string) (*x509.CertPool, error) {
	pinned, err := client.Pinned(strings.Fields(pins)...)
	if err != nil {
		return nil, fmt.Errorf("--ca-pin: %w", err)
	}
	ca, err := fetchCA(ctx, url, pinned)
	if err != nil {
		return nil, fmt.Errorf("--ca-pin: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca.CA)) {
		return nil, fmt.Errorf("%s sent no CA certificate", url)
	}
	return pool, nil
}

// trustSeen asks the user whether the fingerprint is the right one.
func (c *cli) trustSeen(ctx context.Context, url string) (*x509.CertPool, error) {
	// Nothing of what comes over this connection is believed but the certificate
	// whose fingerprint has been compared.
	ca, err := fetchCA(ctx, url, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	block, _ := pem.Decode([]byte(ca.CA))
	if block == nil || !pool.AppendCertsFromPEM(pem.EncodeToMemory(block)) {
		return nil, fmt.Errorf("%s sent no CA certificate", url)
	}
	sum := sha256.Sum256(block.Bytes)
	if !isTerminal(c.stdin) {
		return nil, fmt.Errorf("the CA of %s is not known here: give --ca-file FILE or --ca-pin sha256:FINGERPRINT, from whoever runs postern", url)
	}
	c.say("The CA of %s is not known here. Its fingerprint is\n  sha256:%s", url, hex.EncodeToString(sum[:]))
	fmt.Fprint(c.stderr, "Is that what whoever runs postern told you? (yes/no) ")
	answer, err := c.line()
	if c.ctx.Err() != nil {
		return nil, err
	}
	if strings.TrimSpace(answer) != "yes" {
		return nil, errors.New("not signed in: the CA was not trusted")
	}
	return pool, nil
}

func fetchCA(ctx context.Context, url string, cfg *tls.Config) (api.CA, error) {
	b, err := client.New(url, cfg)
	if err != nil {
		return api.CA{}, err
	}
	return b.CA(ctx)
}
