package access

import (
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// History is a State that remembers which event made each thing what it is, for
// questions about the past. Sessions are kept only if they can matter.
type History struct {
	State *State
	// Seq is the stream sequence of the last event applied.
	Seq uint64

	sessionsFrom time.Time
	made         map[string]Cause // by thing, such as "role/reader"
}

// Cause is an event that made something so.
type Cause struct {
	EventID string
	Type    events.Type
	// Thing is what it is about, such as "role/reader".
	Thing string
	// By is who did it: of an approval, the reviewers.
	By string
	// At is when the stream took it.
	At  time.Time
	Seq uint64
	// Revision of a user, role or app that it made.
	Revision uint64
}

// NewHistory returns the history before the first event. Sessions whose time
// was over at sessionsFrom are left out.
func NewHistory(sessionsFrom time.Time) *History {
	return &History{State: NewState(), sessionsFrom: sessionsFrom, made: map[string]Cause{}}
}

// Apply folds in the next event of the stream, which took it at storedAt.
func (h *History) Apply(e events.Event, seq uint64, storedAt time.Time) {
	h.Seq = seq
	switch d := e.Data.(type) {
	case *events.SigninSucceeded, *events.SigninFailed, *events.SigninRevoked:
		return
	case *events.SessionStarted:
		if !d.ExpiresAt.After(h.sessionsFrom) {
			return
		}
	case *events.SessionEnded:
		if x := h.State.Sessions[d.SessionID]; x == nil || !storedAt.After(h.sessionsFrom) {
			delete(h.State.Sessions, d.SessionID)
			delete(h.State.running, d.SessionID)
			delete(h.made, d.Thing())
			return
		}
	}
	h.State.Apply(e, seq)
	by, ok := maker(e.Data)
	if !ok {
		return
	}
	c := Cause{EventID: e.ID, Type: e.Data.Type(), Thing: e.Data.Thing(), By: by, At: storedAt, Seq: seq}
	switch d := e.Data.(type) {
	case *events.AccessListMemberAdded:
		h.made[memberThing(d.List, d.Member)] = c
		return
	case *events.AccessListMemberRemoved:
		h.made[memberThing(d.List, d.Member)] = c
		return
	}
	switch strings.SplitN(c.Thing, "/", 2)[0] {
	case "user", "role", "app", "access_list":
		c.Revision = h.State.Head(e.Data.Channel()).Revision
	}
	h.made[c.Thing] = c
}

// Made returns the event that last made a thing what it is.
func (h *History) Made(thing string) (Cause, bool) {
	c, ok := h.made[thing]
	return c, ok
}

// maker is who made an event; not ok for events that change nothing about what
// somebody may do.
func maker(p events.Payload) (by string, ok bool) {
	switch d := p.(type) {
	case *events.UserCreated:
		return d.By, true
	case *events.UserUpdated:
		return d.By, true
	case *events.UserDeleted:
		return d.By, true
	case *events.RoleCreated:
		return d.By, true
	case *events.RoleUpdated:
		return d.By, true
	case *events.RoleDeleted:
		return d.By, true
	case *events.AppCreated:
		return d.By, true
	case *events.AppUpdated:
		return d.By, true
	case *events.AppDeleted:
		return d.By, true
	case *events.AccessListCreated:
		return d.By, true
	case *events.AccessListUpdated:
		return d.By, true
	case *events.AccessListDeleted:
		return d.By, true
	case *events.AccessListMemberAdded:
		return d.By, true
	case *events.AccessListMemberRemoved:
		return d.By, true
	case *events.AccessListReviewed:
		return d.By, true
	case *events.RequestApproved:
		switch {
		case d.BreakGlass:
			return d.User + " (broke the glass)", true
		case d.Rule != "":
			return "rule " + d.Rule, true
		}
		return strings.Join(d.Reviewers, ", "), true
	case *events.RequestDropped:
		return d.By, true
	case *events.LockPlaced:
		return d.By, true
	case *events.LockLifted:
		return d.By, true
	case *events.SessionStarted:
		return d.User, true
	}
	return "", false
}
