package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
)

// How long a user's certificate lives, and at most.
const (
	DefaultTTL = 12 * time.Hour
	MaxTTL     = events.MaxSession // no session outlives the certificate that it was started by
	serverTTL  = 90 * 24 * time.Hour
)

// Issued is a user's certificate.
type Issued struct {
	PEM       []byte
	Serial    string // hex
	ExpiresAt time.Time
}

// TTL is how long a certificate may live that somebody asked to live for
// asked (0: the default), when the roles allow roles (0: any).
func TTL(asked, roles time.Duration) (time.Duration, error) {
	ttl := asked
	if ttl == 0 {
		ttl = DefaultTTL
	}
	if ttl < time.Minute {
		return 0, fmt.Errorf("a certificate lives a minute at least, not %s", ttl)
	}
	ttl = min(ttl, MaxTTL)
	if roles > 0 {
		ttl = min(ttl, roles)
	}
	return ttl, nil
}

// ParseCSR reads a PKCS #10 request in PEM and proves that its sender holds the
// key, which must be ECDSA P-256.
func ParseCSR(text []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("csr: want one CERTIFICATE REQUEST in PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("csr: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("csr: %w", err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("csr: the key must be ECDSA P-256")
	}
	return key, nil
}

// IssueUser issues a client certificate: the user's name as common name and,
// escaped, in the URI postern://user/NAME; the roles as organizations.
func (a *Authority) IssueUser(key *ecdsa.PublicKey, user string, roles []string, now time.Time, ttl time.Duration) (Issued, error) {
	return a.IssueSignin(key, Signin{User: user, Roles: roles, TTL: ttl}, now)
}

// Signin is what a user's certificate says, and how long.
type Signin struct {
	User  string
	Roles []string
	// Device is the id of the machine that it is for, "" for none. It is the
	// subject's serialNumber, which is for those of devices (RFC 4519 section 2.31).
	Device string
	// Serial is the certificate's serial number, in hex, of NewSerial's; "" is a new one.
	Serial string
	TTL    time.Duration
}

// IssueSignin is IssueUser with all that a certificate can say.
func (a *Authority) IssueSignin(key *ecdsa.PublicKey, s Signin, now time.Time) (Issued, error) {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: s.User, Organization: s.Roles, SerialNumber: s.Device},
		URIs:        []*url.URL{userURI(s.User)},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(s.TTL),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if s.Serial != "" {
		t.SerialNumber, _ = new(big.Int).SetString(s.Serial, 16)
	}
	der, err := a.issue(t, key)
	if err != nil {
		return Issued{}, fmt.Errorf("certificate of user %s: %w", s.User, err)
	}
	return Issued{PEM: certPEM(der), Serial: t.SerialNumber.Text(16), ExpiresAt: t.NotAfter.UTC().Truncate(time.Second)}, nil
}

func userURI(user string) *url.URL {
	return &url.URL{Scheme: "postern", Host: "user", Path: "/" + user, RawPath: "/" + url.PathEscape(user)}
}

// Person is whom a certificate speaks for.
type Person struct {
	User      string
	IssuedAt  time.Time
	ExpiresAt time.Time
	Serial    string
	// Device is the id of the machine that the certificate was made for, "" for none.
	Device string
}

// ErrExpired is wrapped by Verify's error for a certificate whose time is over.
var ErrExpired = errors.New("the certificate has expired")

// Verify reads a user from the certificates that a TLS client showed and
// proved to hold the key of.
func (ca *CA) Verify(chain []*x509.Certificate, now time.Time) (Person, error) {
	cert, err := ca.verifyClient(chain, now)
	if err != nil {
		return Person{}, err
	}
	user := cert.Subject.CommonName
	if len(cert.URIs) != 1 || user == "" || cert.URIs[0].String() != userURI(user).String() {
		return Person{}, errors.New("client certificate: it is not a user's")
	}
	return Person{
		User:      user,
		IssuedAt:  cert.NotBefore.Add(backdate),
		ExpiresAt: cert.NotAfter,
		Serial:    cert.SerialNumber.Text(16),
		Device:    cert.Subject.SerialNumber,
	}, nil
}

// verifyClient returns the client's certificate if it is of an authority that
// is trusted and its time is not over.
func (ca *CA) verifyClient(chain []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("no client certificate was shown")
	}
	cert := chain[0]
	if now.After(cert.NotAfter) {
		return nil, fmt.Errorf("%w on %s", ErrExpired, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots:       ca.Pool(),
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return cert, nil
}

// IssueServer makes a key and a server certificate of 90 days for DNS names
// and IP addresses.
func (a *Authority) IssueServer(names []string, now time.Time) (tls.Certificate, error) {
	if len(names) == 0 {
		return tls.Certificate{}, errors.New("server certificate: no name to put into it")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("server certificate: %w", err)
	}
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(min(serverTTL, a.cert.NotAfter.Sub(now))),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	addNames(t, names)
	der, err := a.issue(t, key.Public())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("server certificate for %s: %w", strings.Join(names, ", "), err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("server certificate: %w", err)
	}
	chain := append([][]byte{der}, a.chain()...)
	if a.former != nil {
		chain = append(chain, a.former)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// IssueSigner makes a certificate, in DER, for a key that signs decisions.
func (a *Authority) IssueSigner(key ed25519.PublicKey, id string, notBefore, notAfter time.Time) ([]byte, error) {
	der, err := a.issue(&x509.Certificate{
		Subject:            pkix.Name{CommonName: "postern signing key " + id},
		NotBefore:          notBefore,
		NotAfter:           notAfter,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{signed.Purpose()},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("certificate of signing key %s: %w", id, err)
	}
	return der, nil
}

// NewKey makes a user's key where there is no machine of theirs to make it
// on: for identity files.
func NewKey() (*ecdsa.PublicKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	secret, err := keyPEM(key)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	return &key.PublicKey, secret, nil
}
