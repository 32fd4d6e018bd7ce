package local

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync"
	"time"
)

// caLifetime bounds the use of a CA bundle that was copied elsewhere; a helper
// that runs longer has to be started anew.
const caLifetime = 30 * 24 * time.Hour

// maxLeaves bounds the cache of certificates. Every S3 bucket has a host name
// of its own.
const maxLeaves = 1024

// authority is a CA for one run. Its key never leaves memory, and it is
// constrained to AWS's domains (RFC 5280, section 4.2.1.10), which Go, OpenSSL
// (so Python, Node) and Java check.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *ecdsa.PrivateKey // one key for all hosts

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"Postern"}, CommonName: "Postern local proxy " + now.UTC().Format("2006-01-02 15:04:05")},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         awsDomains(),
		ExcludedIPRanges: []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	return &authority{cert: cert, key: key, leaf: leaf, leaves: make(map[string]*tls.Certificate)}, nil
}

// certificate gives the certificate for one host, made on its first use.
func (a *authority) certificate(host string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[host]; c != nil {
		return c, nil
	}
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"Postern"}}, // a CN holds 64 characters, hosts may be longer
		DNSNames:     []string{host},
		NotBefore:    a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &a.leaf.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", host, err)
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leaf}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves) // a certificate costs 0.1 ms
	}
	a.leaves[host] = c
	return c, nil
}

// bundle is the PEM of the CA, then of what clients trust without us: extra
// and node (files; "" for none) and the system's roots where they are in a file.
func (a *authority) bundle(extra, node string) ([]byte, error) {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}) // a bytes.Buffer takes everything
	if extra != "" {
		p, err := os.ReadFile(extra)
		if err != nil {
			return nil, fmt.Errorf("the AWS_CA_BUNDLE to keep: %w; name a file that is there, or unset AWS_CA_BUNDLE", err)
		}
		b.Write(p)
		b.WriteByte('\n')
	}
	if p, err := os.ReadFile(node); err == nil && node != extra { // Node goes on without it, too
		b.Write(p)
		b.WriteByte('\n')
	}
	for _, f := range systemRoots() {
		if p, err := os.ReadFile(f); err == nil && bytes.Contains(p, []byte("BEGIN CERTIFICATE")) {
			b.Write(p)
			break
		}
	}
	return b.Bytes(), nil
}

// systemRoots are the files in which systems keep their trusted roots (the
// list of Go's crypto/x509). Windows has none; there the bundle is for AWS only.
func systemRoots() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, Amazon Linux
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
		"/etc/ssl/cert.pem",                                 // Alpine, macOS, BSD
	}
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
