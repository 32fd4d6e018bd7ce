package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/posternhq/postern/broker/api"
)

// Pinned trusts the server whose chain holds a CA with one of the pins:
// "sha256:" and the hash, in hex, of its public key (or of the certificate).
// The CA may have vouched for the one that signs by now. It is for the first contact,
// before there is a CA file.
func Pinned(pins ...string) (*tls.Config, error) { return PinnedOr(nil, pins...) }

// PinnedOr is Pinned, and trusts the CA certificates of known (PEM), too: what the
// broker gave at an earlier contact.
func PinnedOr(known []byte, pins ...string) (*tls.Config, error) {
	want, err := parsePins(pins)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(cs tls.ConnectionState) error {
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			roots.AppendCertsFromPEM(known)
			found := "none"
			for _, c := range cs.PeerCertificates[1:] {
				spki := sha256.Sum256(c.RawSubjectPublicKeyInfo)
				if found == "none" {
					found = "sha256:" + hex.EncodeToString(spki[:])
				}
				between.AddCert(c)
				if pinned(want, c) {
					roots.AddCert(c)
				}
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: cs.ServerName})
			if err != nil {
				return fmt.Errorf("the broker's CA does not have the pin given (it shows %s): %w", found, err)
			}
			return nil
		},
	}, nil
}

// HasPin reports whether a certificate of ca, in PEM, has one of the pins.
func HasPin(ca string, pins ...string) bool {
	want, err := parsePins(pins)
	if err != nil {
		return false
	}
	for rest := []byte(ca); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && pinned(want, c) {
			return true
		}
	}
}

func parsePins(pins []string) (want []string, err error) {
	for _, p := range pins {
		hash := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(p), "sha256:"), ":", ""))
		if b, err := hex.DecodeString(hash); err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("%q is not a pin: want sha256: and 64 hex digits, as postern ca show prints them", p)
		}
		want = append(want, hash)
	}
	if len(want) == 0 {
		return nil, errors.New("no pin of the CA")
	}
	return want, nil
}

// pinned tells whether a pin is of the certificate's key, or of all of it.
func pinned(pins []string, c *x509.Certificate) bool {
	spki, whole := sha256.Sum256(c.RawSubjectPublicKeyInfo), sha256.Sum256(c.Raw)
	return slices.Contains(pins, hex.EncodeToString(spki[:])) || slices.Contains(pins, hex.EncodeToString(whole[:]))
}

// notAgent refuses to take a proxy or an auditor for the broker: their
// certificates are of the same CA and hold names that they chose.
func notAgent(cs tls.ConnectionState) error {
	for _, u := range cs.PeerCertificates[0].URIs {
		if u.Scheme == "postern" {
			return fmt.Errorf("%s answers as %s: that is not the broker", cs.ServerName, u)
		}
	}
	return nil
}

// NewToken makes a token to join with.
func (c *Client) NewToken(ctx context.Context, in api.NewToken) (out api.TokenMade, err error) {
	err = c.json(ctx, "POST", "/v1/tokens", in, &out)
	return out, err
}

// Tokens lists the tokens.
func (c *Client) Tokens(ctx context.Context) ([]api.Token, error) {
	var out api.Tokens
	err := c.json(ctx, "GET", "/v1/tokens", nil, &out)
	return out.Tokens, err
}

// JoinChallenge asks for what method iam signs.
func (c *Client) JoinChallenge(ctx context.Context) (string, error) {
	var out api.Challenge
	err := c.json(ctx, "POST", "/v1/join/challenge", nil, &out)
	return out.Challenge, err
}

// Join asks to be let in as a service.
func (c *Client) Join(ctx context.Context, in api.Join) (out api.Joined, err error) {
	err = c.json(ctx, "POST", "/v1/join", in, &out)
	return out, err
}

// Renew gets a service's next certificate; the client shows the last one.
func (c *Client) Renew(ctx context.Context, in api.Renew) (out api.Joined, err error) {
	err = c.json(ctx, "POST", "/v1/join/renew", in, &out)
	return out, err
}

// Announce says where users reach a proxy; the client shows the proxy's certificate.
func (c *Client) Announce(ctx context.Context, in api.Announcement) (out api.Announced, err error) {
	err = c.json(ctx, "POST", "/v1/join/announcement", in, &out)
	return out, err
}

// Withdraw says that the proxy, which announced addr, stops.
func (c *Client) Withdraw(ctx context.Context, addr string) error {
	return c.json(ctx, "DELETE", "/v1/join/announcement?"+url.Values{"addr": {addr}}.Encode(), nil, nil)
}

// RotateCA takes the CA one phase further, or back.
func (c *Client) RotateCA(ctx context.Context, in api.RotateCA) (out api.CA, err error) {
	err = c.json(ctx, "POST", "/v1/ca/rotate", in, &out)
	return out, err
}
