package grants

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/events"
)

// bucket bounds the rate of calls by the generic cell rate algorithm (ITU-T
// I.371): one number, the time at which all calls so far would have come had they
// kept the rate. It takes no lock and allocates nothing.
type bucket struct {
	ahead atomic.Int64 // Unix nanoseconds
	// every is the time between two calls at the rate, depth how far ahead of the
	// clock a burst may go; both in nanoseconds.
	every, depth int64
	// passed are the calls that went through here and that the other proxies were
	// not told of yet; next is for the list of such buckets.
	passed atomic.Int64
	next   *bucket

	key      LimitKey
	limit    events.RateLimit
	sessions int
}

// LimitKey stands, at all proxies, for a limit and, where it holds for each user, the
// user: a hash, so that what is said of it has one length and names nobody.
type LimitKey [16]byte

func limitKey(l events.RateLimit, user string) (k LimitKey) {
	if l.Per == perRole {
		user = ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %d %q", l.Role, l.Per, l.Rate, l.Burst, user))
	copy(k[:], sum[:])
	return k
}

// perRole is the scope of all users together. One that this version does not know
// bounds each user.
const perRole = "role"

// limits are the buckets of a session: each of them bounds.
type limits []*bucket

// limits finds or makes them, nil if there are none.
func (g *Grants) limits(s *events.SessionStarted) *limits {
	if len(s.RateLimits) == 0 {
		return nil
	}
	var out limits
	for _, l := range s.RateLimits {
		k := limitKey(l, s.User)
		b := g.buckets[k]
		if b == nil {
			every := max(1, int64(time.Second)/int64(max(1, l.Rate)))
			b = &bucket{key: k, limit: l, every: every, depth: every * int64(max(1, l.Burst))}
			g.buckets[k] = b
		}
		b.sessions++
		out = append(out, b)
	}
	return &out
}

func (g *Grants) releaseLimits(l *limits) {
	if l == nil {
		return
	}
	for _, b := range *l {
		if b.sessions--; b.sessions == 0 {
			delete(g.buckets, b.key)
		}
	}
}

// take counts a call, or refuses it if one of the buckets is full. A call that
// is refused counts against none, unless others come at the same instant.
func (d *Decision) take(now int64, untold *untold) {
	for _, b := range *d.limits {
		if max(b.ahead.Load(), now)+b.every-now > b.depth {
			d.exceed(b)
			return
		}
	}
	for _, b := range *d.limits {
		if !b.take(now) {
			d.exceed(b)
			return
		}
		untold.add(b)
	}
}

func (d *Decision) exceed(b *bucket) { d.Allowed, d.cause, d.full = false, CauseRate, b }

func (b *bucket) take(now int64) bool {
	for {
		ahead := b.ahead.Load()
		next := max(ahead, now) + b.every
		if next-now > b.depth {
			return false
		}
		if b.ahead.CompareAndSwap(ahead, next) {
			return true
		}
	}
}

func (b *bucket) rule() string {
	whose := "each user"
	if b.limit.Per == perRole {
		whose = "all its users together"
	}
	return fmt.Sprintf("role %s allows %s %d requests per second and %d at once", b.limit.Role, whose, b.limit.Rate, b.limit.Burst)
}
