package grants

import (
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Watch is a running call that wants to be told when it must end.
type Watch struct {
	g       *Grants
	session *session
	also    []events.LockTarget
	cut     func(Decision)
}

// Watch registers a running call of a session of this user. cut is called at
// most once, on the goroutine of Apply, as soon as an event takes the session's
// access away; it must not block and may call nothing of g but Stop. Session
// and locks are checked again while registering: unless the decision allows,
// nothing is registered and Watch is nil. Expiry is the caller's to time (the
// decision has the session). Locks on the targets in also stop the call as well.
// Call Stop when the call is over.
func (g *Grants) Watch(sessionID, user string, now time.Time, cut func(Decision), also ...events.LockTarget) (*Watch, Decision) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	d := Decision{id: sessionID}
	if !g.live(&d, user, "", now) {
		return nil, d
	}
	if s := d.session.start; s.SessionID != sessionID || s.User != user {
		return nil, Decision{id: sessionID, cause: CauseNoSession}
	}
	for _, a := range also {
		if t := g.targets[a]; t != nil && d.locked(t, now.UnixNano()) {
			return nil, d
		}
	}
	d.Allowed = true
	w := &Watch{g: g, session: d.session, also: also, cut: cut}
	g.runningMu.Lock()
	g.running[w] = struct{}{}
	g.runningMu.Unlock()
	return w, d
}

// Also has locks on one more target stop the call from now on. Not ok says that there is
// one, and the decision which.
func (w *Watch) Also(target events.LockTarget, now time.Time) (d Decision, ok bool) {
	w.g.mu.RLock()
	defer w.g.mu.RUnlock()
	d = Decision{id: w.session.start.SessionID, session: w.session}
	if t := w.g.targets[target]; t != nil && d.locked(t, now.UnixNano()) {
		return d, false
	}
	w.g.runningMu.Lock()
	defer w.g.runningMu.Unlock()
	w.also = append(slices.Clip(w.also), target)
	return d, true
}

// Fresh is whether a call that is still to begin may do so: not if by now too little has been
// heard to decide about its session. The decision says why.
func (w *Watch) Fresh(now time.Time) (d Decision, ok bool) {
	w.g.mu.RLock()
	defer w.g.mu.RUnlock()
	d = Decision{id: w.session.start.SessionID, session: w.session}
	if w.g.deafTo(w.session, now) {
		d.cause, d.detail = CauseStale, w.g.deaf()
		return d, false
	}
	return d, true
}

// Stop ends the registration. It may be called twice.
func (w *Watch) Stop() {
	w.g.runningMu.Lock()
	delete(w.g.running, w)
	w.g.runningMu.Unlock()
}

// cuts are watches to be told of d, once no lock of g is held.
type cuts []func()

func (c cuts) run() {
	for _, f := range c {
		f()
	}
}

// cut takes the watches whose session matches out of the running ones. The
// caller holds g.mu, so no new one can appear that has not seen the change.
func (g *Grants) cut(match func(*Watch) bool, d Decision) cuts {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	var out cuts
	for w := range g.running {
		if match(w) {
			delete(g.running, w)
			d := d
			d.session, d.id = w.session, w.session.start.SessionID
			out = append(out, func() { w.cut(d) })
		}
	}
	return out
}

// cutTarget starts a new epoch and cuts what depends on t.
func (g *Grants) cutTarget(t *target, d Decision) cuts {
	g.epoch++
	return g.cut(func(w *Watch) bool {
		return t == &g.all || w.session.has(t) || slices.Contains(w.also, t.LockTarget)
	}, d)
}
