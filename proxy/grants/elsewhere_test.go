package grants_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

func passed(g *grants.Grants) map[grants.LimitKey]int64 {
	out := map[grants.LimitKey]int64{}
	g.Passed(func(k grants.LimitKey, calls int64) { out[k] += calls })
	return out
}

// Two proxies' projections agree on which limit is which, and each call is told once.
func TestPassedElsewhere(t *testing.T) {
	user := events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 10}
	role := events.RateLimit{Role: "engineer", Per: "role", Rate: 1, Burst: 10}
	here, there := grants.New("here"), grants.New("there")
	for _, g := range []*grants.Grants{here, there} {
		g.Fresh()
		fold(t, g, limitedSession("s", "alice", user, role), limitedSession("t", "alice", user), limitedSession("b", "bob", user, role))
	}
	fold(t, here, limitedSession("c", "carol", events.RateLimit{Role: "reader", Per: "user", Rate: 1, Burst: 10}))
	tell := func() (known, unknown int64) {
		for k, n := range passed(here) {
			if there.PassedElsewhere(k, n, t0) {
				known += n
			} else {
				unknown += n
			}
		}
		return known, unknown
	}
	call := func(g *grants.Grants, session, user string, want int) {
		t.Helper()
		n := 0
		for g.Check(session, user, grants.Call{}, t0).Allowed {
			n++
		}
		if n != want {
			t.Errorf("session %s: %d let through, want %d", session, n, want)
		}
	}
	for range 3 {
		here.Check("s", "alice", grants.Call{}, t0)
		here.Check("c", "carol", grants.Call{}, t0)
	}
	if known, unknown := tell(); known != 6 || unknown != 3 {
		t.Errorf("%d calls were known, %d not: want 6, by user and by role, and 3", known, unknown)
	}
	if known, unknown := tell(); known != 0 || unknown != 0 {
		t.Errorf("told again: %d, %d", known, unknown)
	}
	call(there, "b", "bob", 7)   // of the role's 10
	call(there, "t", "alice", 7) // of her 10
	if n := len(passed(there)); n != 3 {
		t.Errorf("%d limits are to be told, want 3: bob's, alice's and the role's", n)
	}
	// Nobody's session has it any more.
	there.Forget(t0.Add(48 * time.Hour))
	for range 7 {
		here.Check("t", "alice", grants.Call{}, t0)
	}
	if known, unknown := tell(); known != 0 || unknown != 7 {
		t.Errorf("of a limit that is over: %d, %d", known, unknown)
	}
}

// Whatever is told, a limit comes back within a time that it sets itself, and nothing
// is given away.
func TestPassedElsewhereIsBounded(t *testing.T) {
	for _, l := range []events.RateLimit{{Per: "user", Rate: 1, Burst: 1}, {Per: "user", Rate: 1, Burst: 100}, {Per: "user", Rate: 1_000_000, Burst: 1}, {Per: "user", Rate: 1_000_000, Burst: 1_000_000}} {
		g := grants.New("p")
		g.Fresh()
		fold(t, g, limitedSession("s", "alice", l))
		check := func(at time.Duration) bool { return g.Check("s", "alice", grants.Call{}, t0.Add(at)).Allowed }
		if !check(0) {
			t.Fatal("refused")
		}
		var key grants.LimitKey
		for k := range passed(g) {
			key = k
		}
		for range 1000 {
			for _, n := range []int64{math.MaxInt64, math.MaxUint32, 1} {
				if !g.PassedElsewhere(key, n, t0) {
					t.Fatal("unknown")
				}
			}
		}
		for _, n := range []int64{0, -1, math.MinInt64} {
			if g.PassedElsewhere(key, n, t0) {
				t.Errorf("%d calls were counted", n)
			}
		}
		fills := time.Duration(l.Burst) * time.Second / time.Duration(l.Rate)
		if check(15 * (fills + time.Second)) {
			t.Errorf("%+v: a debt is forgotten", l)
		}
		if !check(16 * (fills + time.Second)) {
			t.Errorf("%+v: a debt is too large", l)
		}
	}
}

// However many go through while it is told, each is told once.
func TestPassedUnderConcurrency(t *testing.T) {
	g := grants.New("p")
	g.Fresh()
	users := []string{"alice", "bob", "carol"}
	for _, u := range users {
		fold(t, g, limitedSession("of-"+u, u, events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 1_000_000}, events.RateLimit{Role: "engineer", Per: "role", Rate: 1, Burst: 1_000_000}))
	}
	const each = 5000
	var wg sync.WaitGroup
	var done atomic.Bool
	for i := range 6 {
		wg.Go(func() {
			for range each {
				if u := users[i%3]; !g.Check("of-"+u, u, grants.Call{}, t0).Allowed {
					t.Error("refused")
				}
			}
		})
	}
	told := map[grants.LimitKey]int64{}
	add := func() {
		for k, n := range passed(g) {
			told[k] += n
		}
	}
	go func() { wg.Wait(); done.Store(true) }()
	for !done.Load() {
		add()
	}
	add()
	sums := map[int64]int{}
	for _, n := range told {
		sums[n]++
	}
	if sums[2*each] != 3 || sums[6*each] != 1 || len(told) != 4 {
		t.Errorf("told %v", told)
	}
}

// A decision under limits allocates nothing, told or not.
func TestLimitedDecisionsAllocateNothing(t *testing.T) {
	g := grants.New("p")
	g.Fresh()
	fold(t, g, limitedSession("s", "alice", events.RateLimit{Per: "user", Rate: 1, Burst: 1_000_000}))
	tell := func(grants.LimitKey, int64) {}
	if n := testing.AllocsPerRun(1000, func() {
		if !g.Check("s", "alice", grants.Call{}, t0).Allowed {
			t.Error("refused")
		}
		g.Passed(tell)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
