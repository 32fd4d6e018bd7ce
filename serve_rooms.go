package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/sts"
)

func (s *services) startClickHouse(ctx context.Context) error {
	lib, err := embedded.FindLib(s.cfg.ClickHouse.Lib)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cold, err := s.cfg.ClickHouse.Tiers.cold()
	if err != nil {
		return err
	}
	s.clickhouse, err = embedded.NewClickHouse(embedded.ClickHouseConfig{
		Dir: filepath.Join(s.cfg.DataDir, "clickhouse"), Lib: lib, MaxMemory: s.cfg.ClickHouse.MaxMemory,
		Command: []string{self, engineCommand},
		Scope:   scope(),
		Cold:    cold,
		Log:     s.log.With().Str("service", "clickhouse").Logger(),
	})
	if err != nil {
		return err
	}
	return s.stack.start(ctx, "clickhouse", s.clickhouse)
}

// scope is what readers of some AWS accounts may see of the embedded server.
func scope() embedded.Scope {
	return embedded.Scope{User: store.ScopeUser, Database: store.ScopeDatabase(embedded.Database), Tables: store.ScopeTables(), Filters: store.ScopeFilters()}
}

func (s *services) startProxy(ctx context.Context) error {
	p := s.cfg.Proxy
	at, err := s.place(ctx, p.placed())
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	if p.TicketKeyFile != "" {
		keys, err := sealed.ReadKeys(p.TicketKeyFile)
		if err != nil {
			return fmt.Errorf("proxy.ticket_key_file: %w", err)
		}
		var raw [][]byte
		for _, key := range keys {
			raw = append(raw, key)
		}
		at.ticketKeys = func() [][]byte { return raw }
	}
	link := sts.Link{Dial: p.AWS.Dial}
	if p.AWS.CAFile != "" {
		if link.RootCAs, err = sts.RootsWith(p.AWS.CAFile); err != nil {
			return fmt.Errorf("proxy.aws.ca_file: %w", err)
		}
	}
	var lockPolicy *proxy.LockPolicy
	if p.AWS.LockPolicy != nil {
		lockPolicy = &proxy.LockPolicy{Role: p.AWS.LockPolicy.Role}
	}
	serves, err := p.Apps.serves()
	if err != nil {
		return err
	}
	s.proxy, err = proxy.New(proxy.Config{
		Serves: serves,
		Listen: p.Listen, Name: p.Name, TLS: at.tls,
		Journal: at.journal, TicketKeys: at.ticketKeys, DataDir: filepath.Join(s.cfg.DataDir, "proxy"),
		AWS: proxy.AWS{Link: link, Region: p.AWS.Region, LockPolicy: lockPolicy},

		MaxSilence:       p.MaxSilence,
		BestEffort:       p.Strict != nil && !*p.Strict,
		RecordParameters: p.RecordParameters,
		HoldFor:          p.HoldFor,
		Log:              s.log.With().Str("service", "proxy").Logger(),
	})
	if err != nil {
		return err
	}
	if err := s.stack.start(ctx, "proxy", s.proxy); err != nil {
		return err
	}
	s.proxyAt.at(s.proxy.Addr())
	if b := s.cfg.Broker; b != nil && b.ProxyAddr == "" && len(b.Proxies) == 0 && p.PublicAddr == "" {
		s.warnOfLocalhost("broker.proxy_addr", p.Listen, s.proxyAt.addr())
	}
	if p.PublicAddr == "" {
		return nil
	}
	return s.stack.start(ctx, "announcement", &announcement{broker: at.broker, says: p.says(), ready: make(chan struct{}), log: s.log.With().Str("service", "proxy").Logger()})
}

// operations are AWS's, as the auditor wants to know them.
func operations(t *awsreq.Table) query.Operations {
	return func(yield func(query.Operation) bool) {
		for o := range t.Operations() {
			if !yield(query.Operation(o)) {
				return
			}
		}
	}
}

func (s *services) startAuditor(ctx context.Context) error {
	a := s.cfg.Auditor
	at, err := s.place(ctx, a.placed())
	if err != nil {
		return fmt.Errorf("auditor: %w", err)
	}
	tlog.LogTo(s.log)
	owner, reader, scoped := s.cfg.ClickHouse.DSN, s.cfg.ClickHouse.ReaderDSN, s.cfg.ClickHouse.ScopedDSN
	if s.clickhouse != nil {
		owner, reader, scoped = s.clickhouse.DSN(embedded.Owner), s.clickhouse.DSN(embedded.Reader), s.clickhouse.DSN(embedded.Scoped)
	}
	actions, err := awsreq.New()
	if err != nil {
		return err
	}
	if s.cfg.Broker == nil && s.cfg.Proxy == nil && !s.cfg.NATS.Embedded && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(auditor.MemoryGoal)
	}
	s.auditor, err = auditor.New(auditor.Config{
		Actions:       actions.Actions,
		Operations:    operations(actions),
		Listen:        a.Listen,
		TLS:           at.tls,
		BrokerCA:      at.tls.ClientCAs,
		Journal:       at.journal,
		ClickHouseDSN: owner, ReaderDSN: reader, ScopedDSN: scoped,
		Cluster:     s.cfg.ClickHouse.Cluster,
		Sharded:     s.cfg.ClickHouse.Sharded,
		Retention:   s.cfg.ClickHouse.Retention.retention(),
		Tiers:       s.cfg.ClickHouse.Tiers.tiers(),
		DataDir:     filepath.Join(s.cfg.DataDir, "auditor"),
		TrailDirs:   a.CloudTrail,
		Trail:       a.AWS.trail(),
		TrailDelay:  a.TrailDelay,
		ReaderRoles: a.ReaderRoles,
		Notary:      notary(a.Log, a.AWS),
		Log:         s.log.With().Str("service", "auditor").Logger(),
	})
	if err != nil {
		return err
	}
	if err := s.stack.start(ctx, "auditor", s.auditor); err != nil {
		return err
	}
	s.log.Info().Str("service", "auditor").Str("addr", s.auditor.Addr()).Msg("auditor listens")
	s.auditorAt.at(s.auditor.Addr())
	if b := s.cfg.Broker; b != nil && b.AuditorAddr == "" {
		s.warnOfLocalhost("broker.auditor_addr", a.Listen, s.auditorAt.addr())
	}
	return nil
}

// notary is the configuration of the transparency logs.
func notary(c AuditLogConfig, aws *AuditorAWSConfig) auditor.NotaryConfig {
	n := auditor.NotaryConfig{Name: c.Name, PublishEvery: c.PublishEvery, Dirs: c.WitnessDirs, Repos: c.WitnessRepos, Bucket: c.Bucket}
	if t := aws.trail(); t != nil {
		n.BucketAWS = t.AWS
	}
	for _, w := range c.Witnesses {
		n.Witnesses = append(n.Witnesses, tlog.Witness(w))
	}
	return n
}
