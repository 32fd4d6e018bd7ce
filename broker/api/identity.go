package api

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Identity is what acts as a user with no sign-in: a key, its certificate and
// the CA to trust. The file form is the three in PEM, in this order; it is a
// secret and belongs in a file of mode 0600.
type Identity struct {
	User      string
	ExpiresAt time.Time
	// KeyPEM, CertPEM and CAPEM are PKCS #8 and X.509 in PEM.
	KeyPEM, CertPEM, CAPEM []byte
}

// PEM returns the file form.
func (id Identity) PEM() []byte { return bytes.Join([][]byte{id.KeyPEM, id.CertPEM, id.CAPEM}, nil) }

// ParseIdentity reads the file form. The first certificate is the user's, the
// others are what to trust. It does not look at the time.
func ParseIdentity(file []byte) (Identity, error) {
	var id Identity
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			break
		}
		text := pem.EncodeToMemory(block)
		switch {
		case block.Type == "PRIVATE KEY" && id.KeyPEM == nil:
			id.KeyPEM = text
		case block.Type == "CERTIFICATE" && id.CertPEM == nil:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return Identity{}, fmt.Errorf("identity: certificate: %w", err)
			}
			id.CertPEM, id.User, id.ExpiresAt = text, cert.Subject.CommonName, cert.NotAfter
		case block.Type == "CERTIFICATE":
			id.CAPEM = append(id.CAPEM, text...)
		default:
			return Identity{}, fmt.Errorf("identity: unexpected PEM block %q", block.Type)
		}
	}
	switch {
	case id.KeyPEM == nil:
		return Identity{}, errors.New("identity: no private key in it")
	case id.CertPEM == nil:
		return Identity{}, errors.New("identity: no certificate in it")
	case id.CAPEM == nil:
		return Identity{}, errors.New("identity: no CA certificate in it")
	}
	return id, nil
}

// TLSConfig returns what a client needs to speak to postern's services as the
// user: TLS 1.3, the CA alone trusted, the certificate shown.
func (id Identity) TLSConfig() (*tls.Config, error) {
	cert, err := tls.X509KeyPair(id.CertPEM, id.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("identity of %s: %w", id.User, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(id.CAPEM) {
		return nil, fmt.Errorf("identity of %s: no CA certificate in it", id.User)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      roots,
	}, nil
}
