// Package oidc is a client of OpenID providers: the authorization code flow with
// PKCE (RFC 6749, RFC 7636) for browsers and the device flow (RFC 8628) for
// terminals. Tokens are checked as OpenID Connect Core 1.0, 3.1.3.7 asks.
package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/posternhq/postern/events"
)

const (
	timeout = 10 * time.Second
	// known is how long a provider's discovery document is believed; its keys are
	// asked for whenever one is unknown.
	known = time.Hour
)

// Errors of a device flow that goes on.
var (
	ErrPending  = errors.New("the person has not signed in yet")
	ErrSlowDown = errors.New("the provider asks to be asked less often")
)

// algorithms that sign with a private key. A provider that offers others is not
// believed: "none" proves nothing, and HMAC's key would be the client's secret.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// Person is what a provider says of whoever signed in.
type Person struct {
	User   string
	Claims map[string][]string
	// Subject is the account: the provider gives it to nobody else, as it may a name.
	Subject string
	// ID names the token that says so.
	ID string
}

// Clients speaks to providers. It is safe for concurrent use.
type Clients struct {
	http *http.Client

	mu        sync.Mutex
	providers map[string]provider // by issuer
}

type provider struct {
	*oidc.Provider
	until time.Time
}

// New returns clients that have spoken to nobody yet.
func New() *Clients {
	return &Clients{http: &http.Client{Timeout: timeout}, providers: map[string]provider{}}
}

