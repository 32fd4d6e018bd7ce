package auditor_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// JSON that AWS or a client may write, and that ClickHouse can't read, is no sign of
// tampering; a column that is changed beside it is.
func TestOddJSON(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	odd := map[string]string{
		"huge":      `"requestParameters":{"a":1e999,"b":123456789012345678901234567890}`,
		"surrogate": `"userAgent":"\ud83d"`,
		"bytes":     "\"userAgent\":\"\xff\xfe\"",
		"deep":      `"requestParameters":` + strings.Repeat(`[`, 997) + strings.Repeat(`]`, 997),
	}
	for name, field := range odd {
		record := `{"eventTime":"2026-03-01T12:00:00Z","eventSource":"ec2.amazonaws.com","eventName":"RunInstances","awsRegion":"r","recipientAccountId":"123456789012","eventID":"` + name + `",` + field + `}`
		got, err := ingester(a.world).File(t.Context(), name+".json", strings.NewReader(`{"Records":[`+record+`]}`), nil)
		if err != nil || got.Records != 1 || got.Rejected != "" {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
	}
	call := &events.AWSRequestAdmitted{AWSRequest: awsRequest("odd", "alice", time.Now()), Parameters: json.RawMessage(`{"n":1e999}`)}
	a.say("odd", "", call)
	a.settle(events.Audit, events.CloudTrail, events.Findings)
	if n := a.count(`SELECT count() FROM events WHERE NOT isValidJSON(raw)`); n < 4 {
		t.Fatalf("ClickHouse can't read %d of the events: the test tries nothing", n)
	}
	if wrong := a.verify(time.Minute); len(wrong) > 0 {
		t.Errorf("nobody tampered with it: %q", wrong)
	}
	s, err := store.New(store.Config{DSN: a.dsn, Log: zerolog.Nop(), Recheck: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, store.Horizons{}, nil)
	if err != nil || len(r.Differences) > 0 {
		t.Errorf("tables made again: %+v, %v", r, err)
	}
	for _, hidden := range []string{"problem = 'not a CloudEvent in JSON'", "problem = 'unknown event type', thing = 'other'", "problem = 'unknown event type', event_time = event_time + 1"} {
		a.sql(`CREATE TABLE copy AS events ENGINE = MergeTree ORDER BY (stream, seq)`, `INSERT INTO copy SELECT * FROM events`,
			`ALTER TABLE events UPDATE `+hidden+` WHERE stream = 'CLOUDTRAIL' AND seq = 1 SETTINGS mutations_sync = 1`)
		column := strings.Fields(hidden[strings.LastIndex(hidden, ",")+1:])[0]
		if wrong := a.verify(time.Minute); len(wrong) != 1 || !strings.HasSuffix(wrong[0], "derived in the clickhouse: "+column) {
			t.Errorf("%s: %q", hidden, wrong)
		}
		a.sql(`TRUNCATE TABLE events`, `INSERT INTO events SELECT * FROM copy SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0`, `DROP TABLE copy SYNC`)
	}
	for _, column := range []string{"thing", "event_id", "source", "correlation_id", "sequence", "event_time"} {
		changed := map[string]string{"thing": "'cloudtrail/1/other'", "event_id": "''", "sequence": "sequence + 1", "event_time": "event_time + 1"}[column]
		if changed == "" {
			changed = "'/other'"
		}
		a.sql(`CREATE TABLE copy AS events ENGINE = MergeTree ORDER BY (stream, seq)`, `INSERT INTO copy SELECT * FROM events`,
			`ALTER TABLE events UPDATE `+column+` = `+changed+` WHERE NOT isValidJSON(raw) SETTINGS mutations_sync = 1`)
		if wrong := a.verify(time.Minute); len(wrong) == 0 || !strings.HasSuffix(wrong[0], "derived in the clickhouse: "+column) {
			t.Errorf("%s was changed: %q", column, wrong)
		}
		a.sql(`TRUNCATE TABLE events`, `INSERT INTO events SELECT * FROM copy SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0`, `DROP TABLE copy SYNC`)
	}
}
