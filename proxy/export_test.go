package proxy

import (
	"context"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Seq is the last ACCESS event that the proxy has applied.
func (p *Proxy) Seq() uint64 { return p.grants.Seq() }

// SetDial has requests go to AWS by dial, before the first of them.
func (p *Proxy) SetDial(dial func(context.Context, string, string) (net.Conn, error)) {
	p.upstream.DialContext = dial
}

// Running counts the calls that a lock would reach.
func (p *Proxy) Running() int { return p.grants.Stats().Running }

// SetPatience bounds the wait for admitted events, before Run.
func (p *Proxy) SetPatience(d time.Duration) { p.recorder.patience = d }

// SetHalfOpen bounds how long one end of a tunnel may go on alone, before Run.
func (p *Proxy) SetHalfOpen(d time.Duration) { p.tunnels.halfOpen = d }

// Holds counts the calls that wait for their approval.
func (p *Proxy) Holds() int {
	p.holds.mu.Lock()
	defer p.holds.mu.Unlock()
	n := 0
	for _, of := range p.holds.byUser {
		n += of
	}
	return n
}

// RateCalls counts the calls of other proxies that were counted here, and the messages
// that were not.
func (p *Proxy) RateCalls() (heard, ignored int) {
	return int(testutil.ToFloat64(p.rates.heard)), int(testutil.ToFloat64(p.rates.ignored))
}
