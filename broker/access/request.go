package access

import (
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Request is an access request.
type Request struct {
	events.RequestCreated
	Seq       uint64 // of its creation
	CreatedAt time.Time
	status    string
	Reviews   []Review
	// AccessExpiresAt and DecisionID (the id of the approving event) are set
	// once approved.
	AccessExpiresAt time.Time
	DecisionID      string
	DroppedBy       string
}

// Review is one person's verdict.
type Review struct {
	events.RequestReviewed
	At time.Time
}

// The states of a request.
const (
	Pending  = "pending"
	Approved = "approved"
	Refused  = "denied"
	Lapsed   = "expired"
	Dropped  = "dropped"
	Promoted = "promoted" // to a membership of an access list
)

// State of the request at a moment: one that nobody decided in time has lapsed
// even before the stream says so.
func (q *Request) State(now time.Time) string {
	if q.status == Pending && !now.Before(q.ExpiresAt) {
		return Lapsed
	}
	return q.status
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
		s.promoted[id] = d
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
		q.Reviews = append(slices.Clone(q.Reviews), Review{RequestReviewed: *d, At: e.Time})
	case *events.RequestApproved:
		q.status, q.AccessExpiresAt, q.DecisionID = Approved, d.AccessExpiresAt, e.ID
	case *events.RequestDenied:
		q.status = Refused
	case *events.RequestExpired:
		q.status = Lapsed
	case *events.RequestDropped:
		q.status, q.DroppedBy = Dropped, d.By
	case *events.RequestPromoted:
		q.status = Promoted
	}
	s.Requests[id] = &q
	delete(s.pending, id)
	delete(s.granted[q.User], id)
	switch q.status {
	case Pending:
		s.pending[id] = &q
	case Approved:
		if s.granted[q.User] == nil {
			s.granted[q.User] = map[string]*Request{}
		}
		s.granted[q.User][id] = &q
	}
}

// Expire ends a request that nobody decided in time; none that is decided.
func Expire(s *State, env Env, id string) ([]events.Event, error) {
	q := s.pending[id]
	if q == nil || q.State(env.Now) != Lapsed {
		return nil, nil
	}
	return env.one(id, "", &events.RequestExpired{RequestID: id, User: q.User}), nil
}

// Drop gives up a request, or the access that it granted.
func Drop(s *State, env Env, id string) ([]events.Event, error) {
	q := s.Requests[id]
	if q == nil {
		return nil, refuse(NotFound, "there is no access request %s", id)
	}
	switch state := q.State(env.Now); {
	case state == Approved && !env.Now.Before(q.AccessExpiresAt):
		return nil, refuse(Conflict, "the access of request %s has ended already", id)
	case state != Pending && state != Approved:
		return nil, refuse(Conflict, "access request %s is %s already", id, state)
	}
	return env.one(id, "", &events.RequestDropped{RequestID: id, By: env.By}), nil
}
