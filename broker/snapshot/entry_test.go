package snapshot

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// FuzzEntries: no block breaks the reader, and what it takes for entries is what it
// reads of them written again.
func FuzzEntries(f *testing.F) {
	b := []byte{entries}
	for i, p := range []events.Payload{nil, &events.LockLifted{LockID: "a", By: "b"}, &events.SessionEnded{SessionID: "<c>", User: "ü"}} {
		e := journal.Entry{Stream: events.Access, Channel: "access.lock.forged", Seq: uint64(i) << 40}
		if p != nil {
			e.Channel, e.Event = p.Channel(), events.Event{Data: p, Meta: events.Meta{ID: "1", Source: "/s", Time: time.Unix(int64(i)-2, 5).UTC(), Sequence: 1 << 63}}
		}
		var err error
		if b, err = appendEntry(b, e); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		first := readEntries(b)
		if first.err != nil {
			return
		}
		again := []byte{entries}
		for _, e := range first.entries {
			var err error
			if again, err = appendEntry(again, e); err != nil {
				t.Fatal(err)
			}
		}
		if second := readEntries(again); second.err != nil || !cmp.Equal(first.entries, second.entries) {
			t.Fatalf("%v: %s", second.err, cmp.Diff(first.entries, second.entries))
		}
	})
}
