package grants_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

// BenchmarkCheck is the decision at a million live sessions of 200,000 users
// and 100,000 locks, none of which reaches the sessions asked for, which are
// taken at random so that caches help as little as they would.
func BenchmarkCheck(b *testing.B) {
	b.Run("roles=plain", func(b *testing.B) { benchmarkCheck(b, nil) })
	b.Run("roles=limited", func(b *testing.B) {
		benchmarkCheck(b, nil, events.RateLimit{Role: "engineer", Per: "user", Rate: 1_000_000, Burst: 1_000_000_000})
	})
	b.Run("roles=narrow", func(b *testing.B) {
		benchmarkCheck(b, []events.Permission{
			{Role: "no-deletes", Effect: "Deny", Actions: []string{"s3:Delete*", "dynamodb:Delete*"}},
			{Role: "engineer", Effect: "Allow", Actions: []string{"s3:Get*", "@List"}, Regions: []string{"us-*"}},
		})
	})
}

func benchmarkCheck(b *testing.B, perms []events.Permission, limits ...events.RateLimit) {
	const sessions, users, locks = 1_000_000, 200_000, 100_000
	g := grants.New("bench")
	g.Fresh()
	seq := uint64(0)
	apply := func(p events.Payload) {
		seq++
		if err := g.Apply(seq, events.Event{Meta: events.Meta{ID: fmt.Sprintf("E%025d", seq)}, Data: p}, t0); err != nil {
			b.Fatal(err)
		}
	}
	ids, names := make([]string, sessions), make([]string, sessions)
	for i := range sessions {
		ids[i], names[i] = fmt.Sprintf("01JDSESSION%015d", i), fmt.Sprintf("user-%d", i%users)
		s := session(ids[i], names[i])
		s.Permissions, s.RateLimits = perms, limits
		apply(s)
	}
	for i := range locks {
		apply(&events.LockPlaced{LockID: fmt.Sprintf("01JDLOCK%018d", i), Target: events.LockTarget{Kind: "user", Name: fmt.Sprintf("gone-%d", i)}, By: "admin"})
	}
	call := grants.Call{Action: "s3:GetObject", AccessLevel: "Read", Resources: []string{"arn:aws:s3:::bucket/key"}, Region: "us-east-1", Account: "111122223333"}
	// A request's own strings are in the cache when it is decided: it was just
	// read. So they lie here one after the other.
	var text strings.Builder
	var ends []int
	for range 1 << 18 {
		n := rand.IntN(sessions)
		text.WriteString(ids[n])
		ends = append(ends, text.Len())
		text.WriteString(names[n])
		ends = append(ends, text.Len())
	}
	requests := text.String()
	// What is measured is the decision of a session that was looked at since the
	// last lock was placed.
	for n := range ids {
		if d := g.Check(ids[n], names[n], call, t0); !d.Allowed {
			b.Fatal(d.Reason())
		}
	}
	ids, names = nil, nil
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportAllocs()
	b.ResetTimer()
	i, from := 0, 0
	for b.Loop() {
		if i == len(ends) {
			i, from = 0, 0
		}
		id, user := requests[from:ends[i]], requests[ends[i]:ends[i+1]]
		i, from = i+2, ends[i+1]
		if d := g.Check(id, user, call, t0); !d.Allowed {
			b.Fatal(d.Reason())
		}
	}
	b.ReportMetric(float64(m.HeapAlloc)/sessions, "heap-B/session")
}

// BenchmarkLock is a lock that lands while 10,000 calls run, 100 of them its own.
func BenchmarkLock(b *testing.B) {
	g := grants.New("bench")
	g.Fresh()
	seq := uint64(0)
	apply := func(p events.Payload) {
		seq++
		if err := g.Apply(seq, events.Event{Data: p}, t0); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 10_000 {
		id, user := fmt.Sprintf("s%d", i), fmt.Sprintf("user-%d", i%100)
		apply(session(id, user))
		if w, d := g.Watch(id, user, t0, func(grants.Decision) {}); w == nil {
			b.Fatal(d.Reason())
		}
	}
	b.ResetTimer()
	var took time.Duration
	for b.Loop() {
		start := time.Now()
		apply(&events.LockPlaced{LockID: "l", Target: events.LockTarget{Kind: "user", Name: "user-7"}, By: "admin"})
		took += time.Since(start)
		apply(&events.LockLifted{LockID: "l", By: "admin"})
	}
}
