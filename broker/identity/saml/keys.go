package saml

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Keys are the service provider's own: they sign its requests and decrypt
// assertions that are meant for it. All brokers share them.
type Keys struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

// certificateTTL is long: identity providers are told the certificate by hand, and
// trust its key, not its date.
const certificateTTL = 20 * 365 * 24 * time.Hour

// NewKeys makes keys, and the certificate in which identity providers want them.
func NewKeys(now time.Time) (*Keys, error) {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "postern SAML"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateTTL)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Keys{key, cert}, err
}

// ParseKeys reads what PEM wrote.
func ParseKeys(text []byte) (*Keys, error) {
	keyBlock, rest := pem.Decode(text)
	certBlock, _ := pem.Decode(rest)
	if keyBlock == nil || certBlock == nil {
		return nil, errors.New("saml keys: not a private key and a certificate in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("saml keys: %w", err)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("saml keys: %w", err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("saml keys: a key of type %T, not of RSA", key)
	}
	return &Keys{private, cert}, nil
}

// PEM is a secret.
func (k *Keys) PEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: key}) // a buffer takes all
	_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: k.cert.Raw})
	return b.Bytes(), nil
}
