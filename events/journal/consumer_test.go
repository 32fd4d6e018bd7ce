package journal_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// A consumer that takes and never acknowledges, and one that is dead, hold up
// neither those who append nor another consumer, and lose nothing.
func TestDeadConsumers(t *testing.T) {
	const half = 300 // more than a reader has in hand
	j, ctx := eventstest.Journal(t), t.Context()
	for _, name := range []string{"dead", "stuck", "live"} {
		if err := j.CreateConsumer(ctx, events.ConsumerCreated{Name: name, Stream: events.Access, Filter: "access.request.>"}); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	add := func() {
		for range half {
			want = append(want, fmt.Sprint(len(want)))
			for _, e := range []events.Event{drop(len(want) - 1), ended(want[len(want)-1])} {
				if _, err := j.Append(ctx, e); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	add()
	errStuck := errors.New("the receiver is down")
	err := j.Read(ctx, events.Access, "stuck", false, func(context.Context, journal.Entry) error { return errStuck })
	if !errors.Is(err, errStuck) {
		t.Fatalf("read: %v", err)
	}
	add()
	var got []string
	err = j.Read(ctx, events.Access, "live", false, func(_ context.Context, e journal.Entry) error {
		got = append(got, e.Data.(*events.RequestDropped).RequestID)
		return nil
	})
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("read (-want +got), %v:\n%s", err, d)
	}
	for _, c := range []struct {
		name                    string
		pending, unacknowledged uint64
		ackedTo                 uint64
	}{
		{"dead", 2 * half, 0, 0},
		{"stuck", 2*half - 100, 100, 0},
		{"live", 0, 0, 4*half - 1}, // the last event is none of its own
	} {
		p, err := j.PlaceOf(ctx, events.Access, c.name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Pending != c.pending || p.Unacknowledged != c.unacknowledged || p.AckedTo != c.ackedTo || p.LastAck.IsZero() == (c.ackedTo > 0) {
			t.Errorf("%s: %+v, want %+v", c.name, p, c)
		}
	}
	for range 2 { // the second time there is none
		if err := j.DeleteConsumer(ctx, events.Access, "stuck"); err != nil {
			t.Error(err)
		}
	}
	if err := j.Read(ctx, events.Access, "stuck", false, nil); err == nil {
		t.Error("a consumer that is gone was read")
	}
}
