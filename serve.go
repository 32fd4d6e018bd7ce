package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/broker"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/sts"
)

func (c *cli) serve() *cobra.Command {
	var file, admin string
	cmd := &cobra.Command{
		Use: "serve --config FILE", Short: "Run the services that a configuration enables", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := orSignal(c.ctx, func() (*Config, error) { return readConfig(file) })
			if err != nil {
				return err
			}
			s := &services{cfg: cfg, log: c.logger(cfg.Log)}
			if err := s.serve(cmd.Context(), admin); err != nil {
				s.log.WithLevel(zerolog.FatalLevel).Err(err).Msg("postern ends")
				return exitCode(1)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "postern.yaml", "configuration file; postern config init writes one")
	cmd.Flags().StringVar(&admin, "admin-identity", "", "write an identity file of the user admin, whom it makes, or unlocks and gives the role admin again, if need be: the way in for a first operator")
	return cmd
}

// serve runs the services until ctx ends.
func (s *services) serve(ctx context.Context, admin string) error {
	if admin != "" {
		if err := checkTarget(admin); err != nil {
			return fmt.Errorf("--admin-identity: %w", err)
		}
	}
	lock, err := embedded.LockDir(s.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	defer lock.Close()
	if err = s.start(ctx); err == nil {
		err = s.bootstrap(ctx, admin)
	}
	switch {
	case err == nil:
		s.log.Info().Msg("ready")
		if err = s.stack.wait(ctx); err == nil {
			s.log.Info().Msg("stopping")
		} else {
			s.log.Error().Err(err).Msg("stopping") // which may take a while
		}
	case ctx.Err() != nil: // told to stop before it was ready
		s.log.Info().Err(err).Msg("stopping before all was started")
		err = nil
	}
	s.stopping.Store(true)
	if err = errors.Join(err, s.stop()); err == nil {
		s.log.Info().Msg("stopped")
	}
	return err
}

// checkTarget refuses to write a file where no directory is, or no file could be.
func checkTarget(path string) error {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no directory: make it, or give another place", dir)
	}
	_, err := writable(path)
	return err
}

const adminResources = `kind: role
version: v7
metadata: {name: admin, description: Operates postern and reads the audit trail}
spec:
  options: {max_session_ttl: 30h}
  allow:
    rules: [{resources: ["*"], verbs: ["*"]}]
    review_requests: {roles: ["*"]}
---
kind: user
version: v2
metadata: {name: admin}
spec: {roles: [admin]}
`

// bootstrap gives the first operator a way in. Whoever can start the broker on
// its data directory has its CA's key anyway.
func (s *services) bootstrap(ctx context.Context, file string) error {
	if s.broker == nil {
		if file != "" {
			return errors.New("--admin-identity: the broker does not run here")
		}
		return nil
	}
	there, err := s.broker.HasUser(ctx, "admin")
	if err != nil {
		return err
	}
	if file == "" {
		if !there {
			s.log.Warn().Msg("there is no user admin: start with --admin-identity FILE to make one and get a way in")
		}
		return nil
	}
	if _, err := s.reinstate(ctx, "postern serve"); err != nil {
		return err
	}
	return s.writeIdentity(ctx, "admin", file)
}

// reinstate lets the user admin operate postern, whatever was locked, changed or removed.
func (s *services) reinstate(ctx context.Context, by string) (done bool, err error) {
	done, err = s.broker.Reinstate(ctx, by, "admin", []byte(adminResources))
	if err != nil {
		return done, fmt.Errorf("give the user admin a way in: %w", err)
	}
	if done {
		s.log.Warn().Msg("the user admin, who could not lift locks or change users, can again: see who took it in `postern events tail`")
	}
	return done, nil
}

// writeIdentity makes an identity file of a user.
func (s *services) writeIdentity(ctx context.Context, user, file string) error {
	issued, err := s.broker.IssueIdentity(ctx, user, 30*time.Hour)
	if err != nil {
		return err
	}
	addr := reachedAt(s.broker.Addr())
	if public := s.cfg.Broker.PublicAddr; public != "" {
		addr = public
	}
	id := identity{Identity: issued, BrokerURL: "https://" + addr}
	return writePrivateBytes(file, id.file())
}

// logger makes the log of a process that serves, for its libraries, too.
func (c *cli) logger(cfg LogConfig) zerolog.Logger {
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil || cfg.Level == "" {
		level = zerolog.InfoLevel
	}
	log := zerolog.New(c.stderr)
	if cfg.Format == "text" {
		log = zerolog.New(zerolog.ConsoleWriter{Out: c.stderr, NoColor: !isTerminal(c.stderr)})
	}
	log = log.Level(level).With().Timestamp().Logger()
	// As net/http's client does: a line of another form would break who reads JSON.
	stdlog.SetFlags(0)
	stdlog.SetOutput(log.With().Str(zerolog.LevelFieldName, zerolog.LevelWarnValue).Logger())
	return log
}

// services wires the rooms that a configuration enables. `serve` and `dev` are
// its only users.
type services struct {
	cfg   *Config
	log   zerolog.Logger
	stack *stack

	// What start found or made, for `dev` to tell.
	natsURL      string
	authority    *embedded.NATS          // nil where NATS runs elsewhere
	natsInMemory bool                    // this process reaches it without the network
	natsShows    atomic.Pointer[showing] // its certificate, once there is a CA
	clickhouse   *embedded.ClickHouse
	broker       *broker.Broker
	proxy        *proxy.Proxy
	auditor      *auditor.Auditor

	proxyAt, auditorAt advertise
	stopping           atomic.Bool
	links              links
	conns              []*nats.Conn
	closing            []func()
}

func (s *services) start(ctx context.Context) error {
	if s.stack == nil {
		s.stack = newStack(s.log)
	}
	if err := os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		return err
	}
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	if s.cfg.Auditor != nil && s.cfg.ClickHouse.Embedded {
		if err := s.startClickHouse(ctx); err != nil {
			return err
		}
	}
	if s.cfg.Broker != nil {
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
		s.broker, err = broker.New(broker.Config{
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
	}
	if s.cfg.Auditor != nil {
		if err := s.startAuditor(ctx); err != nil {
			return err
		}
	}
	if s.cfg.Proxy != nil {
		if err := s.startProxy(ctx); err != nil {
			return err
		}
	}
	if s.cfg.Metrics != nil {
		return s.startMetrics(ctx)
	}
	return nil
}

// stop ends what start started, in the opposite order.
func (s *services) stop() error {
	if s.stack == nil {
		return nil
	}
	err := s.stack.stop()
	for _, nc := range s.conns {
		nc.Close()
	}
	for _, f := range s.closing {
		f()
	}
	return err
}

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
	at, err := s.place(ctx, "proxy", p.Name, p.Join, p.TLS, p.Listen, p.PublicNames)
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
		Journal: at.journal, TicketKeys: at.ticketKeys,
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
	at, err := s.place(ctx, "auditor", a.Name, a.Join, a.TLS, a.Listen, a.PublicNames)
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

// serverNames are the names by which a listener can be reached for certain.
func serverNames(listen string) []string {
	host, _, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		names := []string{"localhost", "127.0.0.1", "::1"}
		if name, err := os.Hostname(); err == nil && (host == "" || ip.IsUnspecified()) {
			names = append(names, name)
		}
		return names
	}
	return []string{host}
}

// advertise is where users find a service: as configured, else where it
// listens in this process, once it does.
type advertise struct {
	configured string
	listening  atomic.Pointer[string]
}

func (a *advertise) addr() string {
	if p := a.listening.Load(); a.configured == "" && p != nil {
		return *p
	}
	return a.configured
}

func (a *advertise) at(addr string) {
	addr = reachedAt(addr)
	a.listening.Store(&addr)
}

// warnOfLocalhost says what users on other machines lack.
func (s *services) warnOfLocalhost(key, listen, told string) {
	if host, _, err := net.SplitHostPort(listen); err == nil && everywhere(host) {
		s.log.Warn().Str("told", told).Msg("users are told an address of this machine alone: set " + key + " to HOST:PORT as they reach it")
	}
}

// reachedAt is where a listener is found that listens on all addresses: by the name of
// this machine for itself, for nobody knows by which others reach it.
func reachedAt(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return addr
}

func hostPort(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(p)
	return host, port, err
}
