package store_test

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

func open(t testing.TB, dsn string) *store.Store {
	t.Helper()
	s, err := store.New(store.Config{DSN: dsn, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func migrated(t testing.TB) *store.Store {
	t.Helper()
	s := open(t, embeddedtest.ClickHouse(t))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func count(t *testing.T, s *store.Store, q string) (n uint64) {
	t.Helper()
	if err := s.Conn().QueryRow(t.Context(), q).Scan(&n); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return n
}

func TestMigrate(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	fresh := dsn + "_made"
	s := open(t, fresh)
	for range 2 {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("migrations/*.sql")
	if n := count(t, s, `SELECT count() FROM migrations FINAL`); err != nil || n != uint64(len(files)) {
		t.Errorf("%d migrations are noted", n)
	}
	for _, table := range strings.Fields("requests tunnels cloudtrail sessions findings access_requests locks access_events") {
		if n := count(t, s, "SELECT count() FROM "+table); n != 0 {
			t.Errorf("%s has %d rows", table, n)
		}
	}
	if err := s.Conn().Exec(t.Context(), `INSERT INTO migrations (version, name, sha256, applied_at) SELECT 1, 'other', 'other', now64(3) + 1`); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); !errors.Is(err, store.ErrForeign) {
		t.Errorf("a migration that was another one: %v", err)
	}
	if err := s.Conn().Exec(t.Context(), "DROP DATABASE "+s.Database()+" SYNC"); err != nil {
		t.Fatal(err)
	}
}

// What trying again can't mend is told apart from what it can.
func TestLasting(t *testing.T) {
	dsn, err := url.Parse(embeddedtest.ClickHouse(t))
	if err != nil {
		t.Fatal(err)
	}
	with := func(edit func(u *url.URL)) *store.Store {
		u := *dsn
		edit(&u)
		return open(t, u.String())
	}
	made := open(t, dsn.String())
	if err := made.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name   string
		s      *store.Store
		before string
		want   string
	}{
		{"nobody listens", with(func(u *url.URL) { u.Host = "127.0.0.1:1" }), "", ""},
		{"another password", with(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "x") }), "", "password"},
		{"somebody's column", made, `ALTER TABLE request_rows DROP COLUMN stage`, "migrations"},
		{"of another version", made, `INSERT INTO migrations (version, name, sha256, applied_at) SELECT 1, 'other', 'other', now64(3) + 1`, "version of postern"},
	} {
		if x.before != "" {
			if err := x.s.Conn().Exec(t.Context(), x.before); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(x.before, "ALTER") { // applied once more, so that it meets what is not there
				if err := x.s.Conn().Exec(t.Context(), `DELETE FROM migrations WHERE version IN (2, 9)`); err != nil {
					t.Fatal(err)
				}
			}
		}
		err := x.s.Migrate(t.Context())
		nextStep, lasting := store.Lasting(err)
		if err == nil || lasting != (x.want != "") || !strings.Contains(nextStep, x.want) {
			t.Errorf("%s: %v: lasting %t, %q", x.name, err, lasting, nextStep)
		}
	}
}

func TestDSNStaysSecret(t *testing.T) {
	_, err := store.New(store.Config{DSN: "clickhouse://u:s3cret@host:%zz/db"})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v", err)
	}
	if _, err := store.New(store.Config{}); !errors.Is(err, store.ErrNoDSN) {
		t.Errorf("without a DSN: %v", err)
	}
}

func entries(from, to uint64, at time.Time) []journal.Entry {
	var out []journal.Entry
	for seq := from; seq <= to; seq++ {
		d := &events.UserPasswordChanged{Name: "alice", By: "admin"}
		out = append(out, journal.Entry{
			Event:  events.Event{Meta: events.Meta{ID: fmt.Sprint("id", seq), Source: "/s", Time: at}, Data: d},
			Stream: events.Access, Channel: d.Channel(), Seq: seq, StoredAt: at, Raw: []byte(`{}`),
		})
	}
	return out
}

