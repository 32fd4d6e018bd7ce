package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// openShards is the store of an auditor whose tables are spread. edit may be nil.
func openShards(t *testing.T, c *embeddedtest.Shards, edit func(*store.Config)) *store.Store {
	t.Helper()
	cfg := store.Config{DSN: c.DSN(0, embedded.Owner, "postern"), Cluster: embeddedtest.ShardsCluster, Sharded: true, OnCluster: c.OnCluster, Keeper: c.Replicated(), Log: zerolog.Nop()}
	if edit != nil {
		edit(&cfg)
	}
	s, err := store.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// onShards plays a test on two shards, and again on two whose tables are replicated: to one
// server each, or to as many as POSTERN_TEST_REPLICAS says, which takes minutes.
func onShards(t *testing.T, test func(t *testing.T, c *embeddedtest.Shards)) {
	t.Parallel()
	t.Run("shards", func(t *testing.T) { test(t, embeddedtest.StartShards(t, 2, "", nil)) })
	replicas := 1
	if n := os.Getenv("POSTERN_TEST_REPLICAS"); n != "" {
		replicas = must(strconv.Atoi(n))
	}
	t.Run("replicated", func(t *testing.T) { test(t, embeddedtest.StartReplicated(t, 2, replicas)) })
}

// here counts rows of a table of one shard's own.
func here(t *testing.T, c *embeddedtest.Shards, shard int, from string) (n uint64) {
	t.Helper()
	conn := embeddedtest.Open(t, c.DSN(shard, embedded.Owner, "postern_shard"))
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM "+from).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// calls are entries of AUDIT, of n calls a second apart from a time on.
func calls(from, n uint64, at time.Time) []journal.Entry {
	var out []journal.Entry
	for seq := from; seq < from+n; seq++ {
		began := at.Add(time.Duration(seq) * time.Second)
		out = append(out, entry(events.Audit, seq, &events.AWSRequestCompleted{Status: 200, AWSRequest: events.AWSRequest{RequestID: fmt.Sprint("R", seq), ReceivedAt: began, User: "alice",
			Service: "s3", Operation: "GetObject", Account: "1", Resources: []string{"r"}, Method: "GET", Host: "h", Path: "/", Proxy: "p"}}))
	}
	return out
}

// verdicts are entries of FINDINGS that say that these calls match.
func verdicts(seq uint64, of []journal.Entry) []journal.Entry {
	var out []journal.Entry
	for i, e := range of {
		r := e.Data.(*events.AWSRequestCompleted)
		out = append(out, entry(events.Findings, seq+uint64(i), &events.VerdictReached{RequestID: r.RequestID, RequestAt: r.ReceivedAt, RecipientAccountID: "1", EventID: "E" + r.RequestID,
			EventTime: r.ReceivedAt, Verdict: events.Matched, Rule: "request_id", At: r.ReceivedAt}))
	}
	return out
}

func entry(stream string, seq uint64, d events.Payload) journal.Entry {
	e := events.Event{Meta: events.Meta{ID: fmt.Sprint(stream, "-", seq), Source: "/test", Time: storyTime, Sequence: seq}, Data: d}
	raw, err := events.Encode(e)
	if err != nil {
		panic(err)
	}
	return journal.Entry{Event: e, Stream: stream, Channel: d.Channel(), Seq: seq, StoredAt: storyTime, Raw: raw}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func write(t *testing.T, s *store.Store, entries []journal.Entry) {
	t.Helper()
	k, err := s.Sink(t.Context(), entries[0].Stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write(t.Context(), entries, nil); err != nil {
		t.Fatal(err)
	}
}

// The same story, told to two shards, is answered as by a single server. An auditor that
// starts again changes no table.
func TestShardsStory(t *testing.T) { onShards(t, shardsStory) }

func shardsStory(t *testing.T, c *embeddedtest.Shards) {
	var said []string
	s := openShards(t, c, func(cfg *store.Config) {
		cfg.OnCluster = func(ctx context.Context, database, q string, args ...any) error {
			said = append(said, q)
			return c.OnCluster(ctx, database, q, args...)
		}
	})
	for range 2 {
		said = nil
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range said {
		if !strings.HasPrefix(q, "CREATE TABLE IF NOT EXISTS") && !strings.HasPrefix(q, "CREATE DATABASE IF NOT EXISTS") {
			t.Errorf("migrated again: %s", q)
		}
	}
	for range 2 {
		tellStory(t, s)
		askStory(t, s)
	}
	write(t, s, calls(1000, 200, storyTime))
	if err := s.Retain(t.Context(), store.Retention{Requests: 100 * 365 * 24 * time.Hour}, store.Tiers{}); err != nil {
		t.Fatal(err)
	}
	// A migration of a later version: its columns are asked for, and what it writes goes to
	// where the keys are.
	later := fstest.MapFS{"migrations/9998_later.sql": {Data: []byte("ALTER TABLE request_rows {{.OnCluster}} ADD COLUMN IF NOT EXISTS later SimpleAggregateFunction(max, String);\n\n" +
		"-- What is there.\nINSERT INTO request_rows (received_at, request_id, later) SELECT received_at, request_id, 'told' FROM requests;\n")}}
	for _, name := range must(filepath.Glob("migrations/*.sql")) {
		later[name] = &fstest.MapFile{Data: must(os.ReadFile(name))}
	}
	s = openShards(t, c, func(cfg *store.Config) { cfg.Migrations = later })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, told := count(t, s, `SELECT count() FROM request_rows FINAL`), count(t, s, `SELECT count() FROM request_rows FINAL WHERE later = 'told' AND outcome != ''`); all != told || all < 200 {
		t.Errorf("%d of %d calls have the column of a later version", told, all)
	}
	for shard := range 2 {
		if n := here(t, c, shard, "system.tables WHERE database = 'postern_shard' AND name = 'request_rows' AND engine_full LIKE '% TTL %'"); n != 1 {
			t.Errorf("shard %d keeps its calls for good", shard+1)
		}
		if n := here(t, c, shard, "request_rows WHERE startsWith(request_id, 'R1')"); n < 50 {
			t.Errorf("shard %d has %d of the calls", shard+1, n)
		}
		if n := here(t, c, shard, "events"); (n > 0) != (shard == 0) {
			t.Errorf("shard %d has %d rows of the ledger", shard+1, n)
		}
	}
}

// While a shard is down a batch is stored in part, and is not in the ledger: what is
// written again, by the same process or one that knows nothing of it, is stored once.
func TestShardsDown(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartShards(t, 2, "", nil)
	s := openShards(t, c, nil)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := calls(1, 100, storyTime)
	write(t, s, first)
	k, err := s.Sink(t.Context(), events.Audit)
	if err != nil {
		t.Fatal(err)
	}
	second := calls(101, 100, storyTime)
	c.Stop(1)
	for range 2 {
		if _, err := k.Write(t.Context(), second, nil); err == nil {
			t.Fatal("a batch is stored without a shard")
		}
	}
	if n := here(t, c, 0, "events"); n != 100 {
		t.Errorf("the ledger has %d events while a shard is down, want 100", n)
	}
	var n uint64
	if err := s.Conn().QueryRow(t.Context(), `SELECT count() FROM requests`).Scan(&n); err == nil {
		t.Error("calls are counted without a shard")
	}
	c.Start(1)
	if _, err := k.Write(t.Context(), second[:50], nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		after, err := s.Sink(t.Context(), events.Audit)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := after.Write(t.Context(), append(slices.Clone(first[90:]), second...), nil); err != nil {
			t.Fatal(err)
		}
		if after.Floor() != 200 {
			t.Errorf("floor %d", after.Floor())
		}
	}
	for q, want := range map[string]uint64{
		`SELECT count() FROM events`:              200,
		`SELECT uniqExact(seq) FROM events`:       200,
		`SELECT count() FROM requests`:            200,
		`SELECT sum(calls) FROM requests_by_hour`: 200,
	} {
		if n := count(t, s, q); n != want {
			t.Errorf("%d, want %d: %s", n, want, q)
		}
	}
}

// Whatever is changed in a shard's own tables is found.
func TestShardsRederive(t *testing.T) { onShards(t, shardsRederive) }

func shardsRederive(t *testing.T, c *embeddedtest.Shards) {
	s := openShards(t, c, nil)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	tellStory(t, s)
	made := calls(100, 100, storyTime)
	write(t, s, made)
	write(t, s, verdicts(100, made))
	differences := func() (found []string) {
		t.Helper()
		for i := range uint32(2) {
			r, err := s.Rederive(t.Context(), store.Part{Of: 2, Index: i}, time.Time{}, store.Horizons{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range r.Differences {
				columns := strings.Join(d.Columns, ",")
				if len(d.Columns) > 1 {
					columns = "" // of two rows, either is compared
				}
				found = append(found, fmt.Sprint(d.Thing, " ", d.Kind, " ", columns))
			}
		}
		slices.Sort(found)
		return found
	}
	if found := differences(); len(found) > 0 {
		t.Errorf("untouched: %v", found)
	}
	var want []string
	var of [2][]string
	for shard := range of {
		conn := embeddedtest.Open(t, c.DSN(shard, embedded.Owner, "postern_shard"))
		if err := conn.QueryRow(t.Context(), `SELECT arraySort(groupArray(request_id)) FROM requests WHERE match(request_id, 'R1..')`).Scan(&of[shard]); err != nil || len(of[shard]) < 10 {
			t.Fatal(of[shard], err)
		}
	}
	for shard, ids := range of {
		conn := embeddedtest.Open(t, c.DSN(shard, embedded.Owner, "postern_shard"))
		other := embeddedtest.Open(t, c.DSN(1-shard, embedded.Owner, "postern_shard"))
		for _, x := range []struct {
			id, q, want string
			twice       bool
		}{
			{ids[0], `DELETE FROM request_rows WHERE request_id = '` + ids[0] + `'`, "missing ", false},
			{ids[1], `INSERT INTO request_rows (received_at, request_id, user) SELECT received_at, request_id, 'zoe' FROM requests WHERE request_id = '` + ids[1] + `'`, "changed user", false},
			{ids[2], `SELECT received_at FROM requests WHERE request_id = '` + ids[2] + `'`, "changed ", true},
		} {
			if x.twice { // the same call, in the other shard too
				var at time.Time
				if err := conn.QueryRow(t.Context(), x.q).Scan(&at); err != nil {
					t.Fatal(err)
				}
				if err := other.Exec(t.Context(), `INSERT INTO request_rows (received_at, request_id, outcome, user) VALUES (?, ?, 'completed', 'alice')`, at, x.id); err != nil {
					t.Fatal(err)
				}
			} else if err := conn.Exec(t.Context(), x.q); err != nil {
				t.Fatal(err)
			}
			want = append(want, "aws-request/"+x.id+" "+x.want)
		}
		made := fmt.Sprint("made-up-", shard)
		if err := conn.Exec(t.Context(), `INSERT INTO request_rows (received_at, request_id, outcome) VALUES (?, ?, 'completed')`, storyTime, made); err != nil {
			t.Fatal(err)
		}
		want = append(want, "aws-request/"+made+" unexpected ")
	}
	// What is asked: a view of one shard, and a table over all.
	second := embeddedtest.Open(t, c.DSN(1, embedded.Owner, "postern_shard"))
	var engine, comment string
	if err := s.Conn().QueryRow(t.Context(), `SELECT engine_full, comment FROM system.tables WHERE database = 'postern' AND name = 'tunnels'`).Scan(&engine, &comment); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		conn driver.Conn
		q    string
	}{
		{second, `CREATE OR REPLACE VIEW requests AS SELECT * FROM request_rows FINAL WHERE user != 'zoe'`},
		{s.Conn(), `CREATE OR REPLACE TABLE postern.tunnels AS postern_shard.tunnels ENGINE = ` + strings.Replace(engine, "'tunnels'", "'tunnel_rows'", 1) + ` COMMENT '` + comment + `'`},
	} {
		if err := x.conn.Exec(t.Context(), x.q); err != nil {
			t.Fatal(x.q, err)
		}
	}
	for range 2 { // by both parts
		want = append(want, "view/requests changed ", "view/tunnels changed ")
	}
	slices.Sort(want)
	if found := differences(); !slices.Equal(found, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
}

// A shard more gets what is younger than its layout; what is older stays where it is, and
// its verdicts find it there.
func TestShardsGrow(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartShards(t, 2, "", nil)
	old := openShards(t, c, nil)
	if err := old.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	before := calls(1, 100, now)
	write(t, old, before)
	c.Grow()
	if err := old.CheckSchema(t.Context()); err != nil {
		t.Errorf("before anybody adds the shard: %v", err)
	}
	s := openShards(t, c, func(cfg *store.Config) { cfg.DSN = c.DSN(0, embedded.Owner, "postern") })
	if behind, err := s.Behind(t.Context()); err != nil || !behind {
		t.Errorf("behind: %v, %v", behind, err)
	}
	if err := old.CheckSchema(t.Context()); !errors.Is(err, store.ErrGrown) {
		t.Errorf("who writes to two shards hears %v", err)
	}
	for range 2 {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if behind, err := s.Behind(t.Context()); err != nil || behind {
			t.Errorf("behind: %v, %v", behind, err)
		}
	}
	after := calls(101, 300, now.Add(time.Hour))
	write(t, s, after)
	write(t, s, verdicts(1, append(slices.Clone(before), after...)))
	if n := count(t, s, `SELECT count() FROM requests WHERE verdict = 'matched'`); n != 400 {
		t.Errorf("%d of 400 calls have their verdict", n)
	}
	if old, young := here(t, c, 2, "requests WHERE received_at < now() + INTERVAL 10 MINUTE"), here(t, c, 2, "requests"); old != 0 || young < 50 {
		t.Errorf("the shard that was added has %d calls, %d of before", young, old)
	}
	var id string // by which replicas find each other's parts in Keeper
	if err := embeddedtest.Open(t, c.DSN(0, embedded.Owner, "postern_shard")).QueryRow(t.Context(), `SELECT toString(uuid) FROM system.tables WHERE database = 'postern_shard' AND name = 'request_rows'`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if n := here(t, c, 2, "system.tables WHERE database = 'postern_shard' AND name = 'request_rows' AND toString(uuid) = '"+id+"'"); n != 1 {
		t.Errorf("the table on the shard that was added has another id than %s", id)
	}
	r, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, store.Horizons{}, nil)
	if err != nil || len(r.Differences) > 0 {
		t.Errorf("made again: %+v, %v", r, err)
	}
}

// A server's tables become the first shard of two when their database is renamed.
func TestShardsFromOne(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartShards(t, 2, "", nil)
	one := open(t, c.DSN(0, embedded.Owner, "postern"))
	if err := one.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	tellStory(t, one)
	before := calls(100, 50, now)
	write(t, one, before)
	if err := openShards(t, c, nil).Migrate(t.Context()); !errors.Is(err, store.ErrShard) {
		t.Errorf("as they are: %v", err)
	}
	conn := embeddedtest.Open(t, c.DSN(0, embedded.Owner, "default"))
	if err := conn.Exec(t.Context(), "RENAME DATABASE postern TO postern_shard"); err != nil {
		t.Fatal(err)
	}
	s := openShards(t, c, nil)
	for range 2 {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	after := calls(200, 200, now.Add(365*24*time.Hour))
	write(t, s, after)
	write(t, s, verdicts(100, append(slices.Clone(before), after...)))
	if n := count(t, s, `SELECT count() FROM requests WHERE verdict = 'matched' AND startsWith(cloudtrail_event_id, 'ER')`); n != 250 {
		t.Errorf("%d of 250 calls have their verdict", n)
	}
	for view, want := range map[string]uint64{"requests": 252, "cloudtrail": 2, "sessions": 1, "locks": 1, "access_events": 6} {
		if n := count(t, s, "SELECT count() FROM "+view); n != want {
			t.Errorf("%s has %d rows, want %d", view, n, want)
		}
	}
}

// What rows can't be spread over is refused.
func TestShardsRefused(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartShards(t, 2, "", nil)
	refused := func(what string, want error, step string, edit func(*store.Config)) {
		t.Helper()
		err := openShards(t, c, edit).Migrate(t.Context())
		if next, lasting := store.Lasting(err); !errors.Is(err, want) || !lasting || !strings.Contains(next, step) {
			t.Errorf("%s: %v; %s", what, err, next)
		}
	}
	refused("several shards, unasked", store.ErrShards, "clickhouse.sharded", func(cfg *store.Config) { cfg.Sharded = false })
	refused("the second shard's server", store.ErrShard, "docs/tables.md", func(cfg *store.Config) { cfg.DSN = c.DSN(1, embedded.Owner, "postern") })
	if err := openShards(t, c, nil).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused("an auditor that knows of no shards", store.ErrShard, "docs/tables.md", func(cfg *store.Config) { cfg.Sharded, cfg.Cluster = false, "" })
	conn := embeddedtest.Open(t, c.DSN(1, embedded.Owner, "postern"))
	if err := conn.Exec(t.Context(), `DROP TABLE request_rows`); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), `CREATE TABLE request_rows (received_at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY received_at`); err != nil {
		t.Fatal(err)
	}
	refused("tables of one shard", store.ErrShard, "docs/tables.md", nil)
	if err := conn.Exec(t.Context(), `SELECT count() FROM request_rows`); err != nil {
		t.Errorf("and are gone: %v", err)
	}
}
