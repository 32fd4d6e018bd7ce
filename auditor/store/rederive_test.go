package store_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// An Insights event is found by what it is about.
func TestInsightRow(t *testing.T) {
	s := migrated(t)
	k, err := s.Sink(t.Context(), events.CloudTrail)
	if err != nil {
		t.Fatal(err)
	}
	d := &events.CloudTrailRecordReceived{RecipientAccountID: "123456789012", EventID: "i1", Region: "us-east-1", File: "f", Record: json.RawMessage(
		`{"eventVersion":"1.09","eventTime":"2026-01-15T12:00:00Z","awsRegion":"us-east-1","eventID":"i1","eventType":"AwsCloudTrailInsight","recipientAccountId":"123456789012","insightDetails":{"state":"Start","eventSource":"ec2.amazonaws.com","eventName":"RunInstances","insightType":"ApiCallRateInsight"},"eventCategory":"Insight"}`)}
	e := journal.Entry{Event: events.Event{Meta: events.Meta{ID: "i1", Source: "/s", Time: time.Now()}, Data: d}, Stream: events.CloudTrail, Channel: d.Channel(), Seq: 1, StoredAt: time.Now().UTC(), Raw: []byte("{}")}
	if _, err := k.Write(t.Context(), []journal.Entry{e}, nil); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT count() FROM cloudtrail WHERE event_source = 'ec2.amazonaws.com' AND event_name = 'RunInstances' AND event_category = 'Insight'`); n != 1 {
		t.Errorf("%d such rows", n)
	}
}

// A ledger of every type of event makes rows by more statements than there may be
// connections at once.
func TestRederiveOfEverything(t *testing.T) {
	s := migrated(t)
	files, err := filepath.Glob("../../events/eventstest/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	ledger := map[string][]journal.Entry{}
	for _, file := range files {
		raw := must(os.ReadFile(file))
		e := must(events.Decode(raw))
		stream := events.StreamOf(e.Data.Channel())
		seq := uint64(len(ledger[stream]) + 1)
		ledger[stream] = append(ledger[stream], journal.Entry{Event: e, Stream: stream, Channel: e.Data.Channel(), Seq: seq, StoredAt: storyTime, Raw: raw})
	}
	for stream, es := range ledger {
		k := must(s.Sink(t.Context(), stream))
		if _, err := k.Write(t.Context(), es, nil); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, store.Horizons{}, nil)
	if err != nil || len(r.Differences) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, table := range store.DerivedTables() {
		if r.Rows[table] == 0 {
			t.Errorf("no row of %s was compared", table)
		}
	}
}

// Whoever can't change rows unseen must not hide them behind another view either.
func TestRederiveOfViews(t *testing.T) {
	s := migrated(t)
	differences := func() []store.Difference {
		t.Helper()
		r, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, store.Horizons{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Differences
	}
	if d := differences(); len(d) > 0 {
		t.Fatalf("as they were made: %+v", d)
	}
	var was string
	if err := s.Conn().QueryRow(t.Context(), `SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = 'findings'`).Scan(&was); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`CREATE OR REPLACE VIEW findings AS SELECT * FROM (` + was + `) WHERE kind != 'bypass'`,
		`DROP VIEW locks`,
		`DROP VIEW sessions`,
		`CREATE TABLE sessions ENGINE = MergeTree ORDER BY session_id AS SELECT * FROM session_rows`,
	} {
		if err := s.Conn().Exec(t.Context(), q); err != nil {
			t.Fatal(q, err)
		}
	}
	want := []store.Difference{{Table: "findings", Thing: "view/findings", Kind: "changed"}, {Table: "locks", Thing: "view/locks", Kind: "missing"}, {Table: "sessions", Thing: "view/sessions", Kind: "changed"}}
	if d := cmp.Diff(want, differences()); d != "" {
		t.Error(d)
	}
}

// Nor by having columns say what is not in them.
func TestRederiveOfColumns(t *testing.T) {
	s := migrated(t)
	for _, q := range []string{
		`ALTER TABLE lock_rows RENAME COLUMN message TO said`,
		`ALTER TABLE lock_rows ADD COLUMN message String ALIAS 'nothing'`,
		`ALTER TABLE lock_rows ADD COLUMN placed_by_whom String MATERIALIZED 'nobody'`,
	} {
		if err := s.Conn().Exec(t.Context(), q); err != nil {
			t.Fatal(q, err)
		}
	}
	want := []store.Difference{{Table: "lock_rows", Thing: "view/lock_rows", Kind: "changed", Columns: []string{"message", "placed_by_whom"}}}
	r, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, store.Horizons{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, r.Differences); d != "" {
		t.Error(d)
	}
}

// BenchmarkRederive makes the rows of 100,000 requests again and compares them; the
// limit beside is reading the same ledger to this process.
func BenchmarkRederive(b *testing.B) {
	const requests, batch = 100_000, 5_000
	s := migrated(b)
	k, err := s.Sink(b.Context(), events.Audit)
	if err != nil {
		b.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Hour)
	var entries []journal.Entry
	seq := uint64(0)
	add := func(p events.Payload) {
		seq++
		e := events.Event{Meta: events.Meta{ID: fmt.Sprint("id", seq), Source: "/s", Time: at}, Data: p}
		raw, err := events.Encode(e)
		if err != nil {
			b.Fatal(err)
		}
		if entries = append(entries, journal.Entry{Event: e, Stream: events.Audit, Channel: p.Channel(), Seq: seq, StoredAt: at, Raw: raw}); len(entries) < batch {
			return
		}
		if _, err := k.Write(b.Context(), entries, nil); err != nil {
			b.Fatal(err)
		}
		entries = entries[:0]
	}
	for i := range requests {
		r := events.AWSRequest{RequestID: fmt.Sprintf("request-%08d", i), SessionID: fmt.Sprint("s", i%500), User: fmt.Sprint("user", i%200), App: "app", AWSRoleARN: "arn:aws:iam::123456789012:role/R",
			Account: "123456789012", Partition: "aws", Region: "eu-central-1", Service: "s3", SigningName: "s3", Operation: "GetObject", Action: "s3:GetObject", Resources: []string{fmt.Sprint("arn:aws:s3:::bucket/key", i)},
			Method: "GET", Host: "s3.eu-central-1.amazonaws.com", Path: "/", Proxy: "p", ReceivedAt: at.Add(time.Duration(i) * time.Millisecond)}
		add(&events.AWSRequestAdmitted{AWSRequest: r, Role: "engineer"})
		add(&events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: fmt.Sprint("AWS", i)})
	}
	rate := func(name string, run func()) {
		start := time.Now()
		run()
		b.ReportMetric(float64(seq)/time.Since(start).Seconds(), name+"/s")
	}
	for b.Loop() {
		rate("raw-read", func() {
			rows, err := s.Conn().Query(b.Context(), `SELECT stream, seq, channel, stored_at, raw FROM events ORDER BY stream, seq`)
			if err != nil {
				b.Fatal(err)
			}
			defer rows.Close()
			var e journal.Entry
			var raw string
			for rows.Next() {
				if err := rows.Scan(&e.Stream, &e.Seq, &e.Channel, &e.StoredAt, &raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		for name, part := range map[string]store.Part{"rederived": {Of: 1}, "rederived-1-in-100": {Of: 100, Index: 7}} {
			rate(name, func() {
				r, err := s.Rederive(b.Context(), part, time.Time{}, store.Horizons{}, nil)
				if err != nil || len(r.Differences) > 0 || r.Rows["request_rows"] == 0 {
					b.Fatalf("%+v, %v", r, err)
				}
			})
		}
	}
}