// A process that was stopped in the middle of an insert, and goes on after another
// one took the stream over, stores nothing.
func TestTakeOver(t *testing.T) {
	s := migrated(t)
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	always := func() bool { return true }
	stopped := func() bool {
		second, err := s.TakeOver(t.Context(), events.Access, always)
		if err != nil {
			t.Error(err)
			return true
		}
		for from := uint64(1); from <= 50; from += 10 { // cut elsewhere
			if _, err := second.Write(t.Context(), entries(from, from+9, at), nil); err != nil {
				t.Error(err)
			}
		}
		return true
	}
	first, err := s.TakeOver(t.Context(), events.Access, stopped)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Write(t.Context(), entries(1, 40, at), nil); err == nil {
		t.Error("the first wrote on")
	}
	if n := count(t, s, `SELECT count() FROM events`); n != 50 {
		t.Errorf("%d rows", n)
	}
	lost, err := s.TakeOver(t.Context(), events.Access, func() bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lost.Write(t.Context(), entries(51, 60, at), nil); !errors.Is(err, store.ErrNotHeld) {
		t.Errorf("without holding it: %v", err)
	}
}

// What is stored already is left out, however batches are cut after a start.
func TestSinkContinues(t *testing.T) {
	s := migrated(t)
	at := time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC)
	write := func(k *store.Sink, want int, es []journal.Entry) {
		t.Helper()
		fresh, err := k.Write(t.Context(), es, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(fresh) != want {
			t.Errorf("%d of entries %d to %d were new, want %d", len(fresh), es[0].Seq, es[len(es)-1].Seq, want)
		}
	}
	start := func(floor uint64) *store.Sink {
		t.Helper()
		k, err := s.Sink(t.Context(), events.Access)
		if err != nil {
			t.Fatal(err)
		}
		if k.Floor() != floor {
			t.Errorf("floor %d, want %d", k.Floor(), floor)
		}
		return k
	}
	k := start(0)
	// Over a month's end: two partitions, so two blocks.
	batch := append(entries(1, 5, at), entries(6, 10, at.Add(2*time.Second))...)
	write(k, 10, batch)
	write(k, 0, batch)
	// As after a crash: the second half of a batch is there, the first is not.
	late := start(10)
	write(late, 3, entries(14, 16, at.Add(time.Hour)))
	k = start(10)
	write(k, 5, entries(11, 18, at.Add(time.Hour)))
	if k.Floor() != 18 {
		t.Errorf("floor %d, want 18", k.Floor())
	}
	k = start(18)
	write(k, 2, entries(17, 20, at.Add(time.Hour)))
	if n, d := count(t, s, `SELECT count() FROM events`), count(t, s, `SELECT uniqExact(seq) FROM events`); n != 20 || d != 20 {
		t.Errorf("%d rows of %d sequences, want 20", n, d)
	}
}

// A batch that is sent in several pieces is one block, whatever the server's settings.
func TestSinkOneBlock(t *testing.T) {
	s := open(t, embeddedtest.ClickHouse(t)+"?min_insert_block_size_rows=1&min_insert_block_size_bytes=1")
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	k, err := s.Sink(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write(t.Context(), entries(1, 3500, time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)), nil); err != nil {
		t.Fatal(err)
	}
	// A part that was merged out of several tells the numbers of all their blocks.
	if rows, blocks := count(t, s, `SELECT count() FROM events`), count(t, s, `SELECT toUInt64(1 + max(max_block_number) - min(min_block_number)) FROM system.parts
		WHERE database = currentDatabase() AND table = 'events' AND active`); rows != 3500 || blocks != 1 {
		t.Errorf("%d rows in %d blocks", rows, blocks)
	}
}

// Two tries of one batch at the same time, as after a time-out, store it once.
func TestSinkTwiceAtOnce(t *testing.T) {
	s := migrated(t)
	es := entries(1, 2000, time.Now().UTC())
	errs := make(chan error)
	for range 4 {
		k, err := s.Sink(t.Context(), events.Access)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := k.Write(t.Context(), es, nil)
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := count(t, s, `SELECT count() FROM events`); n != 2000 {
		t.Errorf("%d rows, want 2000", n)
	}
}

// Rows of a request may come in any order, again, and in separate batches.
func TestRequestRows(t *testing.T) {
	s := migrated(t)
	at := time.Now().UTC().Truncate(time.Microsecond)
	r := events.AWSRequest{RequestID: "R1", ReceivedAt: at, User: "alice", Service: "s3", Operation: "GetObject", Also: []string{"c:D", "e:F"}, Resources: []string{"a", "b"}, Method: "GET", Host: "h", Path: "/", Proxy: "p"}
	say := []events.Payload{
		&events.VerdictReached{RequestID: "R1", RequestAt: at, RecipientAccountID: "1", EventID: "E", EventTime: at, Verdict: events.Matched, Rule: "request_id", Detail: "tab\there", At: at},
		&events.AWSRequestCompleted{AWSRequest: r, Status: 206, AWSRequestID: "AWS"},
		&events.VerdictReached{RequestID: "R1", RequestAt: at, Verdict: events.Missing, Rule: "overdue", At: at},
		&events.AWSRequestAdmitted{AWSRequest: r, Role: "engineer"},
		&events.VerdictReached{RequestID: "R1", RequestAt: at, Verdict: "to come in a later version", At: at},
	}
	k, err := s.Sink(t.Context(), events.Audit)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range append(say, say...) {
		e := journal.Entry{Event: events.Event{Meta: events.Meta{ID: "admitted", Source: "/s", Time: at}, Data: d}, Stream: events.Audit, Channel: d.Channel(), Seq: uint64(i + 1), StoredAt: at, Raw: []byte("{}")}
		if _, err := k.Write(t.Context(), []journal.Entry{e}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var outcome, role, verdict, rule, detail, awsID, admitted string
	var resources, also []string
	var status uint16
	err = s.Conn().QueryRow(t.Context(), `SELECT outcome, role, verdict, verdict_rule, verdict_detail, aws_request_id, admitted_event_id, resources, also, status FROM requests WHERE user = 'alice'`).
		Scan(&outcome, &role, &verdict, &rule, &detail, &awsID, &admitted, &resources, &also, &status)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(outcome, role, verdict, rule, detail, awsID, admitted, resources, also, status)
	if want := fmt.Sprint("completed", "engineer", "matched", "request_id", "tab here", "AWS", "admitted", []string{"a", "b"}, []string{"c:D", "e:F"}, 206); got != want {
		t.Errorf("the row is %s, want %s", got, want)
	}
	if n := count(t, s, `SELECT count() FROM requests`); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// Tables of a newer version are not touched.
func TestNewerSchema(t *testing.T) {
	s := migrated(t)
	if err := s.Conn().Exec(t.Context(), `INSERT INTO migrations (version, name, sha256) VALUES (9999, '9999_future.sql', 'x')`); err != nil {
		t.Fatal(err)
	}
	err := s.Migrate(t.Context())
	if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "schema 9999") {
		t.Errorf("migrate: %v", err)
	}
	if next, lasting := store.Lasting(err); !lasting || !strings.Contains(next, "update this auditor") {
		t.Errorf("lasting: %v, %q", lasting, next)
	}
	if _, err := s.Behind(t.Context()); !errors.Is(err, store.ErrNewer) {
		t.Errorf("behind: %v", err)
	}
}

// A request that was paired with a record of another call, and then with its own: the
// columns tell of the second pair, whichever ids are greater and in whatever order they came.
func TestPairedAgainRows(t *testing.T) {
	s := migrated(t)
	at := time.Now().UTC().Truncate(time.Microsecond)
	record := func(id string) *events.CloudTrailRecordReceived {
		return &events.CloudTrailRecordReceived{RecipientAccountID: "222222222222", EventID: id, Record: []byte(`{"eventSource":"s3.amazonaws.com","eventName":"GetObject","eventTime":"` + at.Format(time.RFC3339Nano) + `"}`)}
	}
	own := record("AOWN")
	own.RecipientAccountID = "111111111111"
	say := []events.Payload{
		&events.AWSRequestCompleted{AWSRequest: events.AWSRequest{RequestID: "R1", ReceivedAt: at, User: "alice"}, AWSRequestID: "AWS"},
		record("ZPART"), own,
		&events.VerdictReached{RequestID: "R1", RequestAt: at, RecipientAccountID: "222222222222", EventID: "ZPART", EventTime: at, Verdict: events.Mismatched, Rule: "request_id", Detail: "operation: postern a, cloudtrail b", At: at},
		&events.VerdictReached{RequestID: "R1", RequestAt: at, RecipientAccountID: "111111111111", EventID: "AOWN", EventTime: at.Add(-time.Second), Verdict: events.Matched, Rule: "request_id", Previous: events.Mismatched, At: at},
		&events.VerdictReached{RequestID: "R1", RequestAt: at, RecipientAccountID: "222222222222", EventID: "ZPART", EventTime: at, Verdict: events.Proxied, Rule: "same_request", Previous: events.Mismatched, At: at},
	}
	own.Record = []byte(strings.Replace(string(own.Record), at.Format(time.RFC3339Nano), at.Add(-time.Second).Format(time.RFC3339Nano), 1))
	for _, d := range append(slices.Clone(say), say...) {
		k, err := s.Sink(t.Context(), streamOf(d))
		if err != nil {
			t.Fatal(err)
		}
		seq := k.Floor() + 1
		e := journal.Entry{Event: events.Event{Meta: events.Meta{ID: fmt.Sprint(seq), Source: "/s", Time: at}, Data: d}, Stream: streamOf(d), Channel: d.Channel(), Seq: seq, StoredAt: at, Raw: []byte("{}")}
		if _, err := k.Write(t.Context(), []journal.Entry{e}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var verdict, account, event string
	var paired time.Time
	err := s.Conn().QueryRow(t.Context(), `SELECT verdict, cloudtrail_account, cloudtrail_event_id, cloudtrail_time FROM requests`).Scan(&verdict, &account, &event, &paired)
	if err != nil || verdict != events.Matched || account != "111111111111" || event != "AOWN" || !paired.Equal(at.Add(-time.Second)) {
		t.Errorf("the request is %s with %s/%s at %v, %v", verdict, account, event, paired, err)
	}
	if n := count(t, s, `SELECT count() FROM cloudtrail WHERE verdict = 'mismatched'`); n != 0 {
		t.Errorf("%d records are mismatched", n)
	}
	if n := count(t, s, `SELECT count() FROM cloudtrail WHERE event_id = 'ZPART' AND verdict_rule = 'same_request' AND postern_request_id = 'R1'`); n != 1 {
		t.Errorf("%d records are of the request besides its own", n)
	}
}
