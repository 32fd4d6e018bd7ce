package events_test

import (
	"bytes"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/posternhq/postern/events"
)

// A placed event is a CloudEvent that tells its place, and gives the event back
// byte for byte.
func TestPlaced(t *testing.T) {
	want := events.Place{Stream: events.Audit, Sequence: 42, Subject: `audit.denied.1."quoted"\.%`, StoredAt: time.Unix(1_790_000_000, 123456789).UTC()}
	for _, typ := range events.Types() {
		raw := bytes.TrimSpace(golden(t, typ))
		body, err := events.Placed(raw, want)
		if err != nil {
			t.Fatal(err)
		}
		var ce cloudevents.Event
		if err := ce.UnmarshalJSON(body); err != nil || ce.Validate() != nil {
			t.Fatalf("%s: %v, %v", typ, err, ce.Validate())
		}
		if x := ce.Extensions(); x["stream"] != "AUDIT" || x["streamsequence"] != "00000000000000000042" || x["streamsubject"] != want.Subject {
			t.Errorf("extensions %v", x)
		}
		if got, p, ok := events.Unplaced(body); !ok || !bytes.Equal(got, raw) || p != want {
			t.Errorf("back: %t %+v\n%s", ok, p, got)
		}
	}
	for _, bad := range []string{"", "{}", "[1]", `{"a":1}x`, "\xff"} {
		if _, err := events.Placed([]byte(bad), want); err == nil {
			t.Errorf("%q was placed", bad)
		}
	}
}

// FuzzPlaced: whatever is placed comes back, whatever it holds.
func FuzzPlaced(f *testing.F) {
	f.Add([]byte(`{"id":"1"}`), "audit.x", uint64(1), int64(5))
	f.Add([]byte(`{"a":",\"stream\":\"AUDIT\""}`), `,"stream":"AUDIT","`, uint64(1<<63), int64(-5))
	f.Fuzz(func(t *testing.T, raw []byte, subject string, seq uint64, at int64) {
		p := events.Place{Stream: events.Audit, Sequence: seq, Subject: subject, StoredAt: time.Unix(at>>24, at&0xfffff).UTC()}
		body, err := events.Placed(raw, p)
		if err != nil || p.StoredAt.Year() > 9999 || p.StoredAt.Year() < 0 {
			return
		}
		got, back, ok := events.Unplaced(body)
		if !ok || !bytes.Equal(got, raw) {
			t.Fatalf("%q came back as %q (%t)", raw, got, ok)
		}
		if back.Sequence != seq || !back.StoredAt.Equal(p.StoredAt) {
			t.Fatalf("%+v came back as %+v", p, back)
		}
	})
}
