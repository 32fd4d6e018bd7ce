package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/resource"
	"github.com/posternhq/postern/broker/view"
	"github.com/posternhq/postern/events"
)

// getLists lists the access lists that the caller owns or is in, or all that
// there are where a rule allows it.
func (b *Broker) getLists(c *call) (any, error) {
	out := api.AccessLists{AccessLists: []api.AccessList{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, name := range slices.Sorted(maps.Keys(s.Lists)) {
			if seen, _ := seesList(s, now, c.who.User, name); seen {
				out.AccessLists = append(out.AccessLists, view.AccessList(s, s.Lists[name], c.who.User, false, now))
			}
		}
	})
	return out, nil
}

func (b *Broker) getList(c *call) (any, error) { return b.list(c) }

func (b *Broker) list(c *call) (out api.AccessList, err error) {
	name := c.PathValue("name")
	b.ledger.read(func(s *access.State, now time.Time) {
		seen, full := seesList(s, now, c.who.User, name)
		if !seen {
			err = &access.Error{Code: access.NotFound, Message: fmt.Sprintf("there is no access list %s that %s may see", name, c.who.User)}
			return
		}
		out = view.AccessList(s, s.Lists[name], c.who.User, full, now)
	})
	return out, err
}

// seesList says whether a user sees that a list exists, and who is in it.
func seesList(s *access.State, now time.Time, user, name string) (seen, full bool) {
	if s.Lists[name] == nil {
		return false, false
	}
	full = s.Owns(user, name, now) || mustMay(s, now, user, "read", resource.KindAccessList) == nil
	return full || s.IsMember(user, name, now), full
}

func (b *Broker) postMember(c *call) (any, error) {
	var in api.AddMember
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	ttl, err := duration("ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	_, err = b.ledger.grant(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Add(s, env, access.AddMember{List: c.PathValue("name"), Member: events.ListMember{Name: in.Name, Kind: in.Kind}, ExpiresAt: end(env.Now, ttl), Reason: in.Reason})
	})
	if err != nil {
		return nil, err
	}
	return b.list(c)
}

func (b *Broker) deleteMember(c *call) (any, error) {
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		m := events.ListMember{Name: c.PathValue("member"), Kind: c.PathValue("kind")}
		return access.Remove(s, env, access.RemoveMember{List: c.PathValue("name"), Member: m, Reason: c.FormValue("reason")})
	})
}

func (b *Broker) postListReview(c *call) (any, error) {
	var in api.ReviewList
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	cmd := access.ReviewList{List: c.PathValue("name"), Notes: in.Notes}
	for _, m := range in.Remove {
		cmd.Remove = append(cmd.Remove, events.ListMember(m))
	}
	_, err := b.ledger.grant(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Attest(s, env, cmd)
	})
	if err != nil {
		return nil, err
	}
	return b.list(c)
}

// postPromotion resolves a request into a membership. The list's own event is
// appended here, or by any broker's janitor if this one dies in between.
func (b *Broker) postPromotion(c *call) (any, error) {
	var in api.PromoteRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	ttl, err := duration("ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	id := c.PathValue("id")
	_, err = b.ledger.grant(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.DecidePromotion(s, env, access.Promote{RequestID: id, List: in.AccessList, ExpiresAt: end(env.Now, ttl), Reason: in.Reason})
	})
	if err == nil {
		err = b.tellList(c.Context(), in.AccessList)
	}
	if err != nil {
		return nil, err
	}
	return b.request(c, id)
}

// tellList appends what time and promotions have to say about a list.
func (b *Broker) tellList(ctx context.Context, name string) error {
	for {
		es, err := b.ledger.do(ctx, itself, func(s *access.State, env access.Env) ([]events.Event, error) { return access.TellList(s, env, name) })
		if err != nil || len(es) == 0 {
			return err
		}
	}
}

// end is when a duration from now is over; nil for none.
func end(now time.Time, d time.Duration) *time.Time {
	if d == 0 {
		return nil
	}
	t := now.Add(d).UTC()
	return &t
}
