package auditor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

// MemoryGoal is what a process that is an auditor alone should keep to, in bytes:
// for debug.SetMemoryLimit, so that garbage is collected before it is exceeded.
const MemoryGoal = 200 << 20

// Config is what an auditor needs.
type Config struct {
	Journal *journal.Journal
	// ClickHouseDSN is the owner's address: tables are made and written with it.
	ClickHouseDSN string
	// ReaderDSN is the address of a user who can only read: questions are asked
	// with it. Without it, people's own SQL is refused.
	ReaderDSN string
	// ScopedDSN is the address, of the database beside, of a user who can read what
	// is for readers of some AWS accounts; see store.ScopeStatements. Without it
	// they are refused.
	ScopedDSN string
	// Cluster makes tables ON CLUSTER; empty means a single node.
	Cluster string
	// Sharded and OnCluster as in store.Config.
	Sharded   bool
	OnCluster func(ctx context.Context, database, q string, args ...any) error
	// DataDir remembers which CloudTrail files were taken in and holds the
	// transparency logs with their key; without it there are none.
	DataDir string
	Notary  NotaryConfig
	// TrailDirs are directories where CloudTrail log files turn up.
	TrailDirs []string
	// Trail is what is read of CloudTrail from AWS; nil for nothing.
	Trail *TrailConfig
	// Listen is the address of the HTTPS API; empty means no API.
	Listen string
	// TLS is the server's side, which asks for client certificates and verifies
	// them against the broker's CA. Who shows a token has none.
	TLS *tls.Config
	// BrokerCA is the broker's CA, by which the signatures of decisions are
	// verified; nil for not.
	BrokerCA *x509.CertPool
	// ReaderRoles are roles whose holders may ask about everything without a rule
	// for it: their certificate's Organization must have one. Empty means admin and
	// auditor.
	ReaderRoles []string
	// TrailDelay is how late a CloudTrail record may be before its request is
	// called missing; 0 means 20 minutes.
	TrailDelay time.Duration
	// Actions tells which IAM actions operations take, for least policies; nil
	// takes what was recorded.
	Actions query.Actions
	// Operations are all of AWS's that are known, to find CloudTrail's records by
	// IAM's names; nil finds them by CloudTrail's alone.
	Operations query.Operations
	// Skew is how far the proxy's clock and AWS's may be apart; 0 means 60 s.
	Skew time.Duration
	// Retention is for how long rows are kept, Tiers where old ones are.
	Retention store.Retention
	Tiers     store.Tiers
	// Migrations as in store.Config.
	Migrations fs.FS
	Log        zerolog.Logger
}

// Auditor is the service. Make it with New.
type Auditor struct {
	c        Config
	store    *store.Store
	reader   driver.Conn
	asker    *query.Asker
	sql      *query.SQL                  // nil without a reader
	scope    driver.Conn                 // of ScopedDSN; nil without
	narrow   atomic.Pointer[driver.Conn] // scope, once the store is set up for it
	readers  readers
	ingester *cloudtrail.Ingester
	intake   *cloudtrail.Intake // nil where AWS is not read from
	notary   *notary            // nil without a data directory

	floors   map[string]*atomic.Uint64
	kept     atomic.Pointer[[]store.RetentionSet]
	division *division
	judge    atomic.Pointer[judge] // while it is this one's to judge
	// sameStore: the store has had what all verdicts are about, so it has that of later
	// ones, too.
	sameStore atomic.Bool
	sinking   map[string]*atomic.Bool // by stream, while it is this one's to store
	open      atomic.Int64            // requests that the judge holds
	meters    *meters
	listener  net.Listener
	ready     chan struct{}
}

