package identity

import (
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
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// How long things last, and how far a certificate's beginning is set back for
// clocks that are behind.
const (
	caTTL    = 10 * 365 * 24 * time.Hour
	backdate = time.Minute
)

// CA is the certificate authority that users and postern's services trust.
// It is safe for concurrent use.
type CA struct {
	key  crypto.Signer
	cert *x509.Certificate
	pem  []byte
	pool *x509.CertPool
}

// OpenCA reads the CA of a directory, or makes it: an ECDSA P-256 key and a
// certificate of ten years, in one file of mode 0600. A directory that is not
// there is made with mode 0700.
func OpenCA(dir string, now time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	path := filepath.Join(dir, "ca.pem")
	text, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newCA(now); err == nil {
			text, err = createSecret(path, text)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	ca, err := parseCA(text)
	if err != nil {
		return nil, fmt.Errorf("ca: %s: %w", path, err)
	}
	return ca, nil
}

func newCA(now time.Time) ([]byte, error) {
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
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return append(secret, certPEM(der)...), nil
}

func parseCA(text []byte) (*CA, error) {
	ca := &CA{pool: x509.NewCertPool()}
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
			ca.key = signer
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate: %w", err)
			}
			ca.cert, ca.pem = cert, pem.EncodeToMemory(block)
			ca.pool.AddCert(cert)
		}
	}
	switch {
	case ca.key == nil:
		return nil, errors.New("no private key in it")
	case ca.cert == nil:
		return nil, errors.New("no certificate in it")
	}
	public, ok := ca.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(ca.cert.PublicKey) {
		return nil, errors.New("key and certificate do not belong together")
	}
	return ca, nil
}

// PEM is the CA's certificate.
func (ca *CA) PEM() []byte { return ca.pem }

// Pool holds the CA alone.
func (ca *CA) Pool() *x509.CertPool { return ca.pool }

// SHA256 is the fingerprint of the CA's certificate, in hex.
func (ca *CA) SHA256() string {
	sum := sha256.Sum256(ca.cert.Raw)
	return hex.EncodeToString(sum[:])
}

func (ca *CA) issue(t *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if t.NotAfter.After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("the CA ends on %s, before the certificate would", ca.cert.NotAfter.Format(time.DateOnly))
	}
	return x509.CreateCertificate(rand.Reader, t, ca.cert, public, ca.key)
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
