package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	err := j.Read(ctx, events.Access, "stuck", false, func(ctx context.Context, _ journal.Entry) error {
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // until it has in hand what it takes at once
			if p, err := j.PlaceOf(ctx, events.Access, "stuck"); err != nil || p.Unacknowledged == 100 || time.Now().After(end) {
				return errors.Join(errStuck, err)
			}
		}
	})
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

// Whoever reads all there is and can't go on gives back what it had in hand, and whoever
// reads next gets it at once; what lies in the hands of a reader that died is waited for,
// and what never comes is an error.
func TestReadToTheEnd(t *testing.T) {
	nc := eventstest.Connect(t)
	j, ctx := eventstest.Open(t, nc), t.Context()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range []*nats.Msg{
		{Data: []byte("no event")}, {}, {Header: nats.Header{"X": {"y"}}}, {Data: []byte("last")},
	} {
		m.Subject = fmt.Sprintf("access.request.%d", i)
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	const ackWait = 3 * time.Second
	if _, err := js.CreateConsumer(ctx, events.Access, jetstream.ConsumerConfig{Durable: "siem", FilterSubject: "access.request.*", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait}); err != nil {
		t.Fatal(err)
	}
	read := func(fails uint64) (seqs []uint64, err error) {
		err = j.Read(ctx, events.Access, "siem", false, func(_ context.Context, e journal.Entry) error {
			if e.Seq == fails {
				return errors.New("the receiver is down")
			}
			seqs = append(seqs, e.Seq)
			return nil
		})
		return seqs, err
	}
	// What is slow to be acknowledged may come again.
	all := func(got []uint64, want ...uint64) bool {
		return !slices.ContainsFunc(want, func(seq uint64) bool { return !slices.Contains(got, seq) })
	}
	if got, err := read(2); err == nil || !slices.Equal(got, []uint64{1}) {
		t.Errorf("read %v, %v; the second was to fail", got, err)
	}
	if got, err := read(0); err != nil || !all(got, 2, 3, 4) {
		t.Errorf("read %v, %v; want the rest", got, err)
	}

	// A reader takes one and dies.
	if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "access.request.4", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	dead, err := js.Consumer(ctx, events.Access, "siem")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Next(); err != nil {
		t.Fatal(err)
	}
	if got, err := read(0); err != nil || !all(got, 5) {
		t.Errorf("read %v, %v; want what the dead one had", got, err)
	}

	// A message that looks like a word of the server's is shown to no client.
	if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "access.request.5", Header: nats.Header{"Status": {"404"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "access.request.6", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	got, err := read(0)
	outstanding, ok := errors.AsType[*journal.OutstandingError](err)
	if !ok || outstanding.Pending+outstanding.Unacknowledged == 0 || !all(got, 7) {
		t.Errorf("read %v, %v; want that one is left", got, err)
	}
}

// A handler may take as long as it likes: what came meanwhile is read, too.
func TestReadSlowly(t *testing.T) {
	nc := eventstest.Connect(t)
	j, ctx := eventstest.Open(t, nc), t.Context()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	const ackWait = time.Hour
	now := time.Now()
	j.Tell(func() time.Time { return now })
	if _, err := js.CreateConsumer(ctx, events.Access, jetstream.ConsumerConfig{Durable: "siem", FilterSubject: "access.request.*", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(ctx, drop(1)); err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	err = j.Read(ctx, events.Access, "siem", false, func(_ context.Context, e journal.Entry) error {
		if seqs = append(seqs, e.Seq); len(seqs) > 1 {
			return nil
		}
		_, err := j.Append(ctx, drop(2))
		now = now.Add(ackWait + 5*time.Second) // longer than a reader waits for what is in the hands of others
		return err
	})
	if err != nil || !slices.Contains(seqs, 2) {
		t.Errorf("read %v, %v; want both", seqs, err)
	}
}
