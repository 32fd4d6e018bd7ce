package access

import (
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Supposition is the history as it would be had some resources always been as
// a file says.
type Supposition struct {
	state *State
	fixed map[string]bool // channels whose own events do not count
	seq   uint64
}

// Suppose begins a history with resources that stay as they are, whatever it
// says of them. An access list is supposed to be reviewed in time.
func Suppose(resources ...events.Payload) *Supposition {
	s := &Supposition{state: NewState(), fixed: map[string]bool{}}
	for _, r := range resources {
		s.fixed[r.Channel()] = true
		if l, ok := r.(*events.AccessListCreated); ok {
			reviewed := *l
			reviewed.Audit.NextAuditDate = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
			r = &reviewed
		}
		s.state.Apply(events.Event{Data: r}, 0)
	}
	return s
}

// Apply folds in the next event.
func (s *Supposition) Apply(e events.Event) {
	s.seq++
	fixed := s.fixed[e.Data.Channel()]
	switch d := e.Data.(type) {
	case *events.SessionStarted, *events.SessionEnded:
		return // only what is decided from matters
	case *events.AccessListMemberAdded, *events.AccessListMemberRemoved:
		fixed = false // a list's file says nothing of its members
	case *events.AccessListReviewed:
		if fixed {
			for _, m := range d.Removed {
				s.state.removeMember(d.List, m)
			}
		}
	}
	if !fixed {
		s.state.Apply(e, s.seq)
	}
}

// Session decides whether a session that was started would have been, and what
// it might have called then. The error is a *policy.Refusal.
func (s *Supposition) Session(x *events.SessionStarted, now time.Time) (policy.Grant, error) {
	u, app := s.state.Users[x.User], s.state.Apps[x.App]
	switch {
	case u == nil || u.Disabled:
		return policy.Grant{}, &policy.Refusal{Reason: x.User + " would be no user, or disabled"}
	case app == nil:
		return policy.Grant{}, &policy.Refusal{Reason: "there would be no app " + x.App}
	}
	sub := s.state.Subject(u, now)
	// It was started by the one of its requests that ends first: the others last as long.
	byEnd := slices.Clone(x.RequestIDs)
	slices.SortStableFunc(byEnd, func(a, b string) int { return s.ends(a).Compare(s.ends(b)) })
	var g policy.Grant
	var err error
	for _, id := range append(byEnd, "") {
		if g, err = sub.Grant(app.App, x.AWSRoleARN, id); err == nil {
			break
		}
	}
	return g, err
}

// ends is when the access of a request ends, zero where it gives none.
func (s *Supposition) ends(requestID string) time.Time {
	if q := s.state.Requests[requestID]; q != nil {
		return q.Ends()
	}
	return time.Time{}
}