// New checks the configuration and binds the listening address; it starts
// nothing and connects to nothing.
func New(c Config) (*Auditor, error) {
	if c.Journal == nil {
		return nil, errors.New("auditor: no journal")
	}
	if c.Listen != "" && (c.TLS == nil || c.TLS.ClientAuth < tls.VerifyClientCertIfGiven) {
		return nil, errors.New("auditor: the API needs TLS that verifies client certificates")
	}
	if len(c.ReaderRoles) == 0 {
		c.ReaderRoles = []string{"admin", "auditor"}
	}
	if c.DataDir == "" && len(c.TrailDirs) > 0 {
		return nil, errors.New("auditor: watching directories needs a data directory")
	}
	if c.Actions == nil {
		c.Actions = func(string, string) ([]string, int) { return nil, 0 }
	}
	s, err := store.New(store.Config{DSN: c.ClickHouseDSN, Cluster: c.Cluster, Sharded: c.Sharded, OnCluster: c.OnCluster, Migrations: c.Migrations, Log: c.Log})
	if err != nil {
		return nil, fmt.Errorf("auditor: %w", err)
	}
	a := &Auditor{c: c, store: s, reader: s.Conn(), ingester: cloudtrail.NewIngester(c.Journal, c.Log), floors: map[string]*atomic.Uint64{}, sinking: map[string]*atomic.Bool{},
		division: &division{held: map[string]context.CancelFunc{}}, meters: newMeters(), ready: make(chan struct{})}
	if c.ReaderDSN != "" {
		if a.reader, err = store.Reader(c.ReaderDSN); err != nil {
			return nil, fmt.Errorf("auditor: reader: %w", err)
		}
		a.sql = query.NewSQL(a.reader, query.Limits{})
	}
	if c.ScopedDSN != "" {
		if a.scope, err = store.Reader(c.ScopedDSN); err != nil {
			return nil, fmt.Errorf("auditor: reader of some accounts: %w", err)
		}
	}
	a.asker = query.New(a.reader, nil)
	a.asker.Knows(c.Operations)
	if c.Sharded {
		a.asker.OverShards()
	}
	for _, stream := range events.Streams() {
		a.floors[stream], a.sinking[stream] = &atomic.Uint64{}, &atomic.Bool{}
	}
	if err := a.newIntake(); err != nil {
		return nil, fmt.Errorf("auditor: %w", err)
	}
	if c.DataDir != "" {
		if a.notary, err = newNotary(a); err != nil {
			return nil, fmt.Errorf("auditor: %w", err)
		}
	}
	if c.Listen != "" {
		if a.listener, err = net.Listen("tcp", c.Listen); err != nil {
			return nil, fmt.Errorf("auditor: %w", err)
		}
	}
	return a, nil
}

// Ready is closed when the tables are there and questions are answered.
func (a *Auditor) Ready() <-chan struct{} { return a.ready }

// Addr is the address of the API, "" without one.
func (a *Auditor) Addr() string {
	if a.listener == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Floor is the place in a stream up to which everything is in ClickHouse.
func (a *Auditor) Floor(stream string) uint64 { return a.floors[stream].Load() }

// Run works until ctx ends. It waits for ClickHouse as long as it takes; only
// what waiting can't mend ends it with an error.
func (a *Auditor) Run(ctx context.Context) error {
	defer a.close()
	if err := a.migrate(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("auditor: %s: %w", name, err))
			}
		})
	}
	part("scope", a.openScope)
	a.divide(part)
	part("schema", a.watchSchema)
	part("floors", a.follow)
	if a.notary != nil {
		for _, stream := range events.Streams() {
			part("log of "+stream, func(ctx context.Context) error { return a.notary.keep(ctx, stream) })
		}
		part("log", a.notary.publish)
	}
	if len(a.c.TrailDirs) > 0 {
		part("watcher", cloudtrail.NewWatcher(a.ingester, a.c.TrailDirs, a.c.DataDir).Run)
	}
	a.trailParts(part)
	if a.listener != nil {
		part("api", a.serve)
	}
	close(a.ready)
	<-ctx.Done()
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (a *Auditor) close() {
	if a.listener != nil {
		_ = a.listener.Close()
	}
	if a.sql != nil {
		_ = a.reader.Close()
	}
	if a.scope != nil {
		_ = a.scope.Close()
	}
	_ = a.store.Close()
}

