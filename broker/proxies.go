package broker

import (
	"context"
	"net/http"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events"
)

func (b *Broker) postAnnouncement(c *call) (any, error) {
	var in api.Announcement
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	proxy, err := b.callingProxy(c)
	if err != nil {
		return nil, err
	}
	return b.Announce(c.Context(), proxy.Name, in)
}

func (b *Broker) deleteAnnouncement(c *call) (any, error) {
	proxy, err := b.callingProxy(c)
	if err != nil {
		return nil, err
	}
	return nil, b.Withdraw(c.Context(), proxy.Name, c.URL.Query().Get("addr"))
}

func (b *Broker) callingProxy(c *call) (identity.Agent, error) {
	agent, err := b.agent(c)
	if err == nil && agent.Kind != "proxy" {
		err = &api.Error{Status: http.StatusForbidden, Code: api.CodeDenied, Message: "only proxies announce themselves"}
	}
	return agent, err
}

// Announce records where users reach a proxy, and what it serves.
func (b *Broker) Announce(ctx context.Context, proxy string, in api.Announcement) (out api.Announced, err error) {
	if err := b.caughtUp(ctx); err != nil {
		return out, err
	}
	d := events.ProxyAnnounced{Proxy: proxy, Addr: in.Addr}
	for _, a := range in.Apps {
		d.Apps = append(d.Apps, events.AppSelector(a))
	}
	if _, err = b.ledger.do(ctx, proxy, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Announce(s, env, d)
	}); err != nil {
		return out, err
	}
	b.ledger.read(func(s *access.State, _ time.Time) {
		if p := s.Proxies[proxy]; p != nil { // else it withdrew meanwhile
			out.ExpiresAt = p.ExpiresAt
		}
	})
	return out, nil
}

// Withdraw records that a proxy, which announced addr, stops.
func (b *Broker) Withdraw(ctx context.Context, proxy, addr string) error {
	_, err := b.ledger.do(ctx, proxy, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Withdraw(s, env, proxy, addr)
	})
	return err
}

// proxiesFor are the proxies that serve an app with some labels, the first to try
// first: those of the configuration in its order or, where it names none, those that
// announced themselves, in an order that differs by key.
func (b *Broker) proxiesFor(s *access.State, labels map[string]string, key string, now time.Time) []string {
	if len(b.cfg.Proxies) == 0 {
		return s.ProxiesFor(labels, key, now)
	}
	var out []string
	for _, p := range b.cfg.Proxies {
		if p.Serves(labels) {
			out = append(out, p.Addr)
		}
	}
	return out
}
