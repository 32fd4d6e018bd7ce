package local

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// ResolveWith has h look up hosts other than AWS's by r.
func (h *Helper) ResolveWith(r *net.Resolver) { h.dialer.Resolver = r }

// OnDial has h tell of each connection to the proxy that requests go by, before the
// first of them.
func (h *Helper) OnDial(made func(*tls.Conn)) {
	dial := h.upstream.DialTLSContext
	h.upstream.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			made(c.(*link).Conn)
		}
		return c, err
	}
}

// SetSilenceStep has connections that h makes from now on be asked so often whether the other
// end is still there.
func (h *Helper) SetSilenceStep(d time.Duration) { h.step = d }
