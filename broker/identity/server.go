package identity

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"
)

// renewServer is how long before its end a server's certificate is replaced.
const renewServer = 30 * 24 * time.Hour

// Server returns what a server in the broker's process shows and trusts, at the
// moment of each call: the certificate for names is issued again a month
// before its end, when another authority signs, and when the clock was set back to
// before its beginning.
func (ca *CA) Server(names []string, now func() time.Time) func() (*tls.Certificate, *x509.CertPool, error) {
	var mu sync.Mutex
	var cert *tls.Certificate
	var issuer *Authority
	return func() (*tls.Certificate, *x509.CertPool, error) {
		mu.Lock()
		defer mu.Unlock()
		t := ca.trust.Load()
		now := now()
		if cert == nil || issuer != t.signing || now.After(cert.Leaf.NotAfter.Add(-renewServer)) || now.Before(cert.Leaf.NotBefore) {
			c, err := t.signing.IssueServer(names, now)
			if err != nil {
				return nil, nil, err
			}
			cert, issuer = &c, t.signing
		}
		return cert, t.pool, nil
	}
}
