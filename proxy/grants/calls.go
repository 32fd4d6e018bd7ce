package grants

import (
	"time"

	"github.com/posternhq/postern/events"
)

// Verdict is what has become of a held call.
type Verdict string

// The verdicts. The zero Verdict is of a call that the stream does not know yet.
const (
	CallPending  Verdict = "pending"
	CallApproved Verdict = "approved"
	CallDenied   Verdict = "denied"
	CallExpired  Verdict = "expired" // nobody decided in time, or it was not made in time
	CallDropped  Verdict = "dropped"
	CallUsed     Verdict = "used"
)

// heldCall is an access request for one call.
type heldCall struct {
	id      string
	key     callKey
	verdict Verdict
	until   int64 // Unix nanoseconds: end of the wait, or of the approval
	by      []string
}

// callKey is what an approval is bound to.
type callKey struct{ session, digest string }

// calls is the fold of the access requests for single calls. The mutex of Grants
// guards it.
type calls struct {
	byID map[string]*heldCall
	// byKey is the latest of each call.
	byKey map[callKey]*heldCall
	// changed is closed, and made anew, when any of them changes.
	changed chan struct{}
}

func newCalls() calls {
	return calls{byID: map[string]*heldCall{}, byKey: map[callKey]*heldCall{}, changed: make(chan struct{})}
}

func (c *calls) asked(d *events.RequestCreated) {
	if d.Call == nil || c.byID[d.RequestID] != nil {
		return
	}
	h := &heldCall{id: d.RequestID, key: callKey{d.Call.SessionID, d.Call.Digest}, verdict: CallPending, until: d.ExpiresAt.UnixNano()}
	c.byID[h.id], c.byKey[h.key] = h, h
	c.wake()
}

func (c *calls) decided(id string, v Verdict, until time.Time, by []string) {
	h := c.byID[id]
	if h == nil || h.verdict == CallUsed {
		return
	}
	h.verdict, h.by = v, by
	if v == CallApproved {
		h.until = until.UnixNano()
	}
	c.wake()
}

func (c *calls) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// forget drops what was over before n.
func (c *calls) forget(n int64) {
	for id, h := range c.byID {
		if h.until > n {
			continue
		}
		delete(c.byID, id)
		if c.byKey[h.key] == h {
			delete(c.byKey, h.key)
		}
	}
}

// verdict at a moment.
func (h *heldCall) at(now int64) Verdict {
	if (h.verdict == CallPending || h.verdict == CallApproved) && now >= h.until {
		return CallExpired
	}
	return h.verdict
}

// FindCall returns the access request that a session has for a call, if it waits
// for its approval or can be made by it; "" if there is none.
func (g *Grants) FindCall(session, digest string, now time.Time) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	h := g.calls.byKey[callKey{session, digest}]
	if h == nil {
		return ""
	}
	if v := h.at(now.UnixNano()); v != CallPending && v != CallApproved {
		return ""
	}
	return h.id
}

// CallVerdict says what has become of a call, and by whom; changed is closed
// when that may be different.
func (g *Grants) CallVerdict(id string, now time.Time) (v Verdict, by []string, changed <-chan struct{}) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if h := g.calls.byID[id]; h != nil {
		v, by = h.at(now.UnixNano()), h.by
	}
	return v, by, g.calls.changed
}

// holds is whether an access request is for a single call.
func (g *Grants) holds(id string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.calls.byID[id] != nil
}

// CallMade notes that an approval was used, here or by another proxy.
func (g *Grants) CallMade(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls.decided(id, CallUsed, time.Time{}, nil)
}
