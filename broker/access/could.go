package access

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Question says what of somebody's access is asked about; empty fields leave
// it open.
type Question struct {
	User, App string
	// AWSRole is an ARN or a role's name.
	AWSRole string
}

// Could is one AWS role of an app that a user could, or could not, use at a
// moment.
type Could struct {
	User, App, ARN string
	// Reach is what GET /v1/apps would have shown: it leaves locks out of
	// account. It has no roles where only a locked request gives them.
	Reach policy.Reach
	// Ways are the sessions that could have been started.
	Ways []Way
	// Refused is why there is no way at all.
	Refused string
}

// Way is one session that could have been started, if no lock stood against it.
type Way struct {
	policy.Grant
	Locks []*Lock
}

// Usable reports whether some way was free of locks.
func (c Could) Usable() bool {
	return slices.ContainsFunc(c.Ways, func(w Way) bool { return len(w.Locks) == 0 })
}

// The states of a user.
const (
	Absent   = "absent"
	Disabled = "disabled"
	Stopped  = "locked"
	Active   = "active"
)

// UserState is the state of a user at a moment.
func (s *State) UserState(name string, now time.Time) string {
	switch u := s.Users[name]; {
	case u == nil:
		return Absent
	case u.Disabled:
		return Disabled
	case u.Expired(now):
		return Absent
	case s.LockOn(now, s.holderTargets(u, now)...) != nil:
		return Stopped
	}
	return Active
}

// Could lists what the user of the question could use at a moment, by app and
// ARN. With an ARN in the question it says of every app that the ARN belongs to
// why not, too. A user who does not exist or is disabled could do nothing.
func (s *State) Could(q Question, now time.Time) []Could {
	u := s.Users[q.User]
	if u == nil || u.Disabled || u.Expired(now) {
		return nil
	}
	free := s.Subject(u, now)
	// As if no request were locked: to tell what only the lock stopped.
	all := s.subject(u, now, func(string) bool { return true })
	var out []Could
	for _, name := range slices.Sorted(maps.Keys(s.Apps)) {
		if q.App != "" && q.App != name {
			continue
		}
		app := s.Apps[name].App
		for _, arn := range candidates(app, q.AWSRole, free, all) {
			if c, ok := s.could(free, all, app, arn, now); ok || q.AWSRole == arn {
				out = append(out, c)
			}
		}
	}
	return out
}

