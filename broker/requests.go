package broker

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/view"
	"github.com/posternhq/postern/events"
)

func (b *Broker) postRequest(c *call) (any, error) {
	var in api.CreateRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	ttl, err := duration("ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	wait, err := duration("pending_ttl", in.PendingTTL)
	if err != nil {
		return nil, err
	}
	es, err := b.ledger.do(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Create(s, env, access.CreateRequest{
			User: c.who.User, Roles: in.Roles, Resources: in.Resources, Reason: in.Reason, TTL: ttl, PendingTTL: wait,
		})
	})
	if err != nil {
		return nil, err
	}
	asked, ok := es[0].Data.(*events.RequestCreated)
	if !ok {
		return nil, fmt.Errorf("creation of a request gave %T", es[0].Data)
	}
	out, err := b.request(c, asked.RequestID)
	return created{out}, err
}

func (b *Broker) postReview(c *call) (any, error) {
	var in api.CreateReview
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	id := c.PathValue("id")
	_, err := b.ledger.grant(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Decide(s, env, access.SubmitReview{RequestID: id, Reviewer: c.who.User, Verdict: in.Verdict, Reason: in.Reason})
	})
	if err != nil {
		return nil, err
	}
	return b.request(c, id)
}

func (b *Broker) getRequest(c *call) (any, error) { return b.request(c, c.PathValue("id")) }

func (b *Broker) request(c *call, id string) (any, error) {
	var out api.Request
	var err error
	b.ledger.read(func(s *access.State, now time.Time) {
		q := s.Requests[id]
		if q == nil || !mayRead(s, now, c.who.User, q) {
			err = &access.Error{Code: access.NotFound, Message: fmt.Sprintf("there is no access request %s that %s may read", id, c.who.User)}
			return
		}
		out = view.Request(s, q, c.who.User, now)
	})
	return out, err
}

// getRequests lists the caller's requests and those they may review, or all
// that there are where a rule allows it; ?state= picks one state.
func (b *Broker) getRequests(c *call) (any, error) {
	state := c.FormValue("state")
	out := api.Requests{Requests: []api.Request{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, id := range slices.Sorted(maps.Keys(s.Requests)) {
			q := s.Requests[id]
			if (state == "" || state == q.State(now)) && mayRead(s, now, c.who.User, q) {
				out.Requests = append(out.Requests, view.Request(s, q, c.who.User, now))
			}
		}
	})
	return out, nil
}

// mayRead lets a request be read by who asked, by who may review or has
// reviewed it, and by who has a rule for it.
func mayRead(s *access.State, now time.Time, user string, q *access.Request) bool {
	u, err := access.Admit(s, now, user)
	if err != nil {
		return false
	}
	sub := s.Subject(u, now)
	return q.User == user || sub.Review(q.User, q.Roles) == nil || sub.May("read", "request") ||
		slices.ContainsFunc(q.Reviews, func(r access.Review) bool { return r.Reviewer == user })
}

func (b *Broker) deleteRequest(c *call) (any, error) {
	id := c.PathValue("id")
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if q := s.Requests[id]; q == nil || q.User != c.who.User && mustMay(s, env.Now, c.who.User, "delete", "request") != nil {
			return nil, &access.Error{Code: access.NotFound, Message: fmt.Sprintf("there is no access request %s that %s may drop", id, c.who.User)}
		}
		return access.Drop(s, env, id)
	})
}
