package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// MaxPayload is the greatest message the embedded server takes, in bytes.
const MaxPayload = 8 << 20

// NATSConfig says where and how the embedded NATS server runs.
type NATSConfig struct {
	Dir  string // data and keys; made when absent, never shared
	Host string // "127.0.0.1" when empty; any other needs TLS
	Port int    // 0: one that is free
	TLS  *tls.Config
	// LazySync lets the server acknowledge what isn't on disk yet, to be
	// written within two minutes. Acknowledged events are then lost when the
	// machine loses power: it is for tests only.
	LazySync bool
	MaxStore int64 // greatest size of the streams on disk in bytes; 0: as much as the disk takes
	Log      zerolog.Logger
}

// NATS is a JetStream server in this process.
type NATS struct {
	cfg    NATSConfig
	auth   *authority
	ready  chan struct{}
	url    string
	srv    atomic.Pointer[server.Server] // the one that runs; nil before ready
	staged atomic.Bool                   // StageInMemory was called
}

// NewNATS checks the configuration and reads the keys in its directory, or
// makes them. Credentials can be minted from then on; nothing listens yet.
func NewNATS(cfg NATSConfig) (*NATS, error) {
	if cfg.Dir == "" {
		return nil, errors.New("embedded nats: no data directory")
	}
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if ip := net.ParseIP(cfg.Host); cfg.TLS == nil && cfg.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("embedded nats: %s isn't a loopback address: events would cross the network in clear; configure TLS", cfg.Host)
	}
	auth, err := openAuthority(filepath.Join(cfg.Dir, "keys"))
	if err != nil {
		return nil, fmt.Errorf("embedded nats: %w", err)
	}
	return &NATS{cfg: cfg, auth: auth, ready: make(chan struct{})}, nil
}

// Ready is closed when the server takes connections.
func (n *NATS) Ready() <-chan struct{} { return n.ready }

// URL is the address for clients. It is empty before [NATS.Ready].
func (n *NATS) URL() string {
	select {
	case <-n.ready:
		return n.url
	default:
		return ""
	}
}

// InProcessConn connects without the network, and so without TLS: for
// [nats.InProcessServer]. It works after [NATS.Ready].
func (n *NATS) InProcessConn() (net.Conn, error) {
	srv := n.srv.Load()
	if srv == nil {
		return nil, errors.New("embedded nats: not started yet")
	}
	return srv.InProcessConn()
}

// Mint makes credentials: the contents of a standard .creds file. They stay
// valid over restarts, for ttl, or for ever when ttl is 0.
func (n *NATS) Mint(name string, perms Permissions, ttl time.Duration) (creds []byte, err error) {
	return n.auth.mint(name, perms, ttl)
}

// Run serves until ctx is done, then closes connections and files, and returns
// nil. The error wraps [ErrInUse] when another process holds the directory. A server
// that can't write a stream any more is started anew once the disk has room.
func (n *NATS) Run(ctx context.Context) error {
	lock, err := LockDir(n.cfg.Dir)
	if err != nil {
		return fmt.Errorf("embedded nats: %w", err)
	}
	defer lock.Close()
	for pause := retryWrite; ; {
		began := time.Now()
		again, err := n.serve(ctx, pause)
		switch {
		case err != nil:
			return fmt.Errorf("embedded nats: %w", err)
		case !again:
			return nil
		case time.Since(began) > time.Minute:
			pause = retryWrite
		default: // a new start alone did not help
			pause = min(2*pause, time.Minute)
		}
	}
}

// serve is one life of the server. It returns true when the server is to be started
// again.
func (n *NATS) serve(ctx context.Context, pause time.Duration) (again bool, err error) {
	opts, err := n.options()
	if err != nil {
		return false, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return false, err
	}
	log := &natsLog{log: n.cfg.Log, fatal: make(chan error, 1)}
	srv.SetLoggerV2(log, false, false, false)
	ctx, cancel := context.WithCancel(ctx)
	started, ready := make(chan struct{}), make(chan struct{})
	defer func() {
		cancel()
		<-started // the streams are being read: that is not interrupted
		full := writeError(srv) != nil
		srv.Shutdown()
		srv.WaitForShutdown()
		n.unstage()
		if full {
			err = errors.Join(err, n.forgetIndexes())
		}
	}()
	go func() {
		srv.Start()
		close(started)
		for ctx.Err() == nil {
			if srv.ReadyForConnections(time.Second) {
				close(ready)
				return
			}
		}
	}()
	select {
	case <-ready:
	case <-ctx.Done():
		return false, nil
	case err := <-log.fatal:
		return false, fmt.Errorf("start: %w", err)
	case <-time.After(startTimeout):
		return false, fmt.Errorf("start: took no connections within %s", startTimeout)
	}
	if n.srv.Swap(srv) == nil {
		n.url, n.cfg.Port = srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port // the same after another start
		close(n.ready)
	} else {
		n.cfg.Log.Info().Msg("the NATS server runs again")
		if n.staged.Load() {
			if err := n.StageInMemory(); err != nil {
				n.cfg.Log.Warn().Err(err).Msg("batches of events are staged on disk, which is slower")
			}
		}
	}
	select {
	case <-ctx.Done():
		return false, nil
	case err := <-log.fatal:
		return false, err
	case <-n.mended(ctx, srv, pause):
		return true, nil
	}
}

// startTimeout is long because recovering large streams is part of the start.
const startTimeout = 2 * time.Minute

func (n *NATS) options() (*server.Options, error) {
	operator, err := n.auth.operatorClaims()
	if err != nil {
		return nil, err
	}
	accounts, err := n.auth.accounts()
	if err != nil {
		return nil, err
	}
	resolver := &server.MemAccResolver{}
	for id, token := range accounts {
		if err := resolver.Store(id, token); err != nil {
			return nil, err
		}
	}
	port := n.cfg.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	// The server's own limit is three quarters of the disk, and what it refuses then is
	// not for want of room: nobody could make any (see mended).
	maxStore := n.cfg.MaxStore
	if maxStore == 0 {
		maxStore = math.MaxInt64
	}
	return &server.Options{
		ServerName:        "postern",
		Host:              n.cfg.Host,
		Port:              port,
		TLS:               n.cfg.TLS != nil,
		TLSConfig:         n.cfg.TLS,
		NoSigs:            true, // signals are main's
		MaxPayload:        MaxPayload,
		MaxControlLine:    4096,
		JetStream:         true,
		JetStreamMaxStore: maxStore,
		StoreDir:          n.cfg.Dir,
		SyncAlways:        !n.cfg.LazySync,
		TrustedOperators:  []*jwt.OperatorClaims{operator},
		SystemAccount:     operator.SystemAccount,
		AccountResolver:   resolver,
	}, nil
}