// candidates are the ARNs of app to look at. An ARN that was asked for need not
// be spelled out by any role.
func candidates(app events.App, asked string, subs ...policy.Subject) []string {
	if strings.HasPrefix(asked, "arn:") {
		if !policy.Belongs(app, asked) {
			return nil
		}
		return []string{asked}
	}
	var out []string
	for _, sub := range subs {
		for _, r := range sub.AWSRoles(app) {
			if a, err := policy.ParseRoleARN(r.ARN); err == nil && (asked == "" || called(a, asked)) {
				out = append(out, r.ARN)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *State) could(free, all policy.Subject, app events.App, arn string, now time.Time) (Could, bool) {
	c := Could{User: free.User, App: app.Name, ARN: arn}
	add := func(sub policy.Subject, requestID string) {
		g, err := sub.Grant(app, arn, requestID)
		if err != nil {
			if c.Refused == "" {
				c.Refused = err.Error()
			}
			return
		}
		w := Way{Grant: g, Locks: s.LocksOn(now, append(grantTargets(sub, g, app.Name, arn), events.LockTarget{Kind: "user", Name: sub.User})...)}
		if !slices.ContainsFunc(c.Ways, func(o Way) bool { return sameGround(o.Grant, g) }) {
			c.Ways = append(c.Ways, w)
		}
	}
	var reached bool
	c.Reach, reached = free.Reach(app, arn)
	add(free, "")
	for _, h := range c.Reach.Roles {
		if !h.Standing() {
			add(free, h.RequestID)
		}
	}
	if wide, ok := all.Reach(app, arn); ok && len(all.Roles) > len(free.Roles) {
		reached = true
		for _, h := range wide.Roles {
			if !h.Standing() && s.LockOn(now, events.LockTarget{Kind: "request", Name: h.RequestID}) != nil {
				add(all, h.RequestID)
			}
		}
	}
	if len(c.Ways) > 0 {
		c.Refused = ""
	}
	return c, reached
}

func sameGround(a, b policy.Grant) bool {
	return slices.EqualFunc(a.Roles, b.Roles, func(x, y policy.Held) bool {
		return x.Name == y.Name && x.RequestID == y.RequestID
	})
}

// LocksOn returns the locks in force on any of the targets, each once.
func (s *State) LocksOn(now time.Time, targets ...events.LockTarget) []*Lock {
	var out []*Lock
	for _, t := range targets {
		for _, id := range s.targets[t] {
			if l := s.Locks[id]; l.Active(now) && !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	return out
}

// SessionLocks are the locks that stopped a session at a moment.
func (s *State) SessionLocks(x *Session, now time.Time) []*Lock {
	return s.LocksOn(now, x.targets()...)
}

// Wildcards lists, by app, the patterns by which a user reached AWS roles that
// nothing spells out, so that Could lists none of them.
func (s *State) Wildcards(q Question, now time.Time) map[string][]string {
	u := s.Users[q.User]
	if u == nil || u.Disabled || u.Expired(now) || q.AWSRole != "" {
		return nil
	}
	out := map[string][]string{}
	sub := s.Subject(u, now)
	for name, app := range s.Apps {
		if q.App != "" && q.App != name {
			continue
		}
		if ps := sub.Wildcards(app.App); len(ps) > 0 {
			out[name] = ps
		}
	}
	return out
}

// Ground lists the events that gave a way: of the user, the roles, the
// approvals, the app and the locks against it.
func (h *History) Ground(c Could, w Way) []Cause {
	things := []string{"user/" + c.User}
	for _, r := range w.Roles {
		things = append(things, "role/"+r.Name)
		if !r.Standing() {
			things = append(things, "request/"+r.RequestID)
		}
	}
	things = append(things, h.listThings(c.User, w.Lists())...)
	for _, p := range w.Permissions { // a role that denies has its say as well
		things = append(things, "role/"+p.Role)
	}
	things = append(things, "app/"+c.App)
	for _, l := range w.Locks {
		things = append(things, "lock/"+l.LockID)
	}
	return h.causes(things)
}

// SessionGround lists the events of a session, of what it rests on and of the
// locks against it.
func (h *History) SessionGround(x *Session, now time.Time) []Cause {
	things := []string{x.Thing()}
	for _, id := range x.RequestIDs {
		things = append(things, "request/"+id)
	}
	things = append(things, h.listThings(x.User, x.AccessLists)...)
	for _, l := range h.State.SessionLocks(x, now) {
		things = append(things, "lock/"+l.LockID)
	}
	return h.causes(things)
}

// RefusalGround lists the events of all that a user held who had no way: what
// is missing in it, or denies, is the reason.
func (h *History) RefusalGround(c Could, now time.Time) []Cause {
	things := []string{"user/" + c.User}
	if u := h.State.Users[c.User]; u != nil {
		for _, r := range h.State.Subject(u, now).Roles {
			things = append(things, "role/"+r.Name)
			if !r.Standing() {
				things = append(things, "request/"+r.RequestID)
			}
		}
	}
	return h.causes(append(things, "app/"+c.App))
}

// listThings are the access lists and the memberships in them by which a user is
// in them.
func (h *History) listThings(user string, lists []string) []string {
	var out []string
	for _, l := range lists {
		out = append(out, "access_list/"+l, memberThing(l, events.ListMember{Name: user, Kind: events.KindUser}))
		for _, inner := range lists {
			out = append(out, memberThing(l, events.ListMember{Name: inner, Kind: events.KindList}))
		}
	}
	return out
}

// memberThing names a membership in the history's book of causes.
func memberThing(list string, m events.ListMember) string {
	return "access_list/" + list + "/" + m.Kind + "/" + m.Name
}

func (h *History) causes(things []string) []Cause {
	var out []Cause
	for _, t := range things {
		if cause, ok := h.made[t]; ok && !slices.Contains(out, cause) {
			out = append(out, cause)
		}
	}
	return out
}

// rights is what could be done, as text to compare: empty for nothing.
func (c Could) rights() string {
	var out []string
	for _, w := range c.Ways {
		if len(w.Locks) > 0 {
			continue
		}
		said := make([]string, 0, len(w.Permissions))
		for _, p := range w.Permissions {
			p.Role = "" // what, not by which role
			b, _ := json.Marshal(p)
			said = append(said, string(b))
		}
		slices.Sort(said)
		out = append(out, "["+strings.Join(slices.Compact(said), ",")+"]")
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "")
}

// UserLocks are the locks in force on a user, or on a role that they hold.
func (s *State) UserLocks(name string, now time.Time) []*Lock {
	if u := s.Users[name]; u != nil {
		return s.LocksOn(now, s.holderTargets(u, now)...)
	}
	return s.LocksOn(now, events.LockTarget{Kind: "user", Name: name})
}

// Concerns reports whether a session is one of those that are asked about.
func (q Question) Concerns(x *Session) bool {
	if q.User != "" && q.User != x.User || q.App != "" && q.App != x.App {
		return false
	}
	a, err := policy.ParseRoleARN(x.AWSRoleARN)
	return q.AWSRole == "" || q.AWSRole == x.AWSRoleARN || err == nil && called(a, q.AWSRole)
}

// called reports whether name is a role's name, with or without its path.
func called(a policy.RoleARN, name string) bool {
	return a.Name == name || strings.TrimPrefix(a.Path, "/")+a.Name == name
}
