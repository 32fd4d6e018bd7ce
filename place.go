package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

// showing is what a server shows and whom it trusts at a moment.
type showing func() (*tls.Certificate, *x509.CertPool, error)

// placement is what a proxy or an auditor needs to take its place.
type placement struct {
	journal *journal.Journal
	tls     *tls.Config // its server's
	// ticketKeys are what proxies share at a moment, nil where no broker gives any.
	ticketKeys func() [][]byte
	// broker takes a proxy's announcements, nil where none is known.
	broker announcer
}

// place gives a proxy or an auditor its journal and its server's TLS: from the
// broker that it joins, from the one in this process, or from files.
func (s *services) place(ctx context.Context, of placed) (out placement, err error) {
	names := append(serverNames(of.listen), of.names...)
	if of.join == nil {
		if out.journal, err = s.journal(of.kind, agentPermissions[of.kind]); err != nil {
			return out, err
		}
		if s.broker != nil {
			out.ticketKeys = s.broker.TicketKeys
			out.broker = beside{s.broker, of.name}
		}
		show := fromFiles(of.tls)
		if of.tls == nil {
			show = s.broker.Server(names)
		}
		out.tls, err = mutualTLS(show, clientAuth[of.kind], s.log.With().Str("service", of.kind).Logger())
		return out, err
	}
	m := s.membership(of.kind, of.name, of.join, names)
	if err := m.join(ctx); err != nil {
		return out, err
	}
	out.broker = m
	if of.kind == "proxy" {
		if len(m.given.Load().TicketKeys) == 0 { // what was given to an earlier version
			if err := m.renew(ctx); err != nil {
				return out, err
			}
		}
		out.ticketKeys = func() [][]byte { return m.given.Load().TicketKeys }
	}
	if out.journal, err = s.joinedJournal(m); err != nil {
		return out, err
	}
	if err := s.stack.start(ctx, of.kind+" membership", m); err != nil {
		return out, err
	}
	out.tls, err = mutualTLS(m.server, clientAuth[of.kind], m.log)
	return out, err
}

var agentPermissions = map[string]embedded.Permissions{"proxy": embedded.Proxy(), "auditor": embedded.Auditor()}

// clientAuth: those who show the auditor a token have no certificate.
var clientAuth = map[string]tls.ClientAuthType{"proxy": tls.RequireAndVerifyClientCert, "auditor": tls.VerifyClientCertIfGiven}

// joinedJournal connects with what the broker gave, and again whenever it gives
// anew.
func (s *services) joinedJournal(m *membership) (*journal.Journal, error) {
	nc, err := s.connectGiven(m.given.Load())
	if err != nil {
		return nil, err
	}
	j, err := journal.New(nc, "/postern/"+m.kind+"/"+m.name)
	if err != nil {
		nc.Close()
		return nil, err
	}
	var mu sync.Mutex
	s.closing = append(s.closing, func() {
		mu.Lock()
		defer mu.Unlock()
		nc.Close()
	})
	m.renewed = func(g *given) error {
		next, err := s.connectGiven(g)
		if err != nil {
			return err
		}
		if err := j.Use(next); err != nil {
			next.Close()
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		former := nc
		nc = next
		time.AfterFunc(2*journal.Grace, former.Close)
		return nil
	}
	return j, nil
}

// connectGiven reaches the streams where the configuration says, else where the
// broker does, with the credentials that it gave.
func (s *services) connectGiven(g *given) (*nats.Conn, error) {
	url := s.cfg.NATS.URL
	switch {
	case g.NATS == nil && url == "":
		return nil, errors.New("where is NATS? The broker does not say: set nats.url here, and nats.creds_file, or nats.account_seed_file where the broker runs; what this service was given is kept, so it needs no other token")
	case g.NATS == nil:
		return connectNATS(url, s.cfg.NATS.CredsFile, s.cfg.NATS.CAFile, s.watchNATS())
	}
	if url == "" {
		url = g.NATS.URL
	}
	if url == "" {
		return nil, errors.New("where is NATS? set nats.url here or nats.public_url where the broker runs")
	}
	opts, err := embedded.ClientOptions([]byte(g.NATS.Creds))
	if err != nil {
		return nil, err
	}
	opts = append(opts, s.watchNATS())
	if s.cfg.NATS.CAFile != "" {
		opts = append(opts, nats.RootCAs(s.cfg.NATS.CAFile))
	} else if strings.HasPrefix(url, "tls://") {
		opts = append(opts, nats.Secure(&tls.Config{RootCAs: g.pool, MinVersion: tls.VersionTLS13}))
	}
	return dialNATS(url, opts)
}

// fromFiles reads a certificate that somebody else made.
func fromFiles(files *TLSFiles) showing {
	return func() (*tls.Certificate, *x509.CertPool, error) {
		cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("cert_file %s, key_file %s: %w", files.CertFile, files.KeyFile, err)
		}
		if end := cert.Leaf.NotAfter; time.Now().After(end) {
			return nil, nil, fmt.Errorf("cert_file %s: the certificate ended at %s: put another one there", files.CertFile, end.Format(time.RFC3339))
		}
		ca, err := os.ReadFile(files.ClientCAFile)
		if err != nil {
			return nil, nil, err
		}
		clients := x509.NewCertPool()
		if !clients.AppendCertsFromPEM(ca) {
			return nil, nil, fmt.Errorf("client_ca_file %s: no certificate in it", files.ClientCAFile)
		}
		return &cert, clients, nil
	}
}

// mutualTLS asks for what to show and whom to trust at every connection, so that
// both may change while the server runs. Sessions are resumed only as long as
// neither has changed. Where it has nothing to show, the log says why: who connects is not
// told.
func mutualTLS(show showing, auth tls.ClientAuthType, log zerolog.Logger) (*tls.Config, error) {
	var mu sync.Mutex
	var last *tls.Config
	now := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cert, clients, err := show()
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if last == nil || !sameLeaf(last, cert) || !last.ClientCAs.Equal(clients) {
			last = &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
				Certificates: []tls.Certificate{*cert}, ClientCAs: clients, ClientAuth: auth,
			}
		}
		return last, nil
	}
	first, err := now(nil)
	if err != nil {
		return nil, err
	}
	conf := first.Clone()
	var said trouble.Said
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := now(hello)
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			if said.News(err) {
				log.Error().Err(err).Msg("connections are refused: there is no certificate to show, or no CA to verify clients by")
			}
		}
		return c, err
	}
	return conf, nil
}

func sameLeaf(c *tls.Config, cert *tls.Certificate) bool {
	return string(c.Certificates[0].Certificate[0]) == string(cert.Certificate[0])
}
