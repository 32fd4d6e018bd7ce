package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// How long things last, and how far a certificate's beginning is set back for
// clocks that are behind.
const (
	caTTL    = 10 * 365 * 24 * time.Hour
	backdate = time.Minute
)

// Authority is one generation of the CA: a key and its certificate.
type Authority struct {
	key  crypto.Signer
	cert *x509.Certificate
	// secret is key and certificate in PEM, public the certificate alone.
	secret, public []byte
	// cross is this authority's certificate as the former one signed it (DER):
	// while it goes along, who trusts the former one alone trusts this one, too.
	cross []byte
	// former is the certificate of who signed cross (DER), nil where that is not known:
	// a server shows it to who has nothing of the former one but its pin.
	former []byte
}

// NewAuthority makes an ECDSA P-256 key and a certificate of ten years.
func NewAuthority(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "postern CA " + serial.Text(16)[:8]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return ParseAuthority(append(secret, certPEM(der)...))
}

// crossType is the PEM type of a cross certificate behind an authority's own.
const crossType = "POSTERN CROSS CERTIFICATE"

// vouchFor returns next with a certificate of a's for it.
func (a *Authority) vouchFor(next *Authority, now time.Time) (*Authority, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := *next.cert
	t.SerialNumber, t.NotBefore, t.MaxPathLenZero = serial, now.Add(-backdate), true
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &t, a.cert, next.cert.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("cross certificate: %w", err)
	}
	cross := pem.EncodeToMemory(&pem.Block{Type: crossType, Bytes: der})
	return ParseAuthority(append(bytes.Clone(next.alone().secret), cross...))
}

// alone returns the authority without a cross certificate.
func (a *Authority) alone() *Authority {
	own := *a
	if i := bytes.Index(own.secret, []byte("-----BEGIN "+crossType)); i >= 0 {
		own.secret, own.cross, own.former = own.secret[:i:i], nil, nil
	}
	return &own
}

// chain is what goes along with a certificate of this authority.
func (a *Authority) chain() [][]byte {
	if a.cross == nil {
		return [][]byte{a.cert.Raw}
	}
	return [][]byte{a.cert.Raw, a.cross}
}

// ParseAuthority reads what PEM returned.
func ParseAuthority(text []byte) (*Authority, error) {
	a := &Authority{secret: text}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("private key: %w", err)
			}
			signer, ok := key.(crypto.Signer)
			if !ok {
				return nil, fmt.Errorf("a key of type %T cannot sign", key)
			}
			a.key = signer
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate: %w", err)
			}
			a.cert, a.public = cert, pem.EncodeToMemory(block)
		case crossType:
			a.cross = block.Bytes
		}
	}
	switch {
	case a.key == nil:
		return nil, errors.New("no private key in it")
	case a.cert == nil:
		return nil, errors.New("no certificate in it")
	}
	public, ok := a.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(a.cert.PublicKey) {
		return nil, errors.New("key and certificate do not belong together")
	}
	return a, nil
}

// PEM is key and certificate: a secret.
func (a *Authority) PEM() []byte { return a.secret }

// Certificate is the certificate in PEM.
func (a *Authority) Certificate() []byte { return a.public }

// SHA256 is the fingerprint of the certificate, in hex.
func (a *Authority) SHA256() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Pin is "sha256:" and the hash of the public key (RFC 7469, 2.4), in hex: what
// whoever meets the broker for the first time compares.
func (a *Authority) Pin() string { return Pin(a.cert) }

// Pin is a certificate's, see [Authority.Pin].
func Pin(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (a *Authority) issue(t *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	if t.SerialNumber == nil {
		serial, err := newSerial()
		if err != nil {
			return nil, err
		}
		t.SerialNumber = serial
	}
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if t.NotAfter.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("the CA ends on %s, before the certificate would", a.cert.NotAfter.Format(time.DateOnly))
	}
	return x509.CreateCertificate(rand.Reader, t, a.cert, public, a.key)
}

// NewSerial returns a serial number for a certificate that is made later.
func NewSerial() (string, error) {
	n, err := newSerial()
	if err != nil {
		return "", err
	}
	return n.Text(16), nil
}

// newSerial returns 127 random bits, never negative (RFC 5280, 4.1.2.2).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return n.SetBit(n, 126, 1), nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
