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

func (b *Broker) postLock(c *call) (any, error) {
	var in api.CreateLock
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	ttl, err := duration("ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	es, err := b.ledger.do(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "create", "lock"); err != nil {
			return nil, err
		}
		cmd := access.PlaceLock{Target: events.LockTarget(in.Target), Message: in.Message}
		if ttl > 0 {
			end := env.Now.Add(ttl).UTC()
			cmd.ExpiresAt = &end
		}
		return access.Place(s, env, cmd)
	})
	if err != nil {
		return nil, err
	}
	placed, ok := es[0].Data.(*events.LockPlaced)
	if !ok {
		return nil, fmt.Errorf("placing a lock gave %T", es[0].Data)
	}
	out := view.Lock(&access.Lock{LockPlaced: *placed, PlacedAt: es[0].Time})
	b.ledger.read(func(s *access.State, _ time.Time) {
		if t := placed.Target; t.Kind == "agent" && t.Name != b.cfg.ProxyName && s.Proxies[t.Name] == nil {
			out.Warning = fmt.Sprintf("no proxy has announced itself as %s: if that is not what one is called, this lock stops nothing", t.Name)
		}
	})
	return created{out}, nil
}

func (b *Broker) getLocks(c *call) (any, error) {
	if err := b.require(c.who, "list", "lock"); err != nil {
		return nil, err
	}
	out := api.Locks{Locks: []api.Lock{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, id := range slices.Sorted(maps.Keys(s.Locks)) {
			if l := s.Locks[id]; l.Active(now) {
				out.Locks = append(out.Locks, view.Lock(l))
			}
		}
	})
	return out, nil
}

func (b *Broker) deleteLock(c *call) (any, error) {
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "delete", "lock"); err != nil {
			return nil, err
		}
		return access.Lift(s, env, c.PathValue("id"))
	})
}
