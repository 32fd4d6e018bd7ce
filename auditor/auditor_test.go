package auditor_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/eventstest/datatest"
	"github.com/posternhq/postern/events/journal"
)

// world is an auditor with real stores beside it.
type world struct {
	t    testing.TB
	nc   *nats.Conn
	j    *journal.Journal
	dsn  string
	conn clickhouse.Conn
	a    *auditor.Auditor
	stop func()
}

func newWorld(t testing.TB, edit func(*auditor.Config)) *world {
	t.Helper()
	w := &world{t: t, dsn: embeddedtest.ClickHouse(t)}
	w.nc = eventstest.Connect(t)
	w.j = eventstest.Open(t, w.nc)
	w.conn = embeddedtest.Open(t, w.dsn)
	w.start(edit)
	return w
}

// start runs an auditor until the test ends or stop is called.
func (w *world) start(edit func(*auditor.Config)) {
	w.t.Helper()
	c := auditor.Config{Journal: w.j, ClickHouseDSN: w.dsn, Log: zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.WarnLevel)}
	if edit != nil {
		edit(&c)
	}
	a, err := auditor.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.a = a
	w.stop = embeddedtest.Run(w.t, a)
}

// settle waits until everything on a stream is stored.
func (w *world) settle(streams ...string) {
	w.t.Helper()
	for _, s := range streams {
		last, err := w.j.Last(w.t.Context(), s)
		if err != nil {
			w.t.Fatal(err)
		}
		w.until(s+" is stored", func() bool { return w.a.Floor(s) >= last })
	}
}

// until waits for something that is on its way, a minute at most. Asking again and again
// takes its part of the machine.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	end := time.Now().Add(time.Minute)
	for pause := 5 * time.Millisecond; !ok(); pause = min(2*pause, 200*time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited for a minute: %s", what)
		}
		time.Sleep(pause)
	}
}

func (w *world) count(q string, args ...any) uint64 {
	w.t.Helper()
	var n uint64
	if err := w.conn.QueryRow(w.t.Context(), q, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", q, err)
	}
	return n
}

// exact checks in SQL that a stream is in the ledger once and without gaps.
func (w *world) exact(stream string) {
	w.t.Helper()
	var rows, distinct, first, last uint64
	err := w.conn.QueryRow(w.t.Context(), `SELECT count(), uniqExact(seq), min(seq), max(seq) FROM events WHERE stream = ?`, stream).Scan(&rows, &distinct, &first, &last)
	if err != nil {
		w.t.Fatal(err)
	}
	end, err := w.j.Last(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	if rows != end || distinct != end || last != end || (end > 0 && first != 1) {
		w.t.Errorf("%s: %d rows of %d sequences from %d to %d; the stream has %d", stream, rows, distinct, first, last, end)
	}
}

// raw puts any bytes on a subject.
func (w *world) raw(subject, body string) {
	w.t.Helper()
	if _, err := w.nc.Request(subject, []byte(body), 10*time.Second); err != nil {
		w.t.Fatal(err)
	}
}

func ingester(w *world) *cloudtrail.Ingester {
	return cloudtrail.NewIngester(w.j, zerolog.Nop())
}

// The log files of a real account: every record is there once, however often
// they are taken in, and says who it was.
func TestRealLogFiles(t *testing.T) {
	dir := datatest.File(t, "data/cloudtrail/invictus")
	w := newWorld(t, nil)
	for round := range 2 {
		records, files := 0, 0
		err := ingester(w).Path(t.Context(), dir, func(r cloudtrail.Result) {
			records += r.Records
			files++
			if r.Rejected != "" {
				t.Errorf("%s: %s", r.File, r.Rejected)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if files != 55 || records != 2900 {
			t.Errorf("round %d: %d files, %d records", round, files, records)
		}
		w.settle(events.CloudTrail)
		if n := w.count(`SELECT count() FROM cloudtrail`); n != 2900 {
			t.Errorf("round %d: %d rows", round, n)
		}
	}
	w.exact(events.CloudTrail)
	for want, where := range map[uint64]string{
		2748: `identity_type = 'IAMUser'`,
		76:   `identity_type = 'AssumedRole'`,
		34:   `identity_type = 'AWSService'`,
		42:   `identity_type = ''`,
		105:  `federated_user = 'benjamin' AND federated_rule = 'user_name'`,
		29:   `federated_user = 'aws-go-sdk-1688990082523310002' AND federated_rule = 'role_session_name'`,
		15:   `federated_user = 'i-0dbc91f429e48eeed'`,
		0:    `federated_user = ''`,
		2865: `event_version = '1.08'`,
		300:  `error_code != ''`,
	} {
		if n := w.count(`SELECT count() FROM cloudtrail WHERE ` + where); n != want {
			t.Errorf("%d rows where %s, want %d", n, where, want)
		}
	}
	if n := w.count(`SELECT count() FROM cloudtrail WHERE verdict != ''`); n != 0 {
		t.Errorf("%d records of identities that are none of ours were judged", n)
	}
}

// Records stay byte for byte what they were, whatever is in them.
func TestWholeRecords(t *testing.T) {
	w := newWorld(t, nil)
	records := []string{
		`{"eventName":"A","eventID":"1","recipientAccountId":"111111111111","userAgent":"<a & b> \u2028","x":1.0e2}`,
		"{ \"eventName\" : \"B\",\n\t\"eventID\":\"2\", \"recipientAccountId\":\"111111111111\", \"n\": 12345678901234567890 }",
		`{"eventName":"C","eventID":"3","recipientAccountId":"111111111111","unknown":{"b":1,"a":[{}]},"userIdentity":"odd","resources":7,"eventTime":"redacted"}`,
	}
	dir := t.TempDir()
	for i, r := range records {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".json"), []byte(`{"Records":[`+r+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := ingester(w).Path(t.Context(), dir, func(r cloudtrail.Result) {
		if r.Rejected != "" {
			t.Errorf("%s: %s", r.File, r.Rejected)
		}
	}); err != nil {
		t.Fatal(err)
	}
	w.settle(events.CloudTrail)
	for i, want := range records {
		var got string
		if err := w.conn.QueryRow(t.Context(), `SELECT record FROM cloudtrail WHERE event_id = ?`, string(rune('1'+i))).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("record %d is\n%q, was\n%q", i+1, got, want)
		}
	}
	// One whose time can't be read is one however often it comes, and is found as of 1970.
	w.say("again", "", &events.CloudTrailRecordReceived{RecipientAccountID: "111111111111", EventID: "3", File: "again.json", Record: json.RawMessage(records[2])})
	w.settle(events.CloudTrail)
	if n := w.count(`SELECT count() FROM cloudtrail WHERE event_id = '3'`); n != 1 {
		t.Errorf("it is there %d times", n)
	}
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, w.dsn)), nil)
	found, err := a.Search(t.Context(), query.Filter{Until: "1970-01-02"})
	if err != nil || len(found.Entries) != len(records) {
		t.Errorf("%d of %d are found by their time: %v", len(found.Entries), len(records), err)
	}
}
