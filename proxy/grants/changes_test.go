package grants_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

// While sessions come, go and change places in their tables, and others are locked, each
// decision is about the session that was asked for, who is refused by nothing is never
// refused, and a lock holds from when Apply returned.
func TestDecisionsDuringChanges(t *testing.T) {
	g := grants.New("p")
	g.Fresh()
	const lasting = 200
	name := func(i int) (id, user string) { return fmt.Sprint("lasting-", i), fmt.Sprint("user-", i%20) }
	for i := range lasting {
		fold(t, g, session(name(i)))
	}
	var stop atomic.Bool
	var asked atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				id, user := name(rand.IntN(lasting))
				d := g.Check(id, user, grants.Call{}, t0)
				if !d.Allowed || d.Session().SessionID != id || d.Session().User != user {
					t.Errorf("%s of %s: %s, %+v", id, user, d.Reason(), d.Session())
					return
				}
				if d := g.Check(id, "mallory", grants.Call{}, t0); d.Allowed {
					t.Errorf("%s is mallory's", id)
					return
				}
				asked.Add(1)
			}
		})
	}
	for round := 0; round < 2000 || asked.Load() < 2000; round++ {
		short := session(fmt.Sprint("short-", round), "bob")
		short.ExpiresAt = t0.Add(time.Duration(1+round%7) * time.Second)
		fold(t, g, short)
		if d := g.Check(short.SessionID, "bob", grants.Call{}, t0); !d.Allowed {
			t.Fatalf("round %d: %s", round, d.Reason())
		}
		fold(t, g, &events.LockPlaced{LockID: "l", Target: events.LockTarget{Kind: "user", Name: "bob"}, By: "admin"})
		if d := g.Check(short.SessionID, "bob", grants.Call{}, t0); d.Allowed || d.LockID() != "l" {
			t.Fatalf("round %d: a locked user may go on: %s", round, d.Reason())
		}
		fold(t, g, &events.LockLifted{LockID: "l", By: "admin"})
		if round%3 == 0 { // forgets some of them, and so moves others
			g.Forget(t0.Add(10*time.Minute + 4*time.Second))
		}
	}
	stop.Store(true)
	readers.Wait()
}
