package broker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// Once ACCESS is not the stream that a broker has read, it acknowledges no lock that
// nobody would enforce: it ends, and the next one reads what there is.
func TestStreamPutBack(t *testing.T) {
	t.Parallel()
	for name, since := range map[string]int{"shorter": 0, "longer": 9} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, nc := eventstest.Backed(t)
			clock, dir := newClock(), t.TempDir()
			j := eventstest.Open(t, nc)
			said := &quietly{}
			b, err := New(Config{Listen: "127.0.0.1:0", DataDir: dir, Journal: j, Secrets: secrets(t, j), Log: zerolog.New(said), Clock: clock.now})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			<-b.Ready()
			if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
				t.Fatal(err)
			}
			lock := func(b *Broker, user string) error {
				_, err := b.ledger.do(t.Context(), "admin", func(s *access.State, env access.Env) ([]events.Event, error) {
					return access.Place(s, env, access.PlaceLock{Target: events.LockTarget{Kind: "user", Name: user}})
				})
				return err
			}
			server.Save()
			for _, user := range []string{"alice", "bob"} {
				if err := lock(b, user); err != nil {
					t.Fatal(err)
				}
			}
			server.PutBack(func(n *embedded.NATS) { // another broker may have gone on
				w := newWriter(t, eventstest.Open(t, embeddedtest.Connect(t, n, "test", embedded.Admin())))
				for range since {
					w.append(&events.ConsumerDeleted{Name: "c", By: "admin"})
				}
			})
			// Until it ends nothing is done that does not count.
			for {
				err := lock(b, "admin")
				if err == nil {
					t.Error("a lock on a stream that went back was acknowledged")
				}
				if errors.Is(err, journal.ErrWentBack) || err == nil {
					break
				}
			}
			if err := <-ended; !errors.Is(err, journal.ErrWentBack) {
				t.Errorf("the broker ended with %v", err)
			}
			if !strings.Contains(said.String(), "nothing is decided any more") {
				t.Errorf("the log: %s", said.String())
			}
			if _, err := b.ledger.grant(t.Context(), "admin", func(*access.State, access.Env) ([]events.Event, error) {
				t.Error("it decides what to grant")
				return nil, nil
			}); !errors.Is(err, journal.ErrWentBack) {
				t.Errorf("a grant: %v", err)
			}
			if e := asAPI(b.answers()); e == nil || e.Status != http.StatusServiceUnavailable || !strings.Contains(e.Message, "put back to an earlier state") {
				t.Errorf("the API: %+v", e)
			}

			again, _ := startIn(t, eventstest.Open(t, nc), clock, dir, func(c *Config) { c.Log = zerolog.Nop() })
			if err := lock(again, "alice"); err != nil {
				t.Fatal(err)
			}
			again.ledger.read(func(s *access.State, now time.Time) {
				if len(s.UserLocks("alice", now)) != 1 {
					t.Errorf("locks of alice: %v", s.UserLocks("alice", now))
				}
			})
		})
	}
}
