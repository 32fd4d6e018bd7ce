package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/posternhq/postern/broker"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/joining"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/sts"
)

func (s *services) startBroker(ctx context.Context) error {
	j, err := s.journal("broker", embedded.Broker())
	if err != nil {
		return err
	}
	secrets, err := s.secrets(ctx)
	if err != nil {
		return err
	}
	joining, err := s.joining()
	if err != nil {
		return err
	}
	consumers, err := s.consumers()
	if err != nil {
		return err
	}
	b := s.cfg.Broker
	s.proxyAt.configured, s.auditorAt.configured = b.ProxyAddr, b.AuditorAddr
	publicURL := ""
	if b.PublicAddr != "" {
		publicURL = "https://" + b.PublicAddr
	}
	places, err := b.places()
	if err != nil {
		return err
	}
	proxyName := ""
	if s.cfg.Proxy != nil {
		proxyName = s.cfg.Proxy.Name
	}
	s.broker, err = broker.New(broker.Config{
		ProxyName:   proxyName,
		Proxies:     places,
		PublicURL:   publicURL,
		Listen:      b.Listen,
		DataDir:     filepath.Join(s.cfg.DataDir, "broker"),
		Journal:     j,
		Secrets:     secrets,
		Joining:     joining,
		Consumers:   consumers,
		PublicNames: append([]string{}, b.PublicNames...),
		ProxyAddr:   s.proxyAt.addr,
		AuditorAddr: s.auditorAt.addr,
		Log:         s.log.With().Str("service", "broker").Logger(),
	})
	if err != nil {
		return err
	}
	show := showing(s.broker.Server(append(serverNames(s.cfg.NATS.Listen), b.PublicNames...)))
	s.natsShows.Store(&show)
	if err := s.stack.start(ctx, "broker", s.broker); err != nil {
		return err
	}
	s.log.Info().Str("service", "broker").Str("addr", s.broker.Addr()).Msg("broker listens")
	if b.Apps != nil {
		apps, err := b.resources()
		if err == nil {
			err = s.broker.Configure(ctx, "postern.yaml", apps)
		}
		if err != nil {
			return fmt.Errorf("broker.apps: %w", err)
		}
	}
	return nil
}

// joining is how others join the broker of this process.
func (s *services) joining() (broker.Joining, error) {
	b := s.cfg.Broker
	out := broker.Joining{AgentTTL: b.AgentTTL, EC2: joining.EC2{MaxAge: b.EC2MaxAge}}
	link := sts.Link{Dial: b.AWS.Dial}
	var err error
	if b.AWS.CAFile != "" {
		if link.RootCAs, err = sts.RootsWith(b.AWS.CAFile); err != nil {
			return out, fmt.Errorf("broker.aws.ca_file: %w", err)
		}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	link.Apply(t)
	out.STS = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, file := range b.EC2Certificates {
		text, err := os.ReadFile(file)
		if err != nil {
			return out, fmt.Errorf("broker.ec2_certificates: %w", err)
		}
		certs, err := joining.ParseCertificates(text)
		if err != nil {
			return out, fmt.Errorf("broker.ec2_certificates: %s: %w", file, err)
		}
		out.EC2.Certificates = append(out.EC2.Certificates, certs...)
	}
	var mint func(name string, perms embedded.Permissions, ttl time.Duration) ([]byte, error)
	url := s.publicNATS()
	switch file := s.cfg.NATS.AccountSeedFile; {
	case s.authority != nil:
		mint = s.authority.Mint
	case file != "":
		seed, err := sealed.ReadPrivate(file)
		if err != nil {
			return out, fmt.Errorf("nats.account_seed_file: %w", err)
		}
		m, err := embedded.NewMinter(seed, s.cfg.NATS.Account)
		if err != nil {
			return out, fmt.Errorf("nats.account_seed_file: %s: %w", file, err)
		}
		mint = m.Mint
	default:
		return out, nil
	}
	out.NATS = func(kind, name string, ttl time.Duration) (api.NATSAccess, error) {
		creds, err := mint(name, agentPermissions[kind], ttl)
		return api.NATSAccess{URL: url, Creds: string(creds)}, err
	}
	return out, nil
}

// consumers is how the broker lets others read the streams. Only of an embedded
// server do we hold the key of the account in which their credentials live.
func (s *services) consumers() (broker.Consumers, error) {
	nc, err := s.connectAs("consumers", embedded.Consumers(), cmp.Or(s.cfg.NATS.ConsumersCredsFile, s.cfg.NATS.CredsFile))
	if err != nil {
		return broker.Consumers{}, err
	}
	j, err := journal.New(nc, "/postern/consumers")
	if err != nil {
		return broker.Consumers{}, err
	}
	nc, err = s.connectAs("push", embedded.Push(), cmp.Or(s.cfg.NATS.PushCredsFile, s.cfg.NATS.CredsFile))
	if err != nil {
		return broker.Consumers{}, err
	}
	reader, err := journal.New(nc, "/postern/push")
	if err != nil {
		return broker.Consumers{}, err
	}
	out := broker.Consumers{Journal: j, Reader: reader, Allowed: func(name, stream string) (publish, subscribe []string) {
		return embedded.Consumer(name, stream).Pub, []string{embedded.InboxPrefix(name) + ".>"}
	}}
	if s.authority != nil {
		out.Mint = func(name, stream string) (api.NATSAccess, error) {
			creds, err := s.authority.Mint(name, embedded.Consumer(name, stream), 0)
			return api.NATSAccess{URL: s.publicNATS(), Creds: string(creds)}, err
		}
	}
	return out, nil
}
