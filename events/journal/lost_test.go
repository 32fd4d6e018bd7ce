package journal_test

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// dying are connections to NATS, of which the last one is at hand.
type dying struct{ last atomic.Pointer[dyingConn] }

// dyingConn is one by which nothing comes back any more once it is deaf.
type dyingConn struct {
	net.Conn
	deaf   atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (d *dying) Dial(network, addr string) (net.Conn, error) {
	conn, err := net.Dial(network, addr)
	c := &dyingConn{Conn: conn, closed: make(chan struct{})}
	d.last.Store(c)
	return c, err
}

func (c *dyingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *dyingConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// An acknowledgement that was lost with its connection is not waited for: whatever is
// appended meanwhile would wait with it, long after NATS is back.
func TestConnectionLost(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	other := embeddedtest.Connect(t, server, "other", embedded.Admin()) // which lasts
	if err := journal.Setup(t.Context(), other, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	last := eventstest.Open(t, other)
	many := make([]events.Event, 10) // enough for a batch
	for i := range many {
		many[i] = drop(100 + i)
	}
	for name, do := range map[string]func(*journal.Journal) error{
		"one": func(j *journal.Journal) error {
			_, err := j.Append(t.Context(), drop(1))
			return err
		},
		"on condition": func(j *journal.Journal) error {
			_, err := j.AppendIf(t.Context(), 0, drop(2))
			return err
		},
		"a batch": func(j *journal.Journal) error {
			_, _, err := j.AppendAll(t.Context(), many...)
			return err
		},
	} {
		d := &dying{}
		nc := embeddedtest.Connect(t, server, "test", embedded.Admin(), nats.SetCustomDialer(d), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
		j := eventstest.Open(t, nc)
		before, err := last.Last(t.Context(), events.Access)
		if err != nil {
			t.Fatal(err)
		}
		d.last.Load().deaf.Store(true)
		appended := make(chan error, 1)
		go func() { appended <- do(j) }()
		for {
			now, err := last.Last(t.Context(), events.Access)
			if err != nil {
				t.Fatal(err)
			}
			if now > before {
				break // it is stored, and was acknowledged to a connection that hears nothing
			}
		}
		d.last.Load().Close()
		if err := <-appended; !errors.Is(err, journal.ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := j.Append(t.Context(), drop(3)); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}
