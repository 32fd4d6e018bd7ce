package local

import "net"

// ResolveWith has h look up hosts other than AWS's by r.
func (h *Helper) ResolveWith(r *net.Resolver) { h.dialer.Resolver = r }
