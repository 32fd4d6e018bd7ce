package identity

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Agent is a service that has joined.
type Agent struct {
	// Kind is "proxy" or "auditor".
	Kind, Name string
	ExpiresAt  time.Time
}

// DefaultAgentTTL is how long a service's certificate lives. It is renewed
// after a third of it, so that brokers may be away for hours.
const DefaultAgentTTL = 6 * time.Hour

// IssueAgent issues a service's certificate, for serving under names and for
// renewing: postern://KIND/NAME is its URI. It has no common name, so that
// nobody takes it for a user's. PEM is the chain.
func (a *Authority) IssueAgent(key *ecdsa.PublicKey, kind, name string, names []string, now time.Time, ttl time.Duration) (Issued, error) {
	t := &x509.Certificate{
		URIs:        []*url.URL{agentURI(kind, name)},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(ttl),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	addNames(t, names)
	der, err := a.issue(t, key)
	if err != nil {
		return Issued{}, fmt.Errorf("certificate of %s %s: %w", kind, name, err)
	}
	chain := certPEM(der)
	for _, c := range a.chain() {
		chain = append(chain, certPEM(c)...)
	}
	return Issued{PEM: chain, Serial: t.SerialNumber.Text(16), ExpiresAt: t.NotAfter.UTC().Truncate(time.Second)}, nil
}

func agentURI(kind, name string) *url.URL {
	return &url.URL{Scheme: "postern", Host: kind, Path: "/" + name}
}

// VerifyAgent reads a service from the certificates that a TLS client showed
// and proved to hold the key of.
func (ca *CA) VerifyAgent(chain []*x509.Certificate, now time.Time) (Agent, error) {
	cert, err := ca.verifyClient(chain, now)
	if err != nil {
		return Agent{}, err
	}
	if len(cert.URIs) == 1 && cert.Subject.CommonName == "" {
		u := cert.URIs[0]
		a := Agent{Kind: u.Host, Name: strings.TrimPrefix(u.Path, "/"), ExpiresAt: cert.NotAfter}
		if a.Kind != "user" && a.Name != "" && u.String() == agentURI(a.Kind, a.Name).String() {
			return a, nil
		}
	}
	return Agent{}, errors.New("client certificate: it is not a service's")
}

var hostForm = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

const maxNames = 20

// CheckNames reports what is wrong with the names that a service wants to
// serve under: no wildcards, none that is a broker's.
func CheckNames(names, brokers []string) error {
	if len(names) == 0 || len(names) > maxNames {
		return fmt.Errorf("a certificate has 1 to %d names, not %d", maxNames, len(names))
	}
	for _, n := range names {
		ip := net.ParseIP(n)
		if ip == nil && (len(n) > 253 || !hostForm.MatchString(n)) {
			return fmt.Errorf("%q is neither a host name nor an IP address", n)
		}
		local := ip != nil && ip.IsLoopback() || strings.EqualFold(n, "localhost")
		for _, b := range brokers {
			if strings.EqualFold(n, b) && !local {
				return fmt.Errorf("%s is the broker's own name", n)
			}
		}
	}
	return nil
}

func addNames(t *x509.Certificate, names []string) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
}
