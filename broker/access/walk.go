package access

import (
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Watch follows what one user may do with one AWS role of an app while events
// are applied, and notes every change with what made it.
type Watch struct {
	User, App, ARN string
	Flips          []Flip

	first, rights string
	settled       time.Time
}

// Flip is one change of what a Watch follows.
type Flip struct {
	At time.Time
	// Effect is "gained", "lost" or "changed": other calls than before.
	Effect string
	Cause  Cause
	// Expired is set where the end that Cause had set came, and nobody did
	// anything: of granted access, or of a lock.
	Expired bool
}

// Effect compares what could be done before and after; "" where it is the same.
func Effect(before, after Could) string { return effect(before.rights(), after.rights()) }

func effect(before, after string) string {
	switch {
	case before == after:
		return ""
	case before == "":
		return "gained"
	case after == "":
		return "lost"
	}
	return "changed"
}

// NewWatch begins to follow at a moment to which the history has come.
func (h *History) NewWatch(user, app, arn string, now time.Time) *Watch {
	w := &Watch{User: user, App: app, ARN: arn, settled: now}
	w.first = h.rightsOf(w, now)
	w.rights = w.first
	return w
}

// Effect is what all of it came to, "" for nothing.
func (w *Watch) Effect() string { return effect(w.first, w.rights) }

func (h *History) rightsOf(w *Watch, now time.Time) string {
	s := h.State
	u, app := s.Users[w.User], s.Apps[w.App]
	if u == nil || u.Disabled || u.Expired(now) || app == nil || !policy.Belongs(app.App, w.ARN) {
		return ""
	}
	free := s.Subject(u, now)
	c, _ := s.could(free, free, app.App, w.ARN, now) // what is locked gives nothing: it need not be told why
	return c.rights()
}

// Step applies the next event and lets the watches that it concerns look. until
// bounds the moments at which they do.
func (h *History) Step(e events.Event, seq uint64, storedAt, until time.Time, watches []*Watch) {
	now := storedAt
	if now.After(until) {
		now = until
	}
	concerned := h.concerns(e.Data)
	var looking []*Watch
	if concerned != nil {
		for _, w := range watches {
			if concerned(w) {
				h.Settle(w, now)
				looking = append(looking, w)
			}
		}
	}
	h.Apply(e, seq, storedAt)
	for _, w := range looking {
		w.look(h.rightsOf(w, w.settled), w.settled, h.causeOf(e.Data), false)
	}
}

// causeOf is the cause that an event is that was just applied.
func (h *History) causeOf(p events.Payload) Cause {
	switch d := p.(type) {
	case *events.AccessListMemberAdded:
		return h.made[memberThing(d.List, d.Member)]
	case *events.AccessListMemberRemoved:
		return h.made[memberThing(d.List, d.Member)]
	}
	return h.made[p.Thing()]
}

// Settle notes what time alone has done up to now: access, locks and the word of a
// connector that ended.
func (h *History) Settle(w *Watch, now time.Time) {
	type end struct {
		at    time.Time
		thing string
	}
	var ends []end
	add := func(at time.Time, thing string) {
		if at.After(w.settled) && !at.After(now) {
			ends = append(ends, end{at, thing})
		}
	}
	if u := h.State.Users[w.User]; u != nil && u.ExpiresAt != nil {
		add(*u.ExpiresAt, "user/"+w.User)
	}
	for id, q := range h.State.granted[w.User] {
		add(q.Starts(), "request/"+id)
		add(q.Ends(), "request/"+id)
	}
	for _, l := range h.State.sortedLists() {
		add(h.State.Lists[l].Audit.SuspendsAt(), "access_list/"+l)
		for m, ship := range h.State.members[l] {
			add(ship.ExpiresAt, memberThing(l, m))
		}
	}
	for id, l := range h.State.Locks {
		if l.ExpiresAt != nil {
			add(*l.ExpiresAt, "lock/"+id)
		}
	}
	slices.SortFunc(ends, func(a, b end) int { return a.at.Compare(b.at) })
	for _, x := range ends {
		w.look(h.rightsOf(w, x.at), x.at, h.made[x.thing], true)
	}
	if now.After(w.settled) {
		w.settled = now
	}
}

func (w *Watch) look(rights string, at time.Time, cause Cause, expired bool) {
	if e := effect(w.rights, rights); e != "" {
		w.Flips = append(w.Flips, Flip{At: at, Effect: e, Cause: cause, Expired: expired})
		w.rights = rights
	}
}

// concerns tells which watches an event that is about to be applied may change;
// nil for none.
func (h *History) concerns(p events.Payload) func(*Watch) bool {
	ofUser := func(name string) func(*Watch) bool { return func(w *Watch) bool { return w.User == name } }
	ofApp := func(name string) func(*Watch) bool { return func(w *Watch) bool { return w.App == name } }
	switch d := p.(type) {
	case *events.UserCreated:
		return ofUser(d.Name)
	case *events.UserUpdated:
		return ofUser(d.Name)
	case *events.UserDeleted:
		return ofUser(d.Name)
	case *events.AppCreated:
		return ofApp(d.Name)
	case *events.AppUpdated:
		return ofApp(d.Name)
	case *events.AppDeleted:
		return ofApp(d.Name)
	case *events.RoleCreated:
		return h.holding(d.Name)
	case *events.RoleUpdated:
		return h.holding(d.Name)
	case *events.RoleDeleted:
		return h.holding(d.Name)
	case *events.RequestApproved:
		if q := h.State.Requests[d.RequestID]; q != nil {
			return ofUser(q.User)
		}
	case *events.RequestDropped:
		if q := h.State.Requests[d.RequestID]; q != nil {
			return ofUser(q.User)
		}
	case *events.AccessListCreated, *events.AccessListUpdated, *events.AccessListDeleted,
		*events.AccessListMemberAdded, *events.AccessListMemberRemoved, *events.AccessListReviewed:
		return func(*Watch) bool { return true } // by way of other lists it may be anybody
	case *events.LockPlaced:
		return h.locking(d.Target)
	case *events.LockLifted:
		if l := h.State.Locks[d.LockID]; l != nil {
			return h.locking(l.Target)
		}
	}
	return nil
}

// holding is about everyone with the role in hand, now or by a grant once: a
// role that is made again counts for those who still name it.
func (h *History) holding(role string) func(*Watch) bool {
	return func(w *Watch) bool {
		if u := h.State.Users[w.User]; u != nil {
			if slices.Contains(u.Roles, role) {
				return true
			}
			for l := range h.State.holds(u, w.settled) {
				if slices.Contains(h.State.Lists[l].Grants.Roles, role) {
					return true
				}
			}
		}
		for _, q := range h.State.granted[w.User] {
			if slices.Contains(q.Roles, role) {
				return true
			}
		}
		return false
	}
}

func (h *History) locking(t events.LockTarget) func(*Watch) bool {
	switch t.Kind {
	case "session", "agent", "device":
		return nil // no bar to another session
	case "user":
		return func(w *Watch) bool { return w.User == t.Name }
	case "app":
		return func(w *Watch) bool { return w.App == t.Name }
	case "aws_role":
		return func(w *Watch) bool { return w.ARN == t.Name }
	case "role":
		return h.holding(t.Name)
	case "request":
		return func(w *Watch) bool { return h.State.granted[w.User][t.Name] != nil }
	}
	return func(*Watch) bool { return true }
}
