package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A proxy that has read what the stream no longer has, or has another event in place
// of, decides nothing more by it: it ends, and the next one reads what there is.
func TestStreamPutBack(t *testing.T) {
	for name, since := range map[string]int{"shorter": 0, "longer": 9} {
		t.Run(name, func(t *testing.T) {
			server, admin := eventstest.Backed(t)
			own, ca := eventstest.Open(t, admin), newAuthority(t)
			b := newBroker(t, own, ca)
			lock := func(b *broker, id string) uint64 {
				return b.append(&events.LockPlaced{LockID: id, Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
			}
			lock(b, "lock-1")
			server.Save()
			lock(b, "lock-2")
			last := lock(b, "lock-3")

			r := &rig{t: t, ca: ca, aws: ststest.Start(t)}
			nc := embeddedtest.Connect(t, server.NATS, "proxy", embedded.Proxy())
			dir := t.TempDir()
			start := func() (*proxy.Proxy, chan error) {
				j, err := journal.New(nc, "/postern/proxy/test")
				if err != nil {
					t.Fatal(err)
				}
				p, err := proxy.New(r.config(func(c *proxy.Config) { c.Journal, c.DataDir, c.Log = j, dir, zerolog.Nop() }))
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				t.Cleanup(stop)
				ended := make(chan error, 1)
				go func() { ended <- p.Run(ctx) }()
				select {
				case <-p.Ready():
				case err := <-ended:
					ended <- err
				}
				return p, ended
			}
			p, ended := start()
			if p.Seq() != last {
				t.Fatalf("ready at %d of %d", p.Seq(), last)
			}
			server.PutBack(func(n *embedded.NATS) {
				other := newBroker(t, eventstest.Open(t, embeddedtest.Connect(t, n, "test", embedded.Admin())), ca)
				for range since {
					lock(other, journal.NewID())
				}
			})
			if err := <-ended; !errors.Is(err, journal.ErrWentBack) {
				t.Errorf("it ended with %v", err)
			}
			if p.Seq() != last {
				t.Errorf("it went on to %d", p.Seq())
			}
			// Nothing is served by a stream that may have lost locks until somebody says so.
			p, ended = start()
			if p.Addr() != "" {
				t.Errorf("the next one listens on %s", p.Addr())
			} else if err := <-ended; !errors.Is(err, proxy.ErrLocksLost) {
				t.Errorf("the next one ended with %v", err)
			}
			mark := filepath.Join(dir, "went-back")
			said, err := os.ReadFile(mark)
			if err != nil || !strings.Contains(string(said), fmt.Sprintf("last sequence read: %d\n", last)) {
				t.Errorf("%q, %v", said, err)
			}
			if info, err := os.Stat(mark); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
			if err := os.Remove(mark); err != nil {
				t.Fatal(err)
			}
			p, _ = start()
			end, err := own.Last(t.Context(), events.Access)
			if err != nil || p.Seq() != end {
				t.Errorf("the next one is at %d of %d: %v", p.Seq(), end, err)
			}
		})
	}
}
