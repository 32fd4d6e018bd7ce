package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/engine"
)

// The users of the embedded ClickHouse server.
const (
	Owner  = "postern" // makes and writes tables of the databases whose names start with "postern"
	Reader = "reader"  // reads them, with limits on time, memory and size of results
	Scoped = "scoped"  // as Reader, reads the database of [Scope] alone
)

// Database is the one that the auditor's tables live in.
const Database = "postern"

// Scope is what [Scoped] sees of [Database]: views that read in the name of User,
// who can't log in and whom row policies bind.
type Scope struct {
	User     string
	Database string            // of the views
	Tables   []string          // what User may read
	Filters  map[string]string // row policies, by table
}

// Cold is a slower, cheaper place for old rows: the second volume of a storage
// policy whose first is the data directory. Rows go there by age alone, as TTLs of
// tables say. What is there is part of the database: without it no table that has
// rows there can be read.
type Cold struct {
	Policy, Volume string  // names that tables and their TTLs use
	Path           string  // a directory of its own, or
	S3             *ColdS3 // a bucket
}

// ColdS3 is a place in a bucket. It must not be emptied by anybody else: what is
// where in it, only the data directory knows.
type ColdS3 struct {
	Endpoint string // URL of bucket and prefix, "https://BUCKET.s3.REGION.amazonaws.com/PREFIX/"
	Region   string
	// Of an access key; without one, that of the machine's role
	// (https://clickhouse.com/docs/engines/table-engines/integrations/s3#s3-settings).
	AccessKeyID, SecretAccessKey string
}

// ClickHouseConfig says where and how the embedded ClickHouse server runs.
// It listens on 127.0.0.1 only: it has no TLS.
type ClickHouseConfig struct {
	Dir string // data, passwords, log; made when absent, never shared
	Lib string // libchdb, see [FindLib]
	// Ports of the native protocol and of HTTP. 0: ones that are free, kept
	// over the engine's restarts but not over ours.
	TCPPort, HTTPPort int
	MaxMemory         int64 // of the engine in bytes; 0: half of the machine's
	Scope             Scope // without a User there is no Scoped
	Cold              *Cold // where old rows go; nil: there is no such place
	// LazySync acknowledges inserts before they are on disk. They are then lost
	// when the machine loses power: it is for tests only.
	LazySync bool
	Command  []string // what ends in [Engine]; this executable and "clickhouse-engine" when empty
	Env      []string // added to the engine's environment, which inherits none of ours: ours may hold AWS credentials
	Log      zerolog.Logger
}

// ClickHouse supervises the engine's process.
type ClickHouse struct {
	cfg       ClickHouseConfig
	passwords map[string]string
	ready     chan struct{}
	started   chan int // process ids, for tests that kill them
}

// Engine is the engine's process. Package main calls it for the hidden command
// "clickhouse-engine", before anything else, and exits with what it returns.
func Engine(args []string) (exitCode int) { return engine.Main(args) }

// NewClickHouse checks the configuration and reads the passwords in its
// directory, or makes them. It starts nothing.
func NewClickHouse(cfg ClickHouseConfig) (*ClickHouse, error) {
	var err error
	if cfg.Dir == "" {
		return nil, errors.New("embedded clickhouse: no data directory")
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("embedded clickhouse: %w", err)
	}
	if _, err := os.Stat(cfg.Lib); err != nil {
		return nil, fmt.Errorf("embedded clickhouse: library: %w; %s", err, libAdvice)
	}
	if len(cfg.Command) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("embedded clickhouse: %w", err)
		}
		cfg.Command = []string{exe, "clickhouse-engine"}
	}
	passwords, err := openPasswords(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded clickhouse: %w", err)
	}
	return &ClickHouse{cfg: cfg, passwords: passwords, ready: make(chan struct{}), started: make(chan int, 1)}, nil
}

// Ready is closed when the server first takes connections and [Database]
// exists. It may be away for a moment later on, while the engine is restarted.
func (c *ClickHouse) Ready() <-chan struct{} { return c.ready }

// DSN is the address over the native protocol of [Database] for [Owner] or
// [Reader], of its scope for [Scoped], password included. It is empty before [ClickHouse.Ready] and for
// any other user.
func (c *ClickHouse) DSN(user string) string {
	select {
	case <-c.ready:
		if user == Scoped {
			return c.dsn(user, c.cfg.Scope.Database)
		}
		return c.dsn(user, Database)
	default:
		return ""
	}
}

func (c *ClickHouse) dsn(user, database string) string {
	password := c.passwords[user]
	if password == "" || user == Scoped && c.cfg.Scope.User == "" {
		return ""
	}
	u := url.URL{
		Scheme: "clickhouse",
		User:   url.UserPassword(user, password),
		Host:   "127.0.0.1:" + strconv.Itoa(c.cfg.TCPPort),
		Path:   "/" + database,
	}
	return u.String()
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	// maxFailures is how many restarts in a row may fail before Run gives up: about a minute.
	maxFailures = 10
	// stable is how long an engine must have run for its end to count as the first failure.
	stable = time.Minute
)

// Run keeps the engine running until ctx is done, then stops it and returns
// nil. An engine that crashes is started again on the same ports. One that
// can't start is an error with the engine's own reason: at once the first time,
// after a minute of trying later on. The error wraps [ErrInUse] when another
// process holds the directory.
func (c *ClickHouse) Run(ctx context.Context) error {
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("embedded clickhouse: %w", err)
	}
	return nil
}

func (c *ClickHouse) run(ctx context.Context) error {
	lock, err := LockDir(c.cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := c.writeFiles(); err != nil {
		return err
	}
	first, failures, backoff := true, 0, minBackoff
	for {
		begun := time.Now()
		err := c.once(ctx, first)
		if ctx.Err() != nil {
			return err
		}
		if _, failed := errors.AsType[*startError](err); failed {
			if failures++; first || failures > maxFailures {
				return err
			}
		} else {
			first, failures = false, 0
		}
		if time.Since(begun) > stable {
			backoff = minBackoff
		}
		c.cfg.Log.Error().Err(err).Dur("restart_in", backoff).Msg("clickhouse engine ended")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// once runs one engine to its end. The result is nil only if it ended because
// ctx did; it is a *startError if it never took a connection.
func (c *ClickHouse) once(ctx context.Context, first bool) error {
	if err := c.dropEmpty(); err != nil {
		return &startError{err}
	}
	p, err := startProcess(ctx, c.cfg)
	if err != nil {
		return err
	}
	if first { // the same ports from now on: the DSNs are handed out
		c.cfg.TCPPort, c.cfg.HTTPPort = p.tcp, p.http
	}
	if err := c.createDatabase(ctx); err != nil {
		stopped := p.stop()
		if ctx.Err() != nil {
			return stopped
		}
		return &startError{errors.Join(err, stopped)}
	}
	if first {
		close(c.ready)
	}
	select {
	case c.started <- p.pid():
	default:
	}
	select {
	case <-ctx.Done():
		return p.stop()
	case <-p.ended:
		return p.failure()
	}
}

func (c *ClickHouse) createDatabase(ctx context.Context) error {
	opts, err := clickhouse.ParseDSN(c.dsn(Owner, "default"))
	if err != nil {
		return err
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+Database); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}
