package auditor_test

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// archive is a world whose every part can be stopped, copied and put back.
type archive struct {
	*world
	ca              *authority
	natsDir, logDir string
	witness         string
	client          *client.Client
	stopNATS        func()
	key             tlog.PublicKey
}

func newArchive(t testing.TB) *archive {
	dir := t.TempDir()
	a := &archive{world: &world{t: t, dsn: embeddedtest.ClickHouse(t)}, ca: newAuthority(t),
		natsDir: filepath.Join(dir, "nats"), logDir: filepath.Join(dir, "auditor"), witness: t.TempDir()}
	a.conn = embeddedtest.Open(t, a.dsn)
	a.up()
	return a
}

// up starts NATS and the auditor on what is on disk.
func (a *archive) up() {
	a.t.Helper()
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: a.natsDir, LazySync: true})
	if err != nil {
		a.t.Fatal(err)
	}
	a.stopNATS = embeddedtest.Run(a.t, n)
	a.nc = embeddedtest.Connect(a.t, n, "test", embedded.Admin())
	if err := journal.Setup(a.t.Context(), a.nc, journal.StreamsConfig{}); err != nil {
		a.t.Fatal(err)
	}
	a.j = eventstest.Open(a.t, a.nc)
	a.audit()
}

// audit starts the auditor.
func (a *archive) audit() {
	a.t.Helper()
	a.start(func(c *auditor.Config) {
		c.DataDir = a.logDir
		c.Notary = auditor.NotaryConfig{Name: "example.com/postern", PublishEvery: 50 * time.Millisecond, Dirs: []string{a.witness}}
		c.Listen = "127.0.0.1:0"
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.ca.pool(), Certificates: []tls.Certificate{a.ca.issue("auditor")}}
	})
	a.client = a.ca.client(a.world, "sec", "auditor")
	s, err := a.client.LogStatus(a.t.Context(), "")
	if err != nil {
		a.t.Fatal(err)
	}
	a.key = s.Key
}

func (a *archive) down() {
	a.t.Helper()
	a.stop()
	a.nc.Close()
	a.stopNATS()
}

// verify returns what is wrong.
func (a *archive) verify(settle time.Duration, known ...tlog.Checkpoint) []string {
	a.t.Helper()
	r, err := a.client.Verify(a.t.Context(), client.VerifyInput{Key: a.key, Known: known, Settle: settle})
	if err != nil {
		a.t.Fatal(err)
	}
	if r.OK != (len(r.Faults()) == 0) {
		a.t.Errorf("OK is %v with %d faults", r.OK, len(r.Faults()))
	}
	var out []string
	for _, f := range r.Faults() {
		out = append(out, f.String())
	}
	return out
}

func (a *archive) sql(statements ...string) {
	a.t.Helper()
	for _, q := range statements {
		if err := a.conn.Exec(a.t.Context(), q); err != nil {
			a.t.Fatalf("%s: %v", q, err)
		}
	}
}

// kept waits until the witness has a checkpoint of AUDIT of a size, and returns
// the largest.
func (a *archive) kept(size uint64) (newest tlog.Checkpoint) {
	a.t.Helper()
	a.until("the witness has the checkpoint", func() bool {
		cs, _ := a.key.Kept(a.witness, []string{events.Audit})
		for _, c := range cs {
			if c.Size > newest.Size {
				newest = c
			}
		}
		return newest.Size >= size
	})
	return newest
}

