package local

import (
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/posternhq/postern/proxy/once"
)

// link is a pooled connection to the proxy that knows whether anything went out.
type link struct {
	*tls.Conn              // what is cut off within a record is nothing to the other end
	wrote     atomic.Int64 // calls of Write that wrote something
}

func (l *link) Write(b []byte) (int, error) {
	n, err := l.Conn.Write(b)
	if n > 0 {
		l.wrote.Add(1)
	}
	return n, err
}

// sendOnce sends a request to the proxy so that it is admitted once at most. What may
// have come there is not sent again: the client alone knows whether it wants that. But
// a connection may have ended while nobody used it. Where nothing at all went out on it,
// the request goes by another, if its body can be had again.
func (l links) sendOnce(r *http.Request) (*http.Response, error) {
	var on *link
	var before int64
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if on, _ = c.Conn.(*link); on != nil && c.Reused {
			before = on.wrote.Load()
		} else {
			on = nil
		}
	}}))
	for {
		on = nil
		once.Only(r)
		resp, err := l.h.upstream.RoundTrip(r)
		if err == nil || on == nil || on.wrote.Load() != before || r.Context().Err() != nil {
			return resp, err
		}
		v, _ := r.Context().Value(verifiedKey{}).(*verified)
		if v == nil {
			return nil, err
		}
		if r = v.anew(r); r == nil {
			return nil, err
		}
	}
}
