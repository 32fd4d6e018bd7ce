package broker

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/people"
	"github.com/posternhq/postern/events"
)

// Who signs in with a real provider, in whichever way, is a pseudonym from then on:
// in the certificate, in every event and for AWS; and nobody once forgotten.
func TestPseudonymsOfProviders(t *testing.T) {
	const name, pseudonyms = "dana@example.com", "  pseudonyms: true\n"
	browser := func(t *testing.T, b *Broker, provider func(*visitor)) api.Certificate {
		t.Helper()
		to, finish := beginAt(t, b, "corp")
		v := newVisitor(t, b)
		v.visit(to)
		v.elsewhere("GET", v.away.String(), nil)
		provider(v)
		cert, err := finish(v.code("12345"))
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	// Each signs in and returns the certificate.
	for way, begin := range map[string]func(*testing.T, *Broker) func() api.Certificate{
		"OpenID": func(t *testing.T, b *Broker) func() api.Certificate {
			issuer := openID(t, b, pseudonyms)
			return func() api.Certificate {
				return browser(t, b, func(v *visitor) {
					v.atOpenID(issuer, name)
					v.visit(v.away.String())
				})
			}
		},
		"OpenID by device": func(t *testing.T, b *Broker) func() api.Certificate {
			issuer, at := openID(t, b, pseudonyms), int64(0)
			return func() api.Certificate {
				base, err := url.Parse(issuer)
				if err != nil {
					t.Fatal(err)
				}
				for time.Now().Unix() == at { // of one second the provider has one token
					time.Sleep(20 * time.Millisecond)
				}
				_, csr := newCSR(t, elliptic.P256())
				anybody := stranger(t, b)
				d, err := anybody.DeviceLogin(t.Context(), api.DeviceLogin{Auth: "corp", CSR: csr})
				if err != nil {
					t.Fatal(err)
				}
				v := newVisitor(t, b)
				v.elsewhere("GET", d.URL, nil)
				v.fill(base, "user_code", d.UserCode)
				v.fill(base, "confirm", "yes")
				v.atOpenID(issuer, name)
				cert, err := anybody.FinishDevice(t.Context(), api.FinishDevice{Device: d.Device})
				if err != nil {
					t.Fatal(err)
				}
				at = time.Now().Unix()
				return cert
			}
		},
		"SAML": func(t *testing.T, b *Broker) func() api.Certificate {
			samlIDP(t, b, "assertion", false, pseudonyms)
			return func() api.Certificate {
				return browser(t, b, func(v *visitor) {
					here, err := url.Parse(v.base)
					if err != nil {
						t.Fatal(err)
					}
					v.fill(here)
				})
			}
		},
	} {
		t.Run(way, func(t *testing.T) {
			b, j, _ := demoBroker(t)
			signIn := begin(t, b)
			admin, ctx := as(t, b, "admin"), t.Context()
			first := signIn()
			if !people.IsPseudonym(first.User) || len(first.Roles) != 1 || first.Roles[0] != "aws-reader" {
				t.Fatalf("signed in as %q with %v", first.User, first.Roles)
			}
			block, _ := pem.Decode([]byte(first.Certificate))
			if cert, err := x509.ParseCertificate(block.Bytes); err != nil || bytes.Contains(cert.Raw, []byte("dana")) {
				t.Errorf("the certificate tells the name: %v", err)
			}
			if again := signIn(); again.User != first.User {
				t.Errorf("the second time she is %s, and was %s", again.User, first.User)
			}
			session, err := as(t, b, first.User).StartSession(ctx, api.StartSession{App: "awsconsole"})
			if err != nil {
				t.Fatal(err)
			}
			started := find[*events.SessionStarted](history(t, j))
			if len(started) != 1 || started[0].SessionID != session.ID || started[0].RoleSessionName != first.User {
				t.Errorf("AWS is told %+v", started)
			}
			known, err := admin.People(ctx)
			if err != nil || len(known) != 1 || known[0] != (api.Person{Pseudonym: first.User, Name: name, Connector: "corp"}) {
				t.Errorf("known are %+v, %v", known, err)
			}
			if _, err := admin.Forget(ctx, first.User); err != nil {
				t.Fatal(err)
			}
			if known, err = admin.People(ctx); err != nil || len(known) != 0 {
				t.Errorf("still known are %+v, %v", known, err)
			}
			if next := signIn(); next.User == first.User || !people.IsPseudonym(next.User) {
				t.Errorf("who was forgotten is %s again", next.User)
			}
			for _, e := range history(t, j) {
				if bytes.Contains(e.Raw, []byte("dana")) {
					t.Errorf("her name is in %s", e.Raw)
				}
			}
		})
	}
}