// follow keeps the floors of streams that others store, and has all written down
// where rows expire: what is gone must be known to have been there.
func (a *Auditor) follow(ctx context.Context) error {
	var written time.Time
	for sleep(ctx, followEvery) {
		if a.c.Retention.Events > 0 && time.Since(written) > time.Hour {
			written = time.Now()
			for _, stream := range events.Streams() {
				if _, err := a.store.Sink(ctx, stream); err != nil && ctx.Err() == nil {
					a.c.Log.Warn().Err(err).Str("stream", stream).Msg("what is stored is not written down; trying again in an hour")
				}
			}
		}
		for _, stream := range events.Streams() {
			if a.sinking[stream].Load() {
				continue
			}
			if sink, err := a.store.Sink(ctx, stream); err == nil && !a.sinking[stream].Load() {
				a.floors[stream].Store(sink.Floor())
			}
		}
	}
	return nil
}

// sink takes one stream into the store, from where the store has it. held as in
// journal.Lease.
func (a *Auditor) sink(ctx context.Context, stream string, held func() bool) error {
	a.sinking[stream].Store(true)
	defer a.sinking[stream].Store(false)
	var said trouble.Said
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := a.sinkOnce(ctx, stream, held, &said)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, journal.ErrWentBack) {
			return a.wentBack(stream, err)
		}
		if said.News(err) {
			a.c.Log.Warn().Err(err).Str("stream", stream).Msg("sink stopped; starting again from what is stored")
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// wentBack says that a stream is not the one that was read any more. Whoever starts
// anew compares it with what is stored, see store.CheckOrigin, and has the judge and the
// logs begin with what it finds.
func (a *Auditor) wentBack(stream string, err error) error {
	a.c.Log.Error().Err(err).Str("stream", stream).Msg("nothing more of it is stored; see postern audit verify")
	return fmt.Errorf("it ends, to compare what is stored with the stream when it is started again: %w", err)
}

// Batch sizes bound the memory that a batch takes: CloudTrail's records are
// several times as long as postern's own events.
const (
	batchEntries      = 8_000
	batchRecords      = 2_000
	batchWait         = 250 * time.Millisecond
	consumerNameStart = "auditor-"
	followEvery       = time.Second
)

func (a *Auditor) sinkOnce(ctx context.Context, stream string, held func() bool, said *trouble.Said) error {
	// What the other one's last insert brought shows only after it was taken over.
	sink, err := a.store.TakeOver(ctx, stream, held)
	if err != nil {
		return err
	}
	a.floors[stream].Store(sink.Floor())
	v, err := a.verifier(ctx, stream)
	if err != nil {
		return err
	}
	bc := journal.BatchConfig{Stream: stream, Durable: consumerNameStart + stream, After: sink.Floor(), MaxEntries: batchEntries, MaxWait: batchWait}
	if stream == events.CloudTrail {
		bc.MaxEntries = batchRecords
	}
	return a.c.Journal.Batches(ctx, bc, func(ctx context.Context, entries []journal.Entry) error {
		signatures, heads, err := v.verify(ctx, entries)
		if err == nil { // first the findings: what is stored is not looked at again
			err = a.report(ctx, entries, signatures)
		}
		var fresh []journal.Entry
		before := sink.Floor()
		if err == nil {
			fresh, err = sink.Write(ctx, entries, signatures)
		}
		if err != nil {
			if ctx.Err() == nil && said.News(err) {
				a.c.Log.Warn().Err(err).Str("stream", stream).Msg("batch is not stored; trying again")
			}
			return err
		}
		if said.Over() {
			a.c.Log.Info().Str("stream", stream).Msg("batches are stored again")
		}
		a.floors[stream].Store(sink.Floor())
		a.meters.took(stream, fresh)
		v.accept(heads)
		if j := a.judge.Load(); j != nil && len(fresh) > 0 {
			j.unhurried(ctx, stream, fresh)
			return j.take(ctx, stream, signatures.Genuine(fresh), min(sink.Floor(), entries[len(entries)-1].Seq), before)
		}
		return nil
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
