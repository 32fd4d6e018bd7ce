package journal_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// line is the way to NATS, which can be cut.
type line struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *line) Dial(network, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.New("cut")
	}
	c, err := net.Dial(network, addr)
	l.conns = append(l.conns, c)
	return c, err
}

func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// What failed for want of NATS doesn't come to pass when it is back.
func TestUnsent(t *testing.T) {
	l := &line{}
	nc := eventstest.Connect(t, nats.SetCustomDialer(l), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	j := eventstest.Open(t, nc)
	until := func(connected bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); nc.IsConnected() != connected; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("connected: %t", !connected)
			}
		}
	}
	before, err := j.Last(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	l.set(true)
	until(false)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := j.AppendIf(ctx, 0, drop(1)); !errors.Is(err, journal.ErrUnsent) {
		t.Errorf("on condition: %v", err)
	}
	if _, err := j.Append(ctx, drop(2)); !errors.Is(err, journal.ErrUnsent) {
		t.Errorf("one: %v", err)
	}
	l.set(false)
	until(true)
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	if last, err := j.Last(t.Context(), events.Access); err != nil || last != before {
		t.Errorf("stored up to %d, %v; want %d", last, err, before)
	}
	if _, err := j.Append(t.Context(), drop(3)); err != nil {
		t.Error(err)
	}
}

// What was given up while it waited for its turn is neither kept nor sent when NATS is back.
func TestGivenUp(t *testing.T) {
	l := &line{}
	nc := eventstest.Connect(t, nats.SetCustomDialer(l), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	j := eventstest.Open(t, nc)
	before, err := j.Last(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	l.set(true)
	for nc.IsConnected() {
		time.Sleep(time.Millisecond)
	}
	turn := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { // it has the turn until there is a connection
		_, err := j.Append(ctx, drop(0))
		turn <- err
	}()
	for !j.Busy(events.Access) {
		time.Sleep(time.Millisecond)
	}
	given := func(i int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := j.Append(ctx, drop(i)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one: %v", err)
		}
		if _, failed, err := j.AppendAll(ctx, drop(i+1), drop(i+2)); len(failed) != 2 || err == nil {
			t.Errorf("%d failed, %v", len(failed), err)
		}
	}
	for i := range 5 {
		given(10 * (1 + i))
	}
	if n := j.Queued(events.Access); n != 0 {
		t.Errorf("%d events are kept that were given up", n)
	}
	l.set(false)
	if err := <-turn; err != nil {
		t.Fatal(err)
	}
	if last, err := j.Append(ctx, drop(1)); err != nil || last != before+2 {
		t.Errorf("stored at %d, %v; want %d: nothing of what was given up", last, err, before+2)
	}
}
