package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// What a deliverer had in hand when it died comes first to the next one, before
// what was never sent, and so to each of many.
func TestDeliver(t *testing.T) {
	const all = 700 // more than are in hand at once
	j, ctx := eventstest.Journal(t), t.Context()
	if err := j.CreateDelivery(ctx, events.ConsumerCreated{Name: "siem", Stream: events.Access, Filter: "access.request.>"}); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for i := range all {
		want = append(want, fmt.Sprint(i))
		for _, e := range []events.Event{drop(i), ended(want[i])} {
			if _, err := j.Append(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	errDied := errors.New("died before it said so")
	for died := 0; len(got) < all; died++ {
		if died > all {
			t.Fatal("it does not get on")
		}
		taken := 0
		err := j.Deliver(ctx, events.Access, "siem", 7, func(_ context.Context, es []journal.Entry) error {
			if len(es) > 7 {
				t.Errorf("%d at once", len(es))
			}
			if taken++; taken > 30 {
				return errDied
			}
			for _, e := range es {
				got = append(got, e.Data.(*events.RequestDropped).RequestID)
			}
			if len(got) == all {
				return errDied // after it was taken: it comes twice
			}
			return nil
		})
		if !errors.Is(err, errDied) {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("delivered (-want +got):\n%s", d)
	}
	// The last was not acknowledged: it comes again, at its sequence.
	err := j.Deliver(ctx, events.Access, "siem", 7, func(_ context.Context, es []journal.Entry) error {
		first := slices.Index(want, es[0].Data.(*events.RequestDropped).RequestID)
		if first != all-len(es) {
			t.Errorf("%d entries from %d came again", len(es), first)
		}
		e, err := j.At(ctx, events.Access, es[0].Seq)
		if err != nil || string(e.Raw) != string(es[0].Raw) || e.Channel != es[0].Channel || !e.StoredAt.Equal(es[0].StoredAt) {
			t.Errorf("at %d: %+v, %v", es[0].Seq, e, err)
		}
		return errDied
	})
	if !errors.Is(err, errDied) {
		t.Error(err)
	}
	if _, err := j.At(ctx, events.Access, 10*all); err == nil {
		t.Error("an entry beyond the end")
	}
}

// What goes to a request that a former deliverer left open is not lost: nothing
// after it is acknowledged before it.
func TestDeliverBesideAnOldRequest(t *testing.T) {
	const all = 20
	nc := eventstest.Connect(t)
	j, ctx := eventstest.Open(t, nc), t.Context()
	if err := j.CreateDelivery(ctx, events.ConsumerCreated{Name: "siem", Stream: events.Access, Filter: "access.request.>"}); err != nil {
		t.Fatal(err)
	}
	former, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+events.Access+".siem", former.Subject, []byte(`{"batch":25,"expires":60000000000}`)); err != nil {
		t.Fatal(err)
	}
	put := func(i int) {
		if _, err := j.Append(ctx, drop(i)); err != nil {
			t.Fatal(err)
		}
	}
	put(0)
	if _, err := former.NextMsgWithContext(ctx); err != nil { // so its request stands
		t.Fatal(err)
	}
	for i := 1; i < all; i++ {
		put(i)
	}
	var got []string
	errDone := errors.New("all of them")
	err = j.Deliver(ctx, events.Access, "siem", 7, func(_ context.Context, es []journal.Entry) error {
		for _, e := range es {
			got = slices.Concat(got, []string{e.Data.(*events.RequestDropped).RequestID})
		}
		if len(got) >= all {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		t.Fatal(err)
	}
	for i, id := range got {
		if id != fmt.Sprint(i) {
			t.Fatalf("delivered %v", got)
		}
	}
}
