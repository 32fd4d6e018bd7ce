package store_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const day = 24 * time.Hour

// A horizon is never behind what was allowed to go, whatever was set when.
func TestHorizons(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	set := func(days int, keep store.Retention) store.RetentionSet {
		return store.RetentionSet{Since: now.Add(-time.Duration(days) * day), Retention: keep}
	}
	for _, c := range []struct {
		name string
		set  []store.RetentionSet
		want int // days before now; 0: none
	}{
		{"never set", nil, 0},
		{"for good", []store.RetentionSet{set(100, store.Retention{Requests: 10 * day})}, 0},
		{"in force", []store.RetentionSet{set(100, store.Retention{Events: 30 * day})}, 30},
		{"since now", []store.RetentionSet{set(0, store.Retention{Events: 30 * day})}, 30},
		{"kept longer", []store.RetentionSet{set(100, store.Retention{Events: 30 * day}), set(10, store.Retention{Events: 400 * day})}, 40},
		{"kept longer, long ago", []store.RetentionSet{set(500, store.Retention{Events: 30 * day}), set(450, store.Retention{Events: 400 * day})}, 400},
		{"then for good", []store.RetentionSet{set(100, store.Retention{Events: 30 * day}), set(10, store.Retention{})}, 40},
		{"shorter", []store.RetentionSet{set(100, store.Retention{Events: 400 * day}), set(10, store.Retention{Events: 30 * day})}, 30},
	} {
		var want store.Horizons
		if c.want > 0 {
			want.Events = now.Add(-time.Duration(c.want) * day)
		}
		got := store.HorizonsOf(c.set, now)
		got.Requests = time.Time{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	a, b := store.Retention{Events: day, Requests: 3 * day}, store.Retention{Events: 2 * day, CloudTrail: day}
	if got, want := a.Shorter(b), (store.Retention{Events: day, Requests: 3 * day, CloudTrail: day}); got != want || b.Shorter(a) != want {
		t.Errorf("the shorter of both is %v, want %v", got, want)
	}
}

// On the real engine: rows move to the cold volume, a directory or a bucket, and
// can be searched there; they expire; what is left is what the ledger says.
func TestRetain(t *testing.T) {
	t.Parallel()
	t.Run("directory", func(t *testing.T) { retain(t, &embedded.Cold{Policy: "tiered", Volume: "cold", Path: t.TempDir()}) })
	t.Run("S3", func(t *testing.T) {
		sim, err := simaws.New(simaws.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		embeddedtest.Run(t, sim)
		key, err := sim.AccessKey("123456789012", "clickhouse")
		if err != nil {
			t.Fatal(err)
		}
		if err := sim.PutBucket(simaws.Bucket{Account: "123456789012", Region: "eu-central-1", Name: "cold-rows"}); err != nil {
			t.Fatal(err)
		}
		plain := httptest.NewServer(sim) // ClickHouse trusts the system's CAs alone
		t.Cleanup(plain.Close)
		retain(t, &embedded.Cold{Policy: "tiered", Volume: "cold", S3: &embedded.ColdS3{Endpoint: plain.URL + "/cold-rows/postern/", Region: "eu-central-1", AccessKeyID: key.ID, SecretAccessKey: key.Secret}})
	})
}

func retain(t *testing.T, cold *embedded.Cold) {
	ch := embeddedtest.StartClickHouse(t, func(c *embedded.ClickHouseConfig) { c.Cold = cold })
	s := open(t, ch.DSN(embedded.Owner))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	ages := []int{500, 100, 1} // days
	const each = 20
	record := func(id string, at time.Time) *events.CloudTrailRecordReceived {
		return &events.CloudTrailRecordReceived{RecipientAccountID: "123456789012", EventID: id, Region: "eu-central-1", File: "f", Record: fmt.Appendf(nil,
			`{"eventVersion":"1.11","eventTime":%q,"eventSource":"s3.amazonaws.com","eventName":"ListObjects","awsRegion":"eu-central-1","eventID":%q,"recipientAccountId":"123456789012","eventCategory":"Data"}`, at.Format(time.RFC3339), id)}
	}
	for _, stream := range []string{events.Access, events.Audit, events.CloudTrail} {
		k, err := s.Sink(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		var all []journal.Entry
		for _, age := range ages {
			for i := range each {
				at, id := now.Add(-time.Duration(age)*day), fmt.Sprintf("%d-%d", age, i)
				var d events.Payload
				switch stream {
				case events.Access:
					d = &events.LockPlaced{LockID: id, Target: events.LockTarget{Kind: "user", Name: id}, By: "admin"}
				case events.Audit:
					d = &events.AWSRequestCompleted{AWSRequest: events.AWSRequest{RequestID: id, ReceivedAt: at, User: "alice", Account: "123456789012"}, Status: 200}
				default:
					d = record(id, at)
				}
				e := events.Event{Meta: events.Meta{ID: stream + id, Source: "/s", Time: at}, Data: d}
				raw, err := events.Encode(e)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, journal.Entry{Event: e, Stream: stream, Channel: d.Channel(), Seq: uint64(len(all) + 1), StoredAt: at, Raw: raw})
			}
		}
		if _, err := k.Write(t.Context(), all, nil); err != nil {
			t.Fatal(err)
		}
	}
	until := func(what string, want uint64, q string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			n := count(t, s, q)
			if n == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d, want %d", what, n, want)
			}
		}
	}
	tiers := store.Tiers{Policy: "tiered", Volume: "cold", After: 30 * day}
	set := func(r store.Retention) {
		t.Helper()
		if err := s.Retain(t.Context(), r, tiers); err != nil {
			t.Fatal(err)
		}
	}

	// Moved.
	set(store.Retention{})
	for _, table := range []string{"events", "request_rows", "cloudtrail_rows"} {
		rows := 2 * each
		if table == "events" {
			rows *= 3
		}
		until(table+" that are cold", uint64(rows), `SELECT sum(rows) FROM system.parts WHERE active AND database = currentDatabase() AND table = '`+table+`' AND disk_name = 'postern_cold'`)
	}
	if n := count(t, s, `SELECT count() FROM requests WHERE user = 'alice'`); n != 3*each {
		t.Errorf("%d requests are found, want %d", n, 3*each)
	}

	// Gone: the tables first, while the ledger keeps what they follow from.
	kept := store.Retention{Requests: 400 * day, CloudTrail: 400 * day}
	set(kept)
	for _, view := range []string{"requests", "cloudtrail"} {
		until(view, 2*each, "SELECT count() FROM "+view)
	}
	for view, counted := range map[string]string{"requests": "calls", "cloudtrail": "events"} {
		if n := count(t, s, "SELECT toUInt64(sum("+counted+")) FROM "+view+"_by_hour"); n != 2*each {
			t.Errorf("%s by hour are %d, want %d", view, n, 2*each)
		}
	}
	differ := func(h store.Horizons) (n int) {
		t.Helper()
		r, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, h, nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Differences)
	}
	horizons := func(r store.Retention) store.Horizons {
		return store.HorizonsOf([]store.RetentionSet{{Since: now, Retention: r}}, now)
	}
	if n := differ(store.Horizons{}); n != 2*each {
		t.Errorf("%d rows are missing if nothing may be, want %d", n, 2*each)
	}
	if n := differ(horizons(kept)); n != 0 {
		t.Errorf("%d differences beyond what expired", n)
	}

	// Then the ledger's two large streams.
	kept.Events = 400 * day
	set(kept)
	for stream, want := range map[string]uint64{events.Access: 3 * each, events.Audit: 2 * each, events.CloudTrail: 2 * each} {
		until(stream, want, "SELECT count() FROM events WHERE stream = '"+stream+"'")
		k, err := s.Sink(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if k.Floor() != 3*each {
			t.Errorf("%s goes on after %d, want %d: what is gone was stored", stream, k.Floor(), 3*each)
		}
	}
	if n := differ(horizons(kept)); n != 0 {
		t.Errorf("%d differences beyond what expired", n)
	}
	if err := s.Conn().Exec(t.Context(), `DELETE FROM request_rows WHERE request_id = '1-7'`); err != nil {
		t.Fatal(err)
	}
	if n := differ(horizons(kept)); n != 1 {
		t.Errorf("%d differences, want the row that was taken away", n)
	}

	// Set again, nothing is done again; taken back, nothing goes any more.
	const mutations = `SELECT count() FROM system.mutations WHERE database = currentDatabase()`
	before := count(t, s, mutations)
	set(kept)
	if n := count(t, s, mutations); n != before {
		t.Errorf("%d mutations, there were %d", n, before)
	}
	set(store.Retention{})
	if n := count(t, s, `SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine_full LIKE '% TTL %toIntervalSecond(3456%'`); n != 0 {
		t.Errorf("rows of %d tables still expire", n)
	}
	if err := s.Retain(t.Context(), kept, store.Tiers{Policy: "tiered", Volume: "colder", After: day}); !errors.Is(err, store.ErrTiers) {
		t.Errorf("a volume that is not there: %v", err)
	} else if _, lasting := store.Lasting(err); !lasting {
		t.Error("trying again would not help")
	}
}
