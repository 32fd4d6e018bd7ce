package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/view"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

func (b *Broker) postRequest(c *call) (any, error) {
	in, err := wanted(c)
	if err != nil {
		return nil, err
	}
	es, err := b.ledger.grant(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Create(s, env, in)
	})
	if err != nil {
		return nil, err
	}
	if in.BreakGlass {
		b.log.Warn().Str("user", in.User).Strs("roles", in.Roles).Strs("resources", in.Resources).Str("reason", in.Reason).Msg("the glass was broken: a review is owed")
	}
	asked, ok := es[0].Data.(*events.RequestCreated)
	if !ok {
		return nil, fmt.Errorf("creation of a request gave %T", es[0].Data)
	}
	out, err := b.request(c, asked.RequestID)
	return created{out}, err
}

// wanted reads the body of a request for access.
func wanted(c *call) (access.CreateRequest, error) {
	var in api.CreateRequest
	if err := decode(c, &in); err != nil {
		return access.CreateRequest{}, err
	}
	out := access.CreateRequest{
		User: c.who.User, Roles: in.Roles, Resources: in.Resources, Reason: in.Reason,
		Reviewers: in.SuggestedReviewers, BreakGlass: in.BreakGlass,
	}
	if in.StartsAt != nil {
		out.StartsAt = *in.StartsAt
	}
	var err error
	if out.TTL, err = duration("ttl", in.TTL); err != nil {
		return out, err
	}
	out.PendingTTL, err = duration("pending_ttl", in.PendingTTL)
	return out, err
}

// postPreview says what a request would come to, and changes nothing.
func (b *Broker) postPreview(c *call) (any, error) {
	in, err := wanted(c)
	if err != nil {
		return nil, err
	}
	var out api.RequestPreview
	b.ledger.read(func(s *access.State, now time.Time) {
		var p access.Preview
		if p, err = access.DryRun(s, access.Env{Now: now, NewID: journal.NewID, By: c.who.User}, in); err == nil {
			out = view.Preview(s, p, now)
		}
	})
	return out, err
}

func (b *Broker) postRevocation(c *call) (any, error) {
	var in api.RevokeRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	id := c.PathValue("id")
	if err := b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Revoke(s, env, id, in.Reason)
	}); err != nil {
		return nil, err
	}
	return b.request(c, id)
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
	if state != "" && !slices.Contains(access.RequestStates(), state) {
		return nil, invalid("state: %q is none of %s", state, strings.Join(access.RequestStates(), ", "))
	}
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
	return s.AskedBy(q, user) || sub.Review(q.Wish()) == nil || sub.May("read", "request") || s.ReviewedBy(q, user)
}

func (b *Broker) deleteRequest(c *call) (any, error) {
	id := c.PathValue("id")
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if q := s.Requests[id]; q == nil || !s.AskedBy(q, c.who.User) && mustMay(s, env.Now, c.who.User, "delete", "request") != nil {
			return nil, &access.Error{Code: access.NotFound, Message: fmt.Sprintf("there is no access request %s that %s may drop", id, c.who.User)}
		}
		return access.Drop(s, env, id, "")
	})
}
