package sts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Link is how connections to AWS are made.
type Link struct {
	// Dial, if set, is the HOST:PORT to which every TLS connection goes,
	// whatever host it is for. TLS and the Host header keep the host's own name.
	Dial string
	// RootCAs are trusted for AWS; nil means the system's.
	RootCAs *x509.CertPool
}

// Apply makes t connect that way. Plain HTTP is not redirected: the SDK speaks
// it to the instance's and the container's credential services only.
func (l Link) Apply(t *http.Transport) {
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	t.TLSClientConfig.MinVersion = tls.VersionTLS12
	if l.RootCAs != nil {
		t.TLSClientConfig.RootCAs = l.RootCAs.Clone()
	}
	if l.Dial == "" {
		return
	}
	t.Proxy = nil
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasSuffix(addr, ":443") || strings.HasSuffix(addr, ":8443") {
			addr = l.Dial
		}
		return d.DialContext(ctx, network, addr)
	}
}

// Advice says what to look at when err is that the other side did not prove to be AWS,
// or speaks no TLS; "" for any other error.
func Advice(err error) string {
	_, unproven := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	if !unproven && !unknown && !noTLS {
		return ""
	}
	return "; what answers does not prove to be AWS: look at proxy.aws.dial, and at proxy.aws.ca_file, the CA that is trusted there"
}

// RootsWith returns the system's certificate authorities and those of a PEM file.
func RootsWith(caFile string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities for AWS: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authorities for AWS: %s holds no PEM certificate", caFile)
	}
	return pool, nil
}
