package access

import (
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Promote is the command to answer an access request with a lasting
// membership of a list that grants what was asked for.
type Promote struct {
	RequestID, List string
	// ExpiresAt is the end of the membership, nil for none.
	ExpiresAt *time.Time
	Reason    string
}

// DecidePromotion decides a Promote: it takes somebody who may review the
// request and owns the list. The event resolves the request; that of the list
// follows from it (TellList), as one append holds one aggregate's events only.
func DecidePromotion(s *State, env Env, c Promote) ([]events.Event, error) {
	q := s.Requests[c.RequestID]
	if q == nil {
		return nil, refuse(NotFound, "there is no access request %s", c.RequestID)
	}
	if err := MayReview(s, env, env.By, q); err != nil {
		return nil, err
	}
	if q.State(env.Now) != Pending || q.Call != nil {
		return nil, refuse(Conflict, "request %s does not wait for access that a membership could give", c.RequestID)
	}
	l, err := s.mayKeep(env, c.List)
	if err != nil {
		return nil, err
	}
	for _, r := range q.Roles {
		if !slices.Contains(l.Grants.Roles, r) {
			return nil, refuse(Conflict, "access list %s does not grant role %s, which request %s asks for", c.List, r, c.RequestID)
		}
	}
	if err := s.approvable(q, env.Now); err != nil {
		return nil, err
	}
	member := events.ListMember{Name: q.User, Kind: events.KindUser}
	if err := s.admissible(env, l, AddMember{List: c.List, Member: member, ExpiresAt: c.ExpiresAt, Reason: c.Reason}); err != nil {
		return nil, err
	}
	return env.one(q.RequestID, s.Head(q.Channel()).EventID, &events.RequestPromoted{
		RequestID: q.RequestID, User: q.User, List: c.List, ExpiresAt: c.ExpiresAt, Reason: c.Reason, By: env.By}), nil
}

// promotions are the requests whose promotion to a list the list does not know of yet.
func (s *State) promotions(list string) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(s.promoted)) {
		if s.promoted[id].List == list {
			ids = append(ids, id)
		}
	}
	return ids
}
