package grants

import (
	"sync/atomic"
	"time"
)

// Several proxies keep one limit between them by telling one another, after the fact,
// what they let through: none asks before it decides. So what passes before the others
// know is over the limit, but it is counted, and later calls wait until it is made up
// for. Calls that nobody tells of count for nothing: then each proxy keeps the limit by
// itself.

// untold lists the buckets with calls that the other proxies were not told of.
type untold struct{ first atomic.Pointer[bucket] }

// add counts a call of b. Any number of goroutines may; none waits.
func (u *untold) add(b *bucket) {
	if b.passed.Add(1) > 1 {
		return // it is in the list
	}
	for {
		b.next = u.first.Load()
		if u.first.CompareAndSwap(b.next, b) {
			return
		}
	}
}

// Passed calls tell for each limit with how many calls were let through here since it
// was last called. One goroutine at a time may.
func (g *Grants) Passed(tell func(k LimitKey, calls int64)) {
	for b := g.untold.first.Swap(nil); b != nil; {
		next := b.next // before b may be in the list again
		tell(b.key, b.passed.Swap(0))
		b = next
	}
}

// PassedElsewhere counts calls that another proxy let through. It tells whether the
// limit is one of a session here.
//
// What is told at once counts for no more than one proxy may let through within a
// second, burst included, and a limit is in debt for no more than 16 proxies may: so no
// message shuts users out for long.
func (g *Grants) PassedElsewhere(k LimitKey, calls int64, now time.Time) bool {
	g.mu.RLock()
	b := g.buckets[k]
	g.mu.RUnlock()
	if b == nil || calls <= 0 {
		return false
	}
	most := b.depth + int64(time.Second)
	b.charge(min(calls, most/b.every+1)*b.every, now.UnixNano(), 16*most)
	return true
}

// charge moves a bucket on by so many nanoseconds, but no further than debt before now.
func (b *bucket) charge(by, now, debt int64) {
	for {
		ahead := b.ahead.Load()
		next := min(max(ahead, now)+by, now+debt)
		if next <= ahead || b.ahead.CompareAndSwap(ahead, next) {
			return
		}
	}
}
