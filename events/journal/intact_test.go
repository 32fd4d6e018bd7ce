package journal_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

func say(t *testing.T, j *journal.Journal, n int) {
	t.Helper()
	for range n {
		if _, err := j.Append(t.Context(), drop(0)); err != nil {
			t.Fatal(err)
		}
	}
}

// Who has read more than a stream that was put back has, or something else in its
// place, is told: whether the stream is shorter, as long, or longer by then.
func TestStreamPutBack(t *testing.T) {
	t.Parallel()
	for name, since := range map[string]int{"shorter": 0, "as long": 3, "longer": 9} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, nc := eventstest.Backed(t)
			j := eventstest.Open(t, nc)
			say(t, j, 5)
			server.Save()
			say(t, j, 3)

			read, ended := make(chan uint64, 100), make(chan error, 2)
			// A reader may fail while the server is away; it takes up again as all do.
			go func() {
				var last uint64
				for {
					for e, err := range j.Follow(t.Context(), events.Access, last) {
						if errors.Is(err, journal.ErrWentBack) {
							ended <- err
							return
						}
						if err == nil {
							last = e.Seq
							read <- e.Seq
						}
					}
					if t.Context().Err() != nil {
						return
					}
				}
			}()
			batched := make(chan uint64, 100)
			go func() {
				var last uint64
				for {
					err := j.Batches(t.Context(), journal.BatchConfig{Stream: events.Access, Durable: "sink", After: last}, func(_ context.Context, es []journal.Entry) error {
						last = es[len(es)-1].Seq
						batched <- last
						return nil
					})
					if errors.Is(err, journal.ErrWentBack) || t.Context().Err() != nil {
						ended <- err
						return
					}
				}
			}()
			for seq := uint64(0); seq < 8; {
				seq = <-read
			}
			for seq := uint64(0); seq < 8; {
				seq = <-batched
			}
			server.PutBack(func(n *embedded.NATS) {
				say(t, eventstest.Open(t, embeddedtest.Connect(t, n, "test", embedded.Admin())), since)
			})
			for range 2 {
				if err := <-ended; !errors.Is(err, journal.ErrWentBack) {
					t.Fatal(err)
				}
			}
			if len(read)+len(batched) > 0 {
				t.Error("readers went on as if nothing had been")
			}
			if err := j.Intact(t.Context(), events.Access); !errors.Is(err, journal.ErrWentBack) {
				t.Errorf("Intact: %v", err)
			}
			for _, err := range j.Follow(t.Context(), events.Access, 8) {
				if !errors.Is(err, journal.ErrWentBack) {
					t.Errorf("who takes up again: %v", err)
				}
			}
			if since == 0 {
				if _, err := j.Append(t.Context(), drop(0)); !errors.Is(err, journal.ErrWentBack) {
					t.Errorf("an append in the place of another: %v", err)
				}
			}
			// Who begins anew reads what there is.
			n := 0
			for _, err := range eventstest.Open(t, nc).Replay(t.Context(), events.Access) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if since == 0 {
				since = 1
			}
			if n != 5+since {
				t.Errorf("%d events", n)
			}
		})
	}
}

// A server that is merely started again changes nothing.
func TestServerStartedAgain(t *testing.T) {
	t.Parallel()
	server, nc := eventstest.Backed(t)
	j := eventstest.Open(t, nc)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read := make(chan uint64, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := uint64(0); ctx.Err() == nil; {
			for e, err := range j.Follow(ctx, events.Access, last) {
				if errors.Is(err, journal.ErrWentBack) {
					t.Error(err)
					stop()
				}
				if err == nil {
					last = e.Seq
					read <- e.Seq
				}
			}
		}
	}()
	for n := range uint64(3) {
		if _, err := j.Append(t.Context(), drop(0)); err != nil {
			t.Fatal(err)
		}
		select {
		case seq := <-read:
			if seq != n+1 {
				t.Fatalf("%d came after %d", seq, n)
			}
		case <-ctx.Done():
			t.Fatal("the reader ended")
		}
		server.Save()
		for err := j.Intact(ctx, events.Access); err != nil; err = j.Intact(ctx, events.Access) {
			if errors.Is(err, journal.ErrWentBack) || ctx.Err() != nil {
				t.Fatal(err)
			} // or the connection is not back yet
		}
	}
	stop()
	<-done
}

