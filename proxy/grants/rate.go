package grants

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/events"
)

// bucket bounds the rate of calls by the generic cell rate algorithm (ITU-T
// I.371): one number, the time at which all calls so far would have come had they
// kept the rate. It takes no lock and allocates nothing.
type bucket struct {
	key      bucketKey
	sessions int
	// every is the time between two calls at the rate, depth how far ahead of the
	// clock a burst may go; both in nanoseconds.
	every, depth int64
	ahead        atomic.Int64 // Unix nanoseconds
}

// bucketKey is the limit and, where it holds for each user, the user.
type bucketKey struct {
	events.RateLimit
	user string
}

// limits are the buckets of a session: each of them bounds.
type limits []*bucket

// limits finds or makes them, nil if there are none.
func (g *Grants) limits(s *events.SessionStarted) *limits {
	if len(s.RateLimits) == 0 {
		return nil
	}
	var out limits
	for _, l := range s.RateLimits {
		k := bucketKey{RateLimit: l}
		if l.Per != "role" { // a scope that this version does not know bounds each user
			k.user = s.User
		}
		b := g.buckets[k]
		if b == nil {
			every := int64(time.Second) / int64(max(1, l.Rate))
			b = &bucket{key: k, every: every, depth: every * int64(max(1, l.Burst))}
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
func (d *Decision) take(now int64) {
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
	if b.key.user == "" {
		whose = "all its users together"
	}
	return fmt.Sprintf("role %s allows %s %d requests per second and %d at once", b.key.Role, whose, b.key.Rate, b.key.Burst)
}
