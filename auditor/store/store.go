package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"
)

// Config says where the store is.
type Config struct {
	// DSN of the owner, "clickhouse://user:password@host:port/database". The
	// database is made if there is none.
	DSN string
	// Cluster is the name for ON CLUSTER; empty means a single node.
	Cluster string
	// Sharded spreads calls and records over all shards of Cluster; see shards.go.
	Sharded bool
	// OnCluster runs a statement ON CLUSTER, from a database, in the server's place: for
	// tests. The tables are replicated then if there is a Keeper.
	OnCluster func(ctx context.Context, database, q string, args ...any) error
	Keeper    bool
	// Migrations are of the schema; nil for this version's. Tests play others.
	Migrations fs.FS
	// Recheck is how long after Rederive looks again at what differs; 0 means a second.
	// Tests in which nothing is on its way don't wait as long.
	Recheck time.Duration
	// InsertAtMost bounds an insert into the ledger; 0 means a minute. Who takes a stream over
	// waits as long where a replica does not answer, as an insert may be running on it.
	InsertAtMost time.Duration
	Log          zerolog.Logger
}

// Store writes to and reads from one database. It is safe for concurrent use,
// but each stream has one writer at a time.
type Store struct {
	log        zerolog.Logger
	options    *clickhouse.Options
	cluster    string
	migrations fs.FS
	recheck    time.Duration
	atMost     time.Duration // see Config.InsertAtMost
	sharded    bool
	keeper     bool
	onCluster  func(ctx context.Context, database, q string, args ...any) error
	// conn is to the database that everybody asks, tables to that of the tables. With
	// shards these are two, and tables are the first shard's.
	conn, tables driver.Conn
	// rowsTo and ledgerTo are to the same for blocks of rows: few, because each keeps a
	// buffer of the largest block that it sent.
	rowsTo, ledgerTo driver.Conn
	layout           atomic.Uint32 // the number of the last one, once migrated
	// How many replicas acknowledge an insert, of the ledger and of rows.
	quorum, rowsQuorum atomic.Uint64
}

// ErrNoDSN says that there is no address to connect to.
var ErrNoDSN = errors.New("clickhouse dsn is empty: set clickhouse.dsn, or clickhouse.embedded: true")

// New checks the configuration. It does not connect.
func New(c Config) (*Store, error) {
	conn, options, err := connect(c.DSN)
	if err != nil {
		return nil, err
	}
	if c.Migrations == nil {
		c.Migrations = migrations
	}
	if c.Recheck == 0 {
		c.Recheck = time.Second
	}
	if c.InsertAtMost == 0 {
		c.InsertAtMost = time.Minute
	}
	s := &Store{log: c.Log, options: options, cluster: c.Cluster, migrations: c.Migrations, recheck: c.Recheck, atMost: c.InsertAtMost, conn: conn, tables: conn, sharded: c.Sharded, onCluster: c.OnCluster, keeper: c.Keeper}
	if !s.sharded {
		if s.rowsTo, err = forBlocks(*options); err != nil {
			return nil, err
		}
		s.ledgerTo = s.rowsTo
		return s, nil
	}
	if s.cluster == "" {
		return nil, errors.New("clickhouse: shards are those of a cluster, and none is named")
	}
	o := *options
	o.Auth.Database = s.tablesDatabase()
	s.tables, err = clickhouse.Open(&o)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	if s.ledgerTo, err = forBlocks(o); err != nil {
		return nil, err
	}
	o = *options
	o.Settings = maps.Clone(options.Settings)
	if o.Settings == nil {
		o.Settings = clickhouse.Settings{}
	}
	o.Settings["distributed_product_mode"] = "global" // all of the other table, too
	o.Settings["optimize_skip_unused_shards"] = 1     // of a key, one has all
	o.Settings["distributed_foreground_insert"] = 1   // acknowledged by the shards
	o.Settings["load_balancing"] = "in_order"         // read where it was written
	o.Settings["prefer_localhost_replica"] = 1        // and the ledger here
	o.Settings["skip_unavailable_shards"] = 0         // no half answers
	s.conn, err = clickhouse.Open(&o)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	if s.rowsTo, err = forBlocks(o); err != nil {
		return nil, err
	}
	_ = conn.Close()
	return s, nil
}

