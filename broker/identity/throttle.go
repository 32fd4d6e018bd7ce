package identity

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// How failed sign-ins slow the next ones down.
const (
	freeFailures     = 5  // of one user from one address
	freeAddrFailures = 50 // of one address, whoever it tries
	firstWait        = time.Second
	longestWait      = 5 * time.Minute
	maxThrottled     = 100_000 // keys remembered
)

// ThrottleMemory is how long a failure is remembered.
const ThrottleMemory = 15 * time.Minute

// Throttle makes guessing slow: after some failures each further one doubles
// the wait, for that user from that address (nobody locks somebody else out
// from elsewhere) and for that address. It is safe for concurrent use.
type Throttle struct {
	mu    sync.Mutex
	keys  map[throttleKey]failures
	turns map[string]*turn // by address, while somebody has or awaits one
}

// turn is had by one attempt at a time.
type turn struct {
	taken chan struct{}
	users int // who have it or wait
}

type throttleKey struct{ user, addr string }

type failures struct {
	count int
	last  time.Time
}

// Network is what an address counts as: of IPv6 who has one has its network of 64 bits
// (RFC 6177), and as many as they like.
func Network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	if a = a.Unmap().WithZone(""); a.Is4() || a.IsLinkLocalUnicast() {
		return a.String()
	}
	p, _ := a.Prefix(64) // within 128
	return p.String()
}

// NewThrottle returns a Throttle that has seen nothing.
func NewThrottle() *Throttle {
	return &Throttle{keys: map[throttleKey]failures{}, turns: map[string]*turn{}}
}

// Turn waits until no other attempt from an address is under way: of many that come at
// once each is to know what became of those before it. Who got one calls done, after
// [Throttle.Failed] if it failed.
func (t *Throttle) Turn(ctx context.Context, addr string) (done func(), err error) {
	addr = Network(addr)
	t.mu.Lock()
	x := t.turns[addr]
	if x == nil {
		x = &turn{taken: make(chan struct{}, 1)}
		t.turns[addr] = x
	}
	x.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if x.users--; x.users == 0 {
			delete(t.turns, addr)
		}
	}
	select {
	case x.taken <- struct{}{}:
		return func() { <-x.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// Wait returns how long a sign-in must wait from now, 0 for not at all.
func (t *Throttle) Wait(user, addr string, now time.Time) time.Duration {
	addr = Network(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	pair := wait(t.keys[throttleKey{user, addr}], freeFailures, now)
	return max(pair, wait(t.keys[throttleKey{"", addr}], freeAddrFailures, now))
}

func wait(f failures, free int, now time.Time) time.Duration {
	if f.count < free {
		return 0
	}
	d := min(firstWait<<min(f.count-free, 20), longestWait)
	return max(0, min(d, f.last.Add(d).Sub(now))) // d, too, once the clock was set back
}

// Failed counts a failure.
func (t *Throttle) Failed(user, addr string, now time.Time) {
	addr = Network(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) >= maxThrottled {
		for k, f := range t.keys {
			if now.Sub(f.last) > ThrottleMemory {
				delete(t.keys, k)
			}
		}
		if len(t.keys) >= maxThrottled {
			clear(t.keys) // a flood from many addresses: Argon2's slots bound it
		}
	}
	for _, k := range []throttleKey{{user, addr}, {"", addr}} {
		f := t.keys[k]
		if now.Sub(f.last) > ThrottleMemory {
			f.count = 0
		}
		f.count++
		if now.After(f.last) { // brokers' clocks are not quite the same
			f.last = now
		}
		t.keys[k] = f
	}
}

// Succeeded forgets the failures of a user from an address up to now. Later ones stay: a
// success before them may be the copy of one long ago.
func (t *Throttle) Succeeded(user, addr string, now time.Time) {
	addr = Network(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := (throttleKey{user, addr}); !now.Before(t.keys[k].last) {
		delete(t.keys, k)
	}
}
