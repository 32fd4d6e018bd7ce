package main

import (
	"crypto/tls"
	"fmt"
	"sync"

	"github.com/posternhq/postern/proxy/local"
)

// successor finds, for a helper whose session is over, the one that its user has
// started on the same app since. It has to be for the same IAM role: a program that
// runs is not handed another's power unasked.
func (p *profile) successor(sessions []*appSession) func(local.Session) (local.Session, error) {
	roles := map[string]string{}
	for _, s := range sessions {
		roles[s.App] = s.AWSRoleARN
	}
	return func(over local.Session) (local.Session, error) {
		all, err := p.sessions()
		if err != nil {
			return over, nil // nothing is known of another; the proxy says what to do
		}
		for _, s := range all {
			switch {
			case s.App != over.App || s.SessionID == over.ID:
			case s.AWSRoleARN != roles[s.App]:
				return over, fmt.Errorf("it was on %s as %s, and the one there now is as %s: start this helper anew to use that", s.App, roles[s.App], s.AWSRoleARN)
			default:
				return local.Session{ID: s.SessionID, App: s.App, Region: s.Region}, nil
			}
		}
		return over, nil
	}
}

// lastingTLS shows the certificate of the user's latest sign-in.
func (p *profile) lastingTLS() (*tls.Config, error) {
	conf, err := p.TLSConfig()
	if err != nil || p.file == "" {
		return conf, err
	}
	var mu sync.Mutex
	shown := &conf.Certificates[0]
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		// A file that is gone or of somebody else leaves what there was.
		if id, err := readIdentity(p.file); err == nil && id.User == p.User && id.BrokerURL == p.BrokerURL {
			if cert, err := tls.X509KeyPair(id.CertPEM, id.KeyPEM); err == nil {
				shown = &cert
			}
		}
		return shown, nil
	}
	return conf, nil
}
