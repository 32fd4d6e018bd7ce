package access

import (
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Request is an access request.
type Request struct {
	events.RequestCreated
	Seq       uint64 // of its creation
	CreatedAt time.Time
	status    string
	// Reviews hold the last one of each reviewer.
	Reviews []Review
	// Approval and DecisionID (its event's id) are set once approved.
	Approval   *events.RequestApproved
	DecisionID string
	// Dropped says who gave it up, or revoked it, and why.
	Dropped *events.RequestDropped
}

// Review is one person's verdict.
type Review struct {
	events.RequestReviewed
	At  time.Time
	Seq uint64 // zero while it is being decided
}

// The states of a request.
const (
	Pending  = "pending"
	Approved = "approved"
	Refused  = "denied"
	Lapsed   = "expired"
	Dropped  = "dropped"
	Promoted = "promoted" // to a membership of an access list
	Revoked  = "revoked"
)

// RequestStates lists them.
func RequestStates() []string {
	return []string{Pending, Approved, Refused, Lapsed, Dropped, Promoted, Revoked}
}

// State of the request at a moment: one that nobody decided in time has lapsed
// even before the stream says so.
func (q *Request) State(now time.Time) string {
	if q.status == Pending && !now.Before(q.ExpiresAt) {
		return Lapsed
	}
	return q.status
}

// Wish is the request as reviewers' roles see it.
func (q *Request) Wish() policy.Wish {
	w := policy.Wish{User: q.User, Roles: q.Roles, Reason: q.Reason}
	if q.Call != nil {
		w.Roles = q.Call.Roles
	}
	return w
}

// AskedBy reports whether a request is a user's own, and of no earlier one of the name.
func (s *State) AskedBy(q *Request, user string) bool { return q.User == user && s.still(user, q.Seq) }

// ReviewedBy reports whether a user has reviewed a request.
func (s *State) ReviewedBy(q *Request, user string) bool {
	return slices.ContainsFunc(q.Reviews, func(r Review) bool { return r.Reviewer == user && s.still(user, r.Seq) })
}

// Starts is when the granted access begins, zero for at once.
func (q *Request) Starts() time.Time {
	if q.Approval == nil || q.Approval.AccessStartsAt == nil {
		return time.Time{}
	}
	return *q.Approval.AccessStartsAt
}

// Ends is when the granted access ends, zero where none was granted.
func (q *Request) Ends() time.Time {
	if q.Approval == nil {
		return time.Time{}
	}
	return q.Approval.AccessExpiresAt
}

// gives reports whether the request gives access at a moment.
func (q *Request) gives(now time.Time) bool {
	return q.status == Approved && !now.Before(q.Starts()) && now.Before(q.Ends())
}

// OwedTo lists the broken glasses that a user may review and nobody has.
func (s *State) OwedTo(user string, now time.Time) []*Request {
	var out []*Request
	for _, id := range slices.Sorted(maps.Keys(s.owed)) {
		if q := s.owed[id]; MayReview(s, Env{Now: now}, user, q) == nil {
			out = append(out, q)
		}
	}
	return out
}

// Owed reports whether somebody broke the glass and nobody has reviewed it yet,
// however the access has ended.
func (q *Request) Owed() bool {
	return q.Approval != nil && q.Approval.BreakGlass && q.tally(nil) == Pending
}

func (s *State) applyRequest(e events.Event) {
	var id string
	switch d := e.Data.(type) {
	case *events.RequestCreated:
		q := &Request{RequestCreated: *d, Seq: s.Head(d.Channel()).Seq, CreatedAt: e.Time, status: Pending}
		s.Requests[d.RequestID], s.pending[d.RequestID] = q, q
		return
	case *events.RequestReviewed:
		id = d.RequestID
	case *events.RequestApproved:
		id = d.RequestID
	case *events.RequestDenied:
		id = d.RequestID
	case *events.RequestExpired:
		id = d.RequestID
	case *events.RequestDropped:
		id = d.RequestID
	case *events.RequestPromoted:
		id = d.RequestID
		if q := s.Requests[id]; q != nil && s.still(q.User, q.Seq) && s.Lists[d.List] != nil {
			s.promoted[id] = d
		}
	default:
		return
	}
	old := s.Requests[id]
	if old == nil {
		return
	}
	q := *old
	switch d := e.Data.(type) {
	case *events.RequestReviewed:
		q.Reviews = append(slices.DeleteFunc(slices.Clone(q.Reviews), func(r Review) bool { return r.Reviewer == d.Reviewer }),
			Review{RequestReviewed: *d, At: e.Time, Seq: s.Head(d.Channel()).Seq})
	case *events.RequestApproved:
		q.status, q.Approval, q.DecisionID = Approved, d, e.ID
	case *events.RequestDenied:
		q.status = Refused
	case *events.RequestExpired:
		q.status = Lapsed
	case *events.RequestDropped:
		q.Dropped = d
		if q.status = Dropped; old.status == Approved && d.By != q.User {
			q.status = Revoked
		}
	case *events.RequestPromoted:
		q.status = Promoted
	}
	s.Requests[id] = &q
	delete(s.pending, id)
	delete(s.granted[q.User], id)
	delete(s.owed, id)
	if q.Owed() {
		s.owed[id] = &q
	}
	switch q.status {
	case Pending:
		s.pending[id] = &q
	case Approved:
		if !s.still(q.User, q.Seq) {
			break // a review that was owed, or an approval that crossed the user's end, gives a later one of the name nothing
		}
		if s.granted[q.User] == nil {
			s.granted[q.User] = map[string]*Request{}
		}
		s.granted[q.User][id] = &q
	}
}

// Expire ends a request that nobody decided in time, or a call whose session is
// over; none that is decided.
func Expire(s *State, env Env, id string) ([]events.Event, error) {
	q := s.pending[id]
	if q == nil || q.State(env.Now) != Lapsed && !s.stranded(q, env.Now) {
		return nil, nil
	}
	return env.one(id, "", &events.RequestExpired{RequestID: id, User: q.User}), nil
}

// stranded reports whether a request is for a call of a session that is over.
func (s *State) stranded(q *Request, now time.Time) bool {
	if q.Call == nil {
		return false
	}
	x := s.Sessions[q.Call.SessionID]
	return x == nil || x.State(now) != Running
}

// Drop gives up a request, or the access that it granted.
func Drop(s *State, env Env, id, reason string) ([]events.Event, error) {
	q := s.Requests[id]
	if q == nil {
		return nil, refuse(NotFound, "there is no access request %s", id)
	}
	switch state := q.State(env.Now); {
	case len(reason) > maxText:
		return nil, refuse(Invalid, "the reason has %d bytes; %d at most", len(reason), maxText)
	case state == Approved && !env.Now.Before(q.Ends()):
		return nil, refuse(Conflict, "the access of request %s has ended already", id)
	case state != Pending && state != Approved:
		return nil, refuse(Conflict, "access request %s is %s already", id, state)
	}
	return env.one(id, "", &events.RequestDropped{RequestID: id, By: env.By, Reason: reason}), nil
}

// Revoke takes back the access that a request granted, which ends its sessions.
// Who may review the request may do it.
func Revoke(s *State, env Env, id, reason string) ([]events.Event, error) {
	u, err := Admit(s, env.Now, env.By)
	if err != nil {
		return nil, err
	}
	q := s.Requests[id]
	sub := s.Subject(u, env.Now)
	switch {
	case q == nil || sub.Review(q.Wish()) != nil && !sub.May("delete", "request"):
		return nil, refuse(NotFound, "there is no access request %s that %s may revoke", id, env.By)
	case q.State(env.Now) != Approved:
		return nil, refuse(Conflict, "access request %s is %s: only granted access is revoked", id, q.State(env.Now))
	}
	return Drop(s, env, id, reason)
}
