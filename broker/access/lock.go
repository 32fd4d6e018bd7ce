package access

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posternhq/postern/events"
)

// PlaceLock is the command to stop something at once.
type PlaceLock struct {
	// ID may be empty: then it is a new ULID.
	ID      string
	Target  events.LockTarget
	Message string
	// ExpiresAt nil means never.
	ExpiresAt *time.Time
}

// Place decides a PlaceLock. A target that does not exist is refused: a typing
// error must not look like a lock.
func Place(s *State, env Env, c PlaceLock) ([]events.Event, error) {
	if err := CheckLockTarget(c.Target); err != nil {
		return nil, refuse(Invalid, "lock: %v", err)
	}
	if c.ID == "" {
		c.ID = env.NewID()
	} else if err := checkName(c.ID); err != nil {
		return nil, refuse(Invalid, "lock: %v", err)
	}
	if old := s.Locks[c.ID]; old != nil && old.Active(env.Now) {
		if old.same(c) {
			return nil, nil
		}
		e := refuse(Conflict, "lock %s is in force on %s %s, and what a lock says does not change: place another, then lift this one", c.ID, old.Target.Kind, old.Target.Name)
		e.Next = "postern lock rm " + c.ID
		return nil, e
	}
	switch {
	case s.Head((&events.LockPlaced{LockID: c.ID}).Channel()).Seq != 0:
		return nil, refuse(Exists, "there was a lock %s, which is over: give this one another name", c.ID)
	case len(c.Message) > maxText:
		return nil, refuse(Invalid, "lock: the message has more than %d bytes", maxText)
	case strings.ContainsFunc(c.Message, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return nil, refuse(Invalid, "lock: the message has control characters, which would reach the terminals of whom it stops")
	case c.ExpiresAt != nil && !c.ExpiresAt.After(env.Now):
		return nil, refuse(Invalid, "lock: it would end before it begins")
	}
	known := true
	switch c.Target.Kind {
	case "user":
		known = s.Users[c.Target.Name] != nil
	case "role":
		known = s.Roles[c.Target.Name] != nil
	case "app":
		known = s.Apps[c.Target.Name] != nil
	case "session":
		known = s.Sessions[c.Target.Name] != nil
	case "request":
		known = s.Requests[c.Target.Name] != nil
	case "device":
		known = s.Devices[c.Target.Name] != nil
	}
	if !known {
		return nil, refuse(NotFound, "there is no %s %s to lock", c.Target.Kind, c.Target.Name)
	}
	return env.one("", "", &events.LockPlaced{LockID: c.ID, Target: c.Target, Message: c.Message, By: env.By, ExpiresAt: c.ExpiresAt}), nil
}

// same reports whether a command would place the lock as it is.
func (l *Lock) same(c PlaceLock) bool {
	end := l.ExpiresAt == nil && c.ExpiresAt == nil || l.ExpiresAt != nil && c.ExpiresAt != nil && l.ExpiresAt.Equal(*c.ExpiresAt)
	return l.Target == c.Target && l.Message == c.Message && end
}

// Lift ends a lock before its time.
func Lift(s *State, env Env, id string) ([]events.Event, error) {
	l := s.Locks[id]
	if l == nil || !l.Active(env.Now) {
		return nil, refuse(NotFound, "there is no lock %s in force", id)
	}
	return env.one("", "", &events.LockLifted{LockID: id, By: env.By}), nil
}

// LocksDue are the locks that ended by their time, which nobody has recorded yet, and
// when the next one will end, zero for never.
func (s *State) LocksDue(now time.Time) (ids []string, next time.Time) {
	for id, l := range s.timed {
		switch {
		case !l.Active(now):
			ids = append(ids, id)
		case next.IsZero() || l.ExpiresAt.Before(next):
			next = *l.ExpiresAt
		}
	}
	return ids, next
}

// ExpireLock records that a lock ended by its time.
func ExpireLock(s *State, env Env, id string) ([]events.Event, error) {
	l := s.timed[id]
	if l == nil || l.Active(env.Now) {
		return nil, nil
	}
	return env.one("", "", &events.LockExpired{LockID: id, Target: l.Target, ExpiredAt: l.ExpiresAt.UTC(), By: env.By}), nil
}

// Barred reports whether a user is kept out: gone, disabled, or locked when the event of
// a sequence came to stand. A lock that ends by its time counts until that is recorded,
// so that the last one of several says that the user is let in again.
func Barred(s *State, name string, at uint64) bool {
	u := s.Users[name]
	return u == nil || u.Disabled || slices.ContainsFunc(s.targets[events.LockTarget{Kind: "user", Name: name}], func(id string) bool {
		l := s.Locks[id]
		return l.PlacedSeq < at && (l.ExpiredSeq == 0 || l.ExpiredSeq > at)
	})
}

// deviceTarget is what locks on a machine hang on; no lock has the empty name.
func deviceTarget(id string) events.LockTarget { return events.LockTarget{Kind: "device", Name: id} }

// AdmitDevice refuses machines that are locked; "" is none, and never is.
func AdmitDevice(s *State, now time.Time, id string) error {
	if l := s.LockOn(now, deviceTarget(id)); l != nil {
		return locked(l)
	}
	return nil
}

// locked says what a lock stops and until when.
func locked(l *Lock) *Error {
	e := refuse(Locked, "%s %s is locked", l.Target.Kind, l.Target.Name)
	if l.Message != "" {
		e.Message += ": " + l.Message
	}
	if l.ExpiresAt != nil {
		e.Message += " (until " + l.ExpiresAt.UTC().Format(time.RFC3339) + ")"
	}
	return e
}

// holderTargets are what locks hang on that stop all of what a user does: the user, and
// the roles that they hold without a request.
func (s *State) holderTargets(u *User, now time.Time) []events.LockTarget {
	out := []events.LockTarget{{Kind: "user", Name: u.Name}}
	for _, r := range u.Roles {
		out = append(out, events.LockTarget{Kind: "role", Name: r})
	}
	for list := range s.holds(u, now) {
		for _, r := range s.Lists[list].Grants.Roles {
			out = append(out, events.LockTarget{Kind: "role", Name: r})
		}
	}
	return out
}

// Admit refuses users who may do nothing: those that do not exist, are
// disabled or locked, themselves or by a role that they hold, or whose connector's
// word is too old.
func Admit(s *State, now time.Time, name string) (*User, error) {
	u := s.Users[name]
	if u == nil {
		return nil, refuse(Denied, "there is no user %s any more", name)
	}
	if u.Disabled {
		return nil, refuse(Denied, "user %s is disabled", name)
	}
	if u.Expired(now) {
		e := refuse(Denied, "what %s said of %s held until %s", u.Connector, name, u.ExpiresAt.UTC().Format(time.RFC3339))
		e.Next = "postern login --auth " + u.Connector
		return nil, e
	}
	if l := s.LockOn(now, s.holderTargets(u, now)...); l != nil {
		return nil, locked(l)
	}
	return u, nil
}

func sortedCopy(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return out
}
