package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/grants"
)

// ask begins a call to an endpoint of the proxy's own, about AWS all the same.
func (p *Proxy) ask(w http.ResponseWriter, r *http.Request, user, session string) *call {
	return &call{p: p, w: w, r: r, ctx: r.Context(), user: user, id: session, own: true, about: p.about(r, user, session)}
}

// open looks whether the session may do anything, and cuts the call when it may
// no longer.
func (c *call) open() (stop func(), ok bool) {
	ctx, cancel := context.WithCancelCause(c.r.Context())
	c.ctx = ctx
	watch, d := c.p.grants.Watch(c.id, c.user, c.p.now(), func(d grants.Decision) { cancel(&cutError{d}) }, c.besides()...)
	c.know(&d)
	if watch == nil {
		cancel(nil)
		c.denyDecision(&d)
		return nil, false
	}
	return func() { watch.Stop(); cancel(nil) }, true
}

// recorded appends what is about to be handed out, and answers if it must not be.
func (c *call) recorded(e events.Payload) bool {
	err := c.p.recorder.now(c.ctx, c.event(e))
	switch {
	case c.ctx.Err() != nil:
		c.cut()
	case err != nil:
		c.fail("record", "ServiceUnavailable", http.StatusServiceUnavailable, "it could not be recorded, so it is not handed out; try again: "+err.Error())
	default:
		return true
	}
	return false
}

// about is what is known of a request when it arrives.
func (p *Proxy) about(r *http.Request, user, session string) events.AWSRequest {
	return events.AWSRequest{
		RequestID: journal.NewID(), ReceivedAt: p.now().UTC(), User: user, SessionID: session,
		Method: r.Method, Host: r.Host, Path: r.URL.Path, ClientAddr: r.RemoteAddr, UserAgent: r.UserAgent(), Proxy: p.cfg.Name,
	}
}

// read decodes the request's body, or answers what is wrong with it.
func read(w http.ResponseWriter, r *http.Request, in any) bool {
	dec := json.NewDecoder(io.LimitReader(r.Body, 64<<10))
	dec.DisallowUnknownFields()
	err := dec.Decode(in)
	if err != nil {
		problem(w, http.StatusBadRequest, "read request: "+err.Error())
	}
	return err == nil
}