func forBlocks(o clickhouse.Options) (driver.Conn, error) {
	o.MaxIdleConns = 2
	conn, err := clickhouse.Open(&o)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	return conn, nil
}

func connect(dsn string) (driver.Conn, *clickhouse.Options, error) {
	if dsn == "" {
		return nil, nil, ErrNoDSN
	}
	o, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("clickhouse dsn: %w", withoutDSN(err))
	}
	if o.Auth.Database == "" {
		o.Auth.Database = "default"
	}
	if o.Compression == nil && !isLocal(o.Addr) {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	o.MaxOpenConns = 16
	o.MaxIdleConns = 8
	conn, err := clickhouse.Open(o)
	if err != nil {
		return nil, nil, fmt.Errorf("clickhouse: %w", err)
	}
	return conn, o, nil
}

// isLocal says that all addresses are this machine's: blocks are not compressed for it.
func isLocal(addrs []string) bool {
	return !slices.ContainsFunc(addrs, func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		return err != nil || host != "localhost" && !net.ParseIP(host).IsLoopback()
	})
}

// withoutDSN keeps url.Error from repeating an address that has a password.
func withoutDSN(err error) error {
	for u := errors.Unwrap(err); u != nil; u = errors.Unwrap(u) {
		err = u
	}
	return err
}

// Database is the name of the database.
func (s *Store) Database() string { return s.options.Auth.Database }

// tablesDatabase is that of the tables, which with shards is not the one that is asked.
func (s *Store) tablesDatabase() string {
	if s.sharded {
		return shardDatabase(s.Database())
	}
	return s.Database()
}

// Sharded tells whether rows are spread over several shards.
func (s *Store) Sharded() bool { return s.sharded }

// Conn is the owner's connection.
func (s *Store) Conn() driver.Conn { return s.conn }

// Close ends all connections.
func (s *Store) Close() error {
	err := errors.Join(s.conn.Close(), s.rowsTo.Close())
	if s.sharded {
		err = errors.Join(err, s.tables.Close(), s.ledgerTo.Close())
	}
	return err
}

// Reader connects as another user, to the same tables, to ask questions only.
func Reader(dsn string) (driver.Conn, error) {
	conn, _, err := connect(dsn)
	return conn, err
}

// inserting sets what every insert needs: the block must be stored when the
// server says so, as one, into however many partitions it belongs to.
func (s *Store) inserting(ctx context.Context, token string) context.Context {
	return s.insertingTo(ctx, s.quorum.Load(), token)
}

func (s *Store) insertingTo(ctx context.Context, quorum uint64, token string) context.Context {
	settings := clickhouse.Settings{
		"async_insert":                    0,
		"max_partitions_per_insert_block": 0,
		// Merging rows as they come in costs a wide table more than all else; they
		// differ anyway, and queries merge what does not.
		"optimize_on_insert": 0,
		// The server makes one block of all that an insert is sent in
		// (https://clickhouse.com/docs/operations/settings/settings#min_insert_block_size_rows).
		"min_insert_block_size_rows":  uint64(1) << 32,
		"min_insert_block_size_bytes": 0,
	}
	if token != "" {
		settings["insert_deduplicate"] = 1
		settings["insert_deduplication_token"] = token
	}
	maps.Copy(settings, acknowledged(quorum))
	return clickhouse.Context(ctx, clickhouse.WithSettings(settings))
}

// Timestamp writes a time as SQL, exact to the microsecond as the rows' are: the driver's own
// binding cuts times to seconds. What is before 1970, as no row is, becomes its beginning.
func Timestamp(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Micro(%d, 'UTC')", max(0, t.UnixMicro()))
}
