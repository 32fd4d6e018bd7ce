package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	stdlog "log"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/broker"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
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
	for service, runs := range map[string]bool{"broker": s.cfg.Broker != nil, "proxy": s.cfg.Proxy != nil, "auditor": s.cfg.Auditor != nil} {
		if runs {
			lock, err := embedded.LockDir(filepath.Join(s.cfg.DataDir, service))
			if errors.Is(err, fs.ErrPermission) { // a first start as root, say
				return fmt.Errorf("data_dir: %w: %s and all that is in it must belong to the user who runs postern: chown -R it", err, s.cfg.DataDir)
			} else if err != nil {
				return fmt.Errorf("data_dir: %w", err)
			}
			defer lock.Close()
		}
	}
	marked := filepath.Join(s.cfg.DataDir, "proxy")
	hasProxy := s.cfg.Proxy != nil
	if hasProxy {
		if err := proxy.CheckWentBack(marked); err != nil && (s.cfg.Broker == nil || !errors.Is(err, proxy.ErrLocksLost)) {
			return fmt.Errorf("proxy: %w", err)
		} else if err != nil { // the broker is there to place them
			s.log.Error().Err(err).Str("service", "proxy").Msg("the proxy is not started: remove the file and start postern again")
			s.cfg.Proxy = nil
		}
	}
	err := ifTaken(s.start(ctx), "another address for this in the configuration")
	if err == nil {
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
	mark := func() {
		if hasProxy && errors.Is(err, journal.ErrWentBack) { // another service may have found it
			err = errors.Join(err, proxy.MarkWentBack(marked, 0, err, time.Now()))
		}
	}
	mark() // what stops may take a while
	err = errors.Join(err, s.stop())
	mark()
	if err == nil {
		s.log.Info().Msg("stopped")
	}
	return err
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
	metricsAt          net.Listener // nil where nobody asks for them
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
	if err := s.listenForMetrics(ctx); err != nil {
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
		if err := s.startBroker(ctx); err != nil {
			return err
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
	s.stopping.Store(true)
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