// Who reads nothing since it began to follow, and who has only replayed, find it, too.
func TestStreamPutBackBehindQuietReaders(t *testing.T) {
	t.Parallel()
	server, nc := eventstest.Backed(t)
	writer := eventstest.Open(t, nc)
	say(t, writer, 5)
	server.Save()
	say(t, writer, 3)

	replayed := eventstest.Open(t, nc)
	for _, err := range replayed.Replay(t.Context(), events.Access) {
		if err != nil {
			t.Fatal(err)
		}
	}
	follows, batches := eventstest.Open(t, nc), eventstest.Open(t, nc)
	ended := make(chan error, 2)
	go func() {
		for {
			for e, err := range follows.Follow(t.Context(), events.Access, 8) {
				if err == nil {
					err = fmt.Errorf("it followed on to %d", e.Seq)
				} else if !errors.Is(err, journal.ErrWentBack) {
					break // the server is away
				}
				ended <- err
				return
			}
			if t.Context().Err() != nil {
				return
			}
		}
	}()
	go func() {
		for t.Context().Err() == nil {
			err := batches.Batches(t.Context(), journal.BatchConfig{Stream: events.Access, Durable: "sink", After: 8}, func(_ context.Context, es []journal.Entry) error {
				ended <- fmt.Errorf("it took a batch from %d on", es[0].Seq)
				return nil
			})
			if errors.Is(err, journal.ErrWentBack) {
				ended <- err
				return
			}
		}
	}()
	for _, j := range []*journal.Journal{follows, batches} { // until both have begun
		for j.Known(events.Access) != 8 {
			time.Sleep(time.Millisecond)
		}
	}
	server.PutBack(func(n *embedded.NATS) {
		say(t, eventstest.Open(t, embeddedtest.Connect(t, n, "test", embedded.Admin())), 9)
	})
	for range 2 {
		if err := <-ended; !errors.Is(err, journal.ErrWentBack) {
			t.Error(err)
		}
	}
	if err := replayed.Intact(t.Context(), events.Access); !errors.Is(err, journal.ErrWentBack) {
		t.Errorf("who replayed: %v", err)
	}
}

// Nothing of ACCESS is ever dropped; its operator may have the others keep less.
func TestStreamKeepsLess(t *testing.T) {
	t.Parallel()
	nc := eventstest.Connect(t)
	j := eventstest.Open(t, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		stream, subject string
		want            error
	}{{events.Access, "access.request.1", journal.ErrWentBack}, {events.Audit, "audit.a.b", nil}} {
		publish := func() {
			if _, err := js.Publish(t.Context(), x.subject, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		publish()
		for range j.Replay(t.Context(), x.stream) {
		}
		publish()
		s, err := js.Stream(t.Context(), x.stream)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxMsgs, cfg.Discard = 1, jetstream.DiscardOld
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if err := j.Intact(t.Context(), x.stream); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.stream, err, x.want)
		}
		end, err := j.Last(t.Context(), x.stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.IntactTo(t.Context(), x.stream, end+1); !errors.Is(err, journal.ErrWentBack) {
			t.Errorf("%s ends before what is known: %v", x.stream, err)
		}
	}
}

// A copy of an event that somebody had the server put into the stream, with the headers of
// an answer, is what it is, and no sign of another stream.
func TestIntactAfterACopy(t *testing.T) {
	t.Parallel()
	_, nc := eventstest.Backed(t)
	j := eventstest.Open(t, nc)
	say(t, j, 1)
	if _, err := nc.Request("access.lock.a", []byte("{}"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.DIRECT.GET.ACCESS", "access.lock.b", []byte(`{"seq":2}`)); err != nil {
		t.Fatal(err)
	}
	for e, err := range j.Follow(t.Context(), events.Access, 0) {
		if e.Seq == 0 {
			t.Fatal(err)
		}
		if e.Seq == 3 {
			break
		}
	}
	if err := j.Intact(t.Context(), events.Access); err != nil {
		t.Error(err)
	}
	if e, err := j.At(t.Context(), events.Access, 3); err != nil || e.Seq != 3 || e.Channel != "access.lock.b" {
		t.Errorf("event 3 is %d on %s, %v", e.Seq, e.Channel, err)
	}
}
