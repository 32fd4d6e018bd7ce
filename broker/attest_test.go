package broker

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/signed"
)

// crowd appends the starts of n sessions, every 50th of them forged.
func (s stream) crowd(t *testing.T, n int) {
	t.Helper()
	js, err := jetstream.New(s.nc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		e := eventstest.AtWork(0, time.Now())
		e.Data.(*events.SessionStarted).SessionID = e.ID
		body, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		channel := e.Data.Channel()
		if i%50 != 0 {
			body = s.sign(channel, body)
		}
		if _, err := js.PublishAsync(channel, body); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-t.Context().Done():
	}
}

// attestations are those on the stream.
func (s stream) attestations(t *testing.T) (out []*events.HistoryAttested) {
	t.Helper()
	for e, err := range s.Replay(t.Context(), events.Access, events.HistoryChannel) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Data.(*events.HistoryAttested))
	}
	return out
}

// attesting runs a broker's ledger until stop is called.
func attesting(t *testing.T, s stream, file string) (l *ledger, stop func()) {
	t.Helper()
	l = newLedger(s.Journal, s.roots, file, time.Now, zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = l.follow(ctx) })
	running.Go(func() { _ = l.keepAttesting(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	<-l.ready
	return l, stop
}

// readBy waits until a ledger has read all that there is now, and returns the last of
// it.
func (s stream) readBy(t *testing.T, l *ledger) uint64 {
	t.Helper()
	last, err := s.Last(t.Context(), events.Access)
	if err == nil {
		err = l.reach(t.Context(), last)
	}
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// attestedUpTo waits until an attestation of some event, or of a later one, is known.
func attestedUpTo(t *testing.T, l *ledger, seq uint64) {
	t.Helper()
	for {
		l.mu.RLock()
		have, at := l.state.Attested, l.seq
		l.mu.RUnlock()
		if have >= seq {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := l.reach(ctx, at+1)
		cancel()
		if err != nil {
			t.Fatalf("%d of %d is attested, want %d: %v", have, at, seq, err)
		}
	}
}

// Of brokers that verify the stream side by side one attests it, without a gap, also
// where one starts from a snapshot; what is read by the attestations is the fold.
func TestAttestations(t *testing.T) {
	s, file := newStream(t), filepath.Join(t.TempDir(), "snapshot")
	first, stop := attesting(t, s, "")
	second, stopSecond := attesting(t, s, "")
	s.crowd(t, signed.MinRun)
	for _, l := range []*ledger{first, second} {
		attestedUpTo(t, l, signed.MinRun)
	}
	stopSecond()
	s.crowd(t, 300)
	last := s.readBy(t, first)
	stop()
	first.snapshots = file
	if err := first.writeSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	third, stop := attesting(t, s, file)
	if third.snapshot.Seq != last {
		t.Fatalf("begun from %+v", third.snapshot)
	}
	s.crowd(t, signed.MinRun)
	attestedUpTo(t, third, last+signed.MinRun/2)
	s.readBy(t, third)
	stop()
	made := s.attestations(t)
	next := uint64(1)
	for _, d := range made {
		if d.FirstSequence != next || len(d.Refused) == 0 {
			t.Errorf("attested %d to %d, refused %d: want from %d", d.FirstSequence, d.LastSequence, len(d.Refused), next)
		}
		next = d.LastSequence + 1
	}
	if len(made) != 2 {
		t.Errorf("%d attestations", len(made))
	}

	fourth, stop := attesting(t, s, "")
	stop()
	attested, alone := 0, signed.NewKeys(s.roots)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for v := range s.ReplayVerified(ctx, events.Access, 0, signed.NewKeys(s.roots)) {
		if v.Seq == 0 {
			t.Fatal(v.Unread)
		}
		want := alone.Verify(v.Channel, v.StoredAt, v.Event, v.Raw)
		if fmt.Sprint(want) != fmt.Sprint(v.Forged) || (want != nil) != fourth.refused[v.Seq] {
			t.Errorf("%d: %v, by itself %v, refused %v", v.Seq, v.Forged, want, fourth.refused[v.Seq])
		}
		if v.Attested {
			attested++
		}
	}
	if attested < signed.MinRun/2 {
		t.Errorf("%d are attested", attested)
	}
	whole := s.foldBut(t, fourth.refused)
	if d := sameState(whole, fourth.state); d != "" {
		t.Errorf("-fold +state:\n%s", d)
	}
	if d := sameState(whole, third.state); d != "" {
		t.Errorf("-fold +state from the snapshot:\n%s", d)
	}
}