func (c *Clients) provider(ctx context.Context, issuer string) (*oidc.Provider, error) {
	c.mu.Lock()
	p := c.providers[issuer]
	c.mu.Unlock()
	if p.Provider != nil && time.Now().Before(p.until) {
		return p.Provider, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, c.http), issuer)
	if err != nil {
		return nil, fmt.Errorf("openid provider %s: %w", issuer, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.providers[issuer] = provider{found, time.Now().Add(known)}
	return found, nil
}

// client is postern at a provider.
func (c *Clients) client(ctx context.Context, o *events.OIDCConnector) (*oauth2.Config, *oidc.Provider, error) {
	p, err := c.provider(ctx, o.IssuerURL)
	if err != nil {
		return nil, nil, err
	}
	conf := &oauth2.Config{ClientID: o.ClientID, RedirectURL: o.RedirectURL, Endpoint: p.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email"}}
	for _, s := range o.Scope {
		if !slices.Contains(conf.Scopes, s) {
			conf.Scopes = append(conf.Scopes, s)
		}
	}
	if o.ClientSecretFile != "" {
		secret, err := os.ReadFile(o.ClientSecretFile)
		if err != nil {
			return nil, nil, fmt.Errorf("client secret: %w", err)
		}
		conf.ClientSecret = strings.TrimSpace(string(secret))
	}
	return conf, p, nil
}

// AuthURL is where a browser begins. verifier is of PKCE; all three are to be
// kept until Exchange.
func (c *Clients) AuthURL(ctx context.Context, o *events.OIDCConnector, state, nonce, verifier string) (string, error) {
	conf, _, err := c.client(ctx, o)
	if err != nil {
		return "", err
	}
	opts := []oauth2.AuthCodeOption{oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)}
	if o.Prompt != "" {
		opts = append(opts, oauth2.SetAuthURLParam("prompt", o.Prompt))
	}
	if o.ACRValues != "" {
		opts = append(opts, oauth2.SetAuthURLParam("acr_values", o.ACRValues))
	}
	return conf.AuthCodeURL(state, opts...), nil
}

// Exchange trades the code that a browser came back with.
func (c *Clients) Exchange(ctx context.Context, o *events.OIDCConnector, code, nonce, verifier string) (Person, error) {
	conf, p, err := c.client(ctx, o)
	if err != nil {
		return Person{}, err
	}
	token, err := conf.Exchange(oidc.ClientContext(ctx, c.http), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Person{}, fmt.Errorf("exchange of the code: %w", err)
	}
	return c.person(ctx, o, p, token, &nonce)
}

// Device is what a person is told who signs in at another machine, and the code
// that Poll asks with.
type Device struct {
	DeviceCode, UserCode, URL, CompleteURL string
	ExpiresAt                              time.Time
	Interval                               time.Duration
}

// Device begins a device flow.
func (c *Clients) Device(ctx context.Context, o *events.OIDCConnector) (Device, error) {
	conf, _, err := c.client(ctx, o)
	if err != nil {
		return Device{}, err
	}
	if conf.Endpoint.DeviceAuthURL == "" {
		return Device{}, errors.New("the provider has no device flow: sign in with a browser on this machine")
	}
	// The library sends no secret here; providers differ in how they take it
	// (RFC 6749, 2.3.1), as it finds out by itself elsewhere.
	basic := &http.Client{Timeout: timeout, Transport: basicAuth{conf.ClientID, conf.ClientSecret}}
	var opts []oauth2.AuthCodeOption
	if o.ACRValues != "" {
		opts = append(opts, oauth2.SetAuthURLParam("acr_values", o.ACRValues))
	}
	d, err := conf.DeviceAuth(oidc.ClientContext(ctx, basic), opts...)
	if err != nil && conf.ClientSecret != "" {
		d, err = conf.DeviceAuth(oidc.ClientContext(ctx, c.http), append(opts, oauth2.SetAuthURLParam("client_secret", conf.ClientSecret))...)
	}
	if err != nil {
		return Device{}, fmt.Errorf("device flow: %w", err)
	}
	return Device{
		DeviceCode: d.DeviceCode, UserCode: d.UserCode, URL: d.VerificationURI, CompleteURL: d.VerificationURIComplete,
		ExpiresAt: d.Expiry, Interval: time.Duration(max(d.Interval, 1)) * time.Second,
	}, nil
}

// basicAuth adds the client's secret to requests.
type basicAuth struct{ id, secret string }

func (b basicAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.secret != "" {
		r = r.Clone(r.Context())
		r.SetBasicAuth(url.QueryEscape(b.id), url.QueryEscape(b.secret))
	}
	return http.DefaultTransport.RoundTrip(r)
}

// Poll asks once whether the person has signed in: ErrPending and ErrSlowDown
// say to ask again.
func (c *Clients) Poll(ctx context.Context, o *events.OIDCConnector, deviceCode string) (Person, error) {
	conf, p, err := c.client(ctx, o)
	if err != nil {
		return Person{}, err
	}
	// The library's own way waits between tries; here the terminal does.
	token, err := conf.Exchange(oidc.ClientContext(ctx, c.http), deviceCode,
		oauth2.SetAuthURLParam("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), oauth2.SetAuthURLParam("device_code", deviceCode))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == "authorization_pending":
		return Person{}, ErrPending
	case errors.As(err, &refused) && refused.ErrorCode == "slow_down":
		return Person{}, ErrSlowDown
	case err != nil:
		return Person{}, fmt.Errorf("device flow: %w", err)
	}
	out, err := c.person(ctx, o, p, token, nil)
	// Without a nonce two tokens of one second may be the same; the device code is of one
	// sign-in.
	sum := sha256.Sum256([]byte(deviceCode))
	out.ID = "oidc/device/" + hex.EncodeToString(sum[:])
	return out, err
}

// person checks a token. nonce is nil where the flow has none.
func (c *Clients) person(ctx context.Context, o *events.OIDCConnector, p *oidc.Provider, token *oauth2.Token, nonce *string) (Person, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Person{}, errors.New("the provider sent no ID token")
	}
	id, err := p.Verifier(&oidc.Config{ClientID: o.ClientID, SupportedSigningAlgs: algorithms}).Verify(oidc.ClientContext(ctx, c.http), raw)
	if err != nil {
		return Person{}, fmt.Errorf("ID token: %w", err)
	}
	if nonce != nil && subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(*nonce)) != 1 {
		return Person{}, errors.New("ID token: its nonce is not of this sign-in")
	}
	if err := checkACR(o, id); err != nil {
		return Person{}, err
	}
	signed, info := map[string]any{}, map[string]any{}
	if p.UserInfoEndpoint() != "" {
		said, err := p.UserInfo(oidc.ClientContext(ctx, c.http), oauth2.StaticTokenSource(token))
		if err != nil {
			return Person{}, fmt.Errorf("userinfo: %w", err)
		}
		if said.Subject != id.Subject {
			return Person{}, fmt.Errorf("userinfo: it is about %q, the ID token about %q", said.Subject, id.Subject)
		}
		if err := read(said.Claims, info); err != nil {
			return Person{}, fmt.Errorf("userinfo: %w", err)
		}
	}
	if err := read(id.Claims, signed); err != nil {
		return Person{}, fmt.Errorf("ID token: %w", err)
	}
	claims := together(signed, info)
	sum := sha256.Sum256([]byte(raw))
	out := Person{Claims: traits(claims), Subject: id.Subject, ID: "oidc/" + hex.EncodeToString(sum[:])}
	out.User, err = userName(o, claims)
	return out, err
}

// checkACR wants that the provider says that it did what acr_values asked for: it may
// leave that be (OpenID Connect Core 1.0, 3.1.2.1).
func checkACR(o *events.OIDCConnector, id *oidc.IDToken) error {
	if o.ACRValues == "" {
		return nil
	}
	var said struct {
		ACR string `json:"acr"`
	}
	if err := id.Claims(&said); err != nil {
		return fmt.Errorf("ID token: %w", err)
	}
	if !slices.Contains(strings.Fields(o.ACRValues), said.ACR) {
		return fmt.Errorf("the provider signed them in by acr %q, and the connector's acr_values want %q", said.ACR, o.ACRValues)
	}
	return nil
}

// userName is the claim that names a user. An email address that the provider
// did not verify could be anybody's.
func userName(o *events.OIDCConnector, claims map[string]any) (string, error) {
	claim := o.UsernameClaim
	if claim == "" {
		claim = "email"
	}
	// Some providers write the truth value as text.
	if v := claims["email_verified"]; claim == "email" && v != true && v != "true" && !o.AllowUnverifiedEmail {
		return "", errors.New("the provider does not say that it verified the email address")
	}
	name, _ := claims[claim].(string)
	if name == "" {
		return "", fmt.Errorf("the provider sent no claim %s, which names the user", claim)
	}
	return name, nil
}