// Whatever is done to the ledger, the log or the stream is found, and the first
// sequence that it was done to is named.
func TestTampering(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.say("first", "", &events.AWSRequestAdmitted{AWSRequest: awsRequest("first", "alice", time.Now())})
	oldest := a.kept(1)
	publish(t, a.j, 150) // 300 more events on AUDIT
	a.settle(events.Audit, events.CloudTrail, events.Findings)
	if wrong := a.verify(time.Minute); len(wrong) > 0 {
		t.Fatalf("untouched: %v", wrong)
	}
	early := a.kept(301)

	t.Run("ledger", func(t *testing.T) {
		a.sql(`CREATE TABLE copy AS events ENGINE = MergeTree ORDER BY (stream, seq)`,
			`INSERT INTO copy (stream, seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw) SELECT stream, seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw FROM events`)
		const leafHash = `lower(hex(SHA256(concat(channel, '\n', toString(toUnixTimestamp64Nano(stored_at)), '\n', raw))))`
		var seventh string
		if err := a.conn.QueryRow(t.Context(), `SELECT hash FROM events WHERE stream = 'AUDIT' AND seq = 7`).Scan(&seventh); err != nil {
			t.Fatal(err)
		}
		const columns = `stream, seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw`
		for _, c := range []struct{ name, sql, want string }{
			{"body", `ALTER TABLE events UPDATE raw = replaceOne(raw, 'alice', 'mallory') WHERE stream = 'AUDIT' AND seq = 7`, "AUDIT 7: changed in the clickhouse"},
			{"subject", `ALTER TABLE events UPDATE channel = 'audit.other' WHERE stream = 'AUDIT' AND seq BETWEEN 8 AND 9`, "AUDIT 8–9: changed in the clickhouse"},
			{"time", `INSERT INTO events (` + columns + `) SELECT stream, seq, stored_at + 1, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw FROM copy WHERE stream = 'AUDIT' AND seq = 10; ALTER TABLE events DELETE WHERE stream = 'AUDIT' AND seq = 10 AND stored_at IN (SELECT stored_at FROM copy)`, "AUDIT 10: changed in the clickhouse"},
			{"column", `ALTER TABLE events UPDATE thing = 'session/other' WHERE stream = 'AUDIT' AND seq = 11`, "AUDIT 11: derived in the clickhouse: thing"},
			{"dropped", `ALTER TABLE events DELETE WHERE stream = 'AUDIT' AND seq IN (20, 21, 23)`, "AUDIT 20–21: missing in the clickhouse"},
			{"truncated", `ALTER TABLE events DELETE WHERE stream = 'AUDIT' AND seq > 298`, "AUDIT 299–301: missing in the clickhouse"},
			{"begun later", `ALTER TABLE events DELETE WHERE stream = 'CLOUDTRAIL' AND seq < 3`, "CLOUDTRAIL 1–2: missing in the clickhouse"},
			{"doubled", `INSERT INTO events (` + columns + `) SELECT ` + columns + ` FROM copy WHERE stream = 'AUDIT' AND seq = 30`, "AUDIT 30: doubled in the clickhouse: 2 rows"},
			{"inserted", `INSERT INTO events (` + columns + `) SELECT stream, 1000000000000, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw FROM copy WHERE stream = 'AUDIT' AND seq = 30`, "AUDIT 1000000000000: unexpected in the clickhouse: neither the stream nor the log has it"},
			{"inserted before the first", `INSERT INTO events (` + columns + `) SELECT stream, 0, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw FROM copy WHERE stream = 'AUDIT' AND seq = 30`, "AUDIT 0: unexpected in the clickhouse: no stream has a sequence 0"},
			{"inserted elsewhere", `INSERT INTO events (` + columns + `) SELECT 'OTHER', seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw FROM copy WHERE stream = 'AUDIT' AND seq BETWEEN 30 AND 32`, "OTHER 30–32: unexpected in the clickhouse: there is no such stream"},
			{"the judge's mark moved", `INSERT INTO ledger_floors (stream, floor, at) VALUES ('judge/AUDIT', 301, now())`, "AUDIT 1: unjudged in the clickhouse: the mark judge/AUDIT says that it was judged"},
			{"data made otherwise", `ALTER TABLE events MODIFY COLUMN data String ALIAS replaceOne(JSONExtractRaw(raw, 'data'), 'alice', 'mallory')`, "AUDIT 1: derived in the clickhouse: data"},
			{"hash made otherwise", `ALTER TABLE events UPDATE raw = replaceOne(raw, 'alice', 'mallory') WHERE stream = 'AUDIT' AND seq = 7; ALTER TABLE events MODIFY COLUMN hash String ALIAS if(stream = 'AUDIT' AND seq = 7, '` + seventh + `', ` + leafHash + `)`, "AUDIT 7: changed in the clickhouse"},
			{"swapped", `INSERT INTO events (` + columns + `) SELECT stream, 101 - seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw FROM copy WHERE stream = 'AUDIT' AND seq IN (50, 51); ALTER TABLE events DELETE WHERE stream = 'AUDIT' AND seq IN (50, 51) AND (seq, event_id) IN (SELECT seq, event_id FROM copy)`, "AUDIT 50–51: changed in the clickhouse"},
		} {
			for q := range strings.SplitSeq(c.sql, "; ") {
				if strings.HasPrefix(q, "ALTER") {
					q += " SETTINGS mutations_sync = 1"
				}
				a.sql(q)
			}
			wrong := a.verify(time.Minute)
			if len(wrong) == 0 || wrong[0] != c.want {
				t.Errorf("%s: found %q, want %q first", c.name, wrong, c.want)
			}
			a.sql(`ALTER TABLE events MODIFY COLUMN hash String ALIAS `+leafHash, `ALTER TABLE events MODIFY COLUMN data String ALIAS JSONExtractRaw(raw, 'data')`,
				`ALTER TABLE ledger_floors DELETE WHERE stream LIKE 'judge/%' SETTINGS mutations_sync = 1`,
				`ALTER TABLE events DELETE WHERE seq IN (0, 1000000000000) OR stream = 'OTHER' OR (stream, seq) IN (SELECT stream, seq FROM copy) SETTINGS mutations_sync = 1`, `INSERT INTO events (`+columns+`) SELECT `+columns+` FROM copy SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0`)
			if wrong := a.verify(time.Minute); len(wrong) > 0 {
				t.Fatalf("after %s was undone: %q", c.name, wrong)
			}
		}
	})

	t.Run("log", func(t *testing.T) {
		whole := filepath.Join(a.logDir, "log", "AUDIT")
		known, err := a.key.Kept(a.witness, []string{events.Audit})
		if err != nil {
			t.Fatal(err)
		}
		accounts, err := a.client.Accounts(events.Audit)
		if err != nil {
			t.Fatal(err)
		}
		verify := func(dir string) string {
			accounts.Tiles = tlog.Files(dir)
			r, err := evidence.Verify(t.Context(), a.key, evidence.Status{Stream: events.Audit, Rows: 301, Logged: 301, Last: 301, Stored: 301}, accounts, known, nil)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(r.Faults)
		}
		edit := func(name string, change func([]byte)) func(string) {
			return func(dir string) {
				path := filepath.Join(dir, name)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				change(b)
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		flip := func(at int) func([]byte) { return func(b []byte) { b[at] ^= 1 } }
		for _, c := range []struct {
			name   string
			tamper func(dir string)
			want   string
		}{
			{"untouched", func(string) {}, "[]"},
			{"leaf", edit("tile/entries/000", func(b []byte) { copy(b[40:], "00000000") }), "AUDIT 1: changed in the log"},
			{"tile", edit("tile/0/000", flip(0)), "tile in the log: tile/0/000"},
			{"tile gone", func(dir string) { remove(t, filepath.Join(dir, "tile/0/000")) }, "tile in the log: tile/0/000"},
			{"bundle gone", func(dir string) { remove(t, filepath.Join(dir, "tile/entries/000")) }, "AUDIT 1–301: missing in the log"},
			{"checkpoint gone", func(dir string) { remove(t, filepath.Join(dir, "checkpoint")) }, "checkpoint in the log"},
			{"checkpoint changed", edit("checkpoint", flip(30)), "checkpoint in the log"},
			{"rollback", func(dir string) {
				if err := os.WriteFile(filepath.Join(dir, "checkpoint"), oldest.Note, 0o600); err != nil {
					t.Fatal(err)
				}
			}, "AUDIT 301: rollback in the log"},
			{"fork", func(dir string) { a.fork(dir, 301) }, "AUDIT 301: fork in the log"},
		} {
			dir := filepath.Join(t.TempDir(), "AUDIT")
			copyTree(t, whole, dir)
			c.tamper(dir)
			if wrong := verify(dir); !strings.Contains(wrong, c.want) {
				t.Errorf("%s: found %s, want %s", c.name, wrong, c.want)
			}
		}
	})

	t.Run("stream", func(t *testing.T) {
		a.down()
		old := t.TempDir()
		copyTree(t, a.natsDir, old)
		a.up()
		for i := range 20 {
			a.say(fmt.Sprint("later", i), "", &events.AWSRequestAdmitted{AWSRequest: awsRequest(fmt.Sprint("L", i), "alice", time.Now())})
		}
		if wrong := a.verify(time.Minute); len(wrong) > 0 {
			t.Fatalf("after another start: %q", wrong)
		}
		a.kept(321)
		a.down()
		restore := func() {
			if err := os.RemoveAll(a.natsDir); err != nil {
				t.Fatal(err)
			}
			copyTree(t, old, a.natsDir)
		}

		restore() // and nothing was written since
		a.up()
		if wrong := strings.Join(a.verify(0), "\n"); !strings.Contains(wrong, "AUDIT 302–321: missing in the stream") || !strings.Contains(wrong, "stopped in the log") {
			t.Errorf("an older stream: found %s", wrong)
		}
		for i := range 25 { // and other things happened since
			a.say(fmt.Sprint("other", i), "", &events.AWSRequestAdmitted{AWSRequest: awsRequest(fmt.Sprint("O", i), "bob", time.Now())})
		}
		if wrong := strings.Join(a.verify(0), "\n"); !strings.Contains(wrong, "AUDIT 302–321: changed in the stream") || !strings.Contains(wrong, "AUDIT 322–326: missing in the log") {
			t.Errorf("another stream: found %s", wrong)
		}
		// The log does not go on as if nothing had been.
		a.down()
		a.up()
		if wrong := strings.Join(a.verify(0), "\n"); !strings.Contains(wrong, "stopped in the log: the stream is not what was logged") {
			t.Errorf("after a start on another stream: found %s", wrong)
		}
		// And a log made anew to suit it is not the one that others know.
		a.down()
		if err := os.RemoveAll(filepath.Join(a.logDir, "log", "AUDIT")); err != nil {
			t.Fatal(err)
		}
		a.up()
		a.until("the stream is logged again", func() bool {
			s, err := a.client.LogStatus(t.Context(), "")
			return err == nil && s.Streams[1].Logged == 326
		})
		if wrong := strings.Join(a.verify(time.Minute, early), "\n"); strings.Contains(wrong, "AUDIT 301: fork") {
			t.Errorf("what was not changed is said to be: %s", wrong)
		}
		cs, err := a.key.Kept(a.witness, []string{events.Audit})
		if err != nil {
			t.Fatal(err)
		}
		if wrong := strings.Join(a.verify(time.Minute, cs...), "\n"); !strings.Contains(wrong, "AUDIT 321: fork in the log") {
			t.Errorf("a log made anew: found %s", wrong)
		}
	})
}

// Whoever may publish can write checkpoints of others, or of nobody, as events under the
// log's name, and auditors may share that. The former are named, and all else is compared.
func TestForgedCheckpoints(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.say("first", "", &events.AWSRequestAdmitted{AWSRequest: awsRequest("first", "alice", time.Now())})
	whole := a.kept(1)
	other, err := tlog.LoadKey(filepath.Join(t.TempDir(), "key"), a.key.Name())
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(whole.Note), "\n\n")
	theirs, err := other.Sign(events.Audit, text+"\n")
	if err != nil {
		t.Fatal(err)
	}
	publish := func(note string) {
		a.say(journal.NewID(), "", &events.LogCheckpointed{Log: a.key.Name(), Checkpoints: []events.LogCheckpoint{{Stream: events.Audit, Size: 1, Note: note}}})
		a.settle(events.Findings)
	}
	publish(string(theirs))
	publish("what?")
	for _, key := range []tlog.PublicKey{other.Public(), other.Public(), a.key, "garbage"} {
		a.say(journal.NewID(), "", &events.LogOpened{Log: a.key.Name(), Key: string(key)})
	}
	a.settle(events.Findings)
	r, err := a.client.Verify(t.Context(), client.VerifyInput{Key: a.key, Settle: time.Minute})
	if err != nil || !r.OK || !slices.Equal(r.OtherKeys, []tlog.PublicKey{other.Public()}) {
		t.Errorf("of another auditor: %+v, %v", r, err)
	}
	publish(strings.Replace(string(whole.Note), "\n1\n", "\n2\n", 1))
	last, err := a.j.Last(t.Context(), events.Findings)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := a.verify(time.Minute); len(wrong) != 1 || !strings.HasPrefix(wrong[0], fmt.Sprintf("FINDINGS %d: forged in the stream: ", last)) {
		t.Errorf("forged as sequence %d: found %q", last, wrong)
	}
}

// fork puts a log in the place of another: signed with the same key, of the same
// size, with one leaf that differs.
func (a *archive) fork(dir string, size uint64) {
	t := a.t
	t.Helper()
	other := filepath.Join(t.TempDir(), "AUDIT")
	key, err := tlog.LoadKey(filepath.Join(a.logDir, "log", "key"), "")
	if err != nil {
		t.Fatal(err)
	}
	log, err := tlog.Open(t.Context(), tlog.Config{Dir: other, Stream: events.Audit, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var leaves []tlog.Leaf
	for e, err := range a.j.Replay(t.Context(), events.Audit) {
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, tlog.Leaf{Stream: e.Stream, Seq: e.Seq, Hash: tlog.HashOf(e.Channel, e.StoredAt, e.Raw)})
	}
	leaves[4].Hash[0] ^= 1
	if err := log.Append(t.Context(), leaves); err != nil {
		t.Fatal(err)
	}
	a.until("the fork is signed", func() bool {
		c, err := a.key.Latest(t.Context(), events.Audit, tlog.Files(other))
		return err == nil && c.Size == size
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	copyTree(t, other, dir)
}

// The SQL that ships finds nothing in a ledger that is whole, and names what is
// not, by itself.
func TestChecks(t *testing.T) {
	w := newWorld(t, nil)
	publish(t, w.j, 30)
	w.settle(events.Audit)
	check := func() []evidence.Fault {
		f, err := evidence.RunChecks(t.Context(), w.conn, time.Time{}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := check(); len(f) > 0 {
		t.Errorf("untouched: %v", f)
	}
	if err := w.conn.Exec(t.Context(), `ALTER TABLE events DELETE WHERE stream = 'AUDIT' AND seq BETWEEN 5 AND 6 SETTINGS mutations_sync = 1`); err != nil {
		t.Fatal(err)
	}
	if f := check(); len(f) != 1 || f[0] != (evidence.Fault{Stream: "AUDIT", First: 5, Last: 6, Place: "clickhouse", Kind: "missing"}) {
		t.Errorf("with a gap: %v", f)
	}
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkLog moves 60,000 audit events from JetStream into their transparency
// log, with disk syncs, while the same auditor stores them in ClickHouse; and
// reads them without doing anything, in the same run. Then it measures how long an
// event takes until a signed checkpoint covers it.
func BenchmarkLog(b *testing.B) {
	const n = 60_000
	for b.Loop() {
		a := newArchive(b)
		a.stop()
		appendAll(b, a.j, n/2)
		start := time.Now()
		replayAll(b, a.j)
		b.ReportMetric(n/time.Since(start).Seconds(), "fetch-and-decode/s")
		logged := func() uint64 {
			s, err := a.client.LogStatus(b.Context(), "")
			if err != nil {
				b.Fatal(err)
			}
			return s.Streams[1].Logged
		}
		a.audit()
		begun, stored := logged(), a.a.Floor(events.Audit)
		start = time.Now()
		a.until("all is logged", func() bool { return logged() >= n })
		b.ReportMetric(float64(n-begun)/time.Since(start).Seconds(), "logged/s")
		a.settle(events.Audit)
		b.ReportMetric(float64(n-stored)/time.Since(start).Seconds(), "stored/s")
		var behind time.Duration
		for i := range 10 {
			start := time.Now()
			a.say(fmt.Sprint("late", i), "", &events.AWSRequestAdmitted{AWSRequest: awsRequest(fmt.Sprint("L", i), "alice", start)})
			a.until("it is signed", func() bool { return logged() > n+uint64(i) })
			behind = max(behind, time.Since(start))
		}
		b.ReportMetric(behind.Seconds(), "checkpoint-behind-s")
	}
}
