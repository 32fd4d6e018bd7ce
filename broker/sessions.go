package broker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/view"
	"github.com/posternhq/postern/events"
)

func (b *Broker) getStatus(c *call) (any, error) {
	var out api.Status
	b.ledger.read(func(s *access.State, now time.Time) {
		out = view.Status(s, s.Users[c.who.User], now)
	})
	out.ExpiresAt, out.Device = c.who.ExpiresAt.UTC(), c.who.Device
	out.ProxyAddr, out.AuditorAddr = b.cfg.ProxyAddr(), b.cfg.AuditorAddr()
	return out, nil
}

func (b *Broker) getApps(c *call) (any, error) {
	out := api.Apps{Apps: []api.App{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		out.Apps = append(out.Apps, view.Apps(s, s.Users[c.who.User], now)...)
		for i, a := range out.Apps {
			out.Apps[i].ProxyAddrs = append([]string{}, b.proxiesFor(s, a.Labels, c.who.User+" "+a.Name, now)...)
		}
	})
	return out, nil
}

func (b *Broker) postSession(c *call) (any, error) {
	var in api.StartSession
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if in.App == "" {
		return nil, invalid("app: it is empty")
	}
	cmd := access.StartSession{
		User:        c.who.User,
		App:         in.App,
		AWSRole:     in.AWSRole,
		RequestID:   in.RequestID,
		ClientAddr:  c.clientAddr(),
		NotAfter:    c.who.ExpiresAt,
		Certificate: c.who.Serial,
		Device:      c.who.Device,
	}
	if err := b.sessionFactor(c, &in, &cmd); err != nil {
		return nil, err
	}
	es, err := b.ledger.grant(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Start(s, env, cmd)
	})
	var refusal *access.Error
	if errors.As(err, &refusal) && refusal.Code == access.NoFactor {
		have, _ := b.factors(c.who.User)
		return nil, asksFactor(refusal.Message, "", have)
	}
	if err != nil {
		return nil, err
	}
	started, ok := es[0].Data.(*events.SessionStarted)
	if !ok {
		return nil, fmt.Errorf("start of a session gave %T", es[0].Data)
	}
	var out api.Session
	b.ledger.read(func(s *access.State, now time.Time) {
		out = b.session(s, &access.Session{SessionStarted: started}, now)
	})
	return created{out}, nil
}

// session is a session with the proxies that serve it.
func (b *Broker) session(s *access.State, x *access.Session, now time.Time) api.Session {
	out := view.Session(x, now)
	out.ProxyAddrs = b.proxiesFor(s, x.AppLabels, x.SessionID, now)
	return out
}

// sessionFactor checks the second factor that came with the wish for a session.
func (b *Broker) sessionFactor(c *call, in *api.StartSession, cmd *access.StartSession) (err error) {
	switch {
	case in.TOTP != "":
		_, cmd.SecondFactor, err = b.proveFactor(c.Context(), c.who.User, factorProof{code: in.TOTP}, forSession, c.clientAddr())
	case in.Code != "":
		var p proof
		if p, err = b.redeem(forSession, in.Code, in.Verifier); err != nil {
			return err
		}
		if p.User != c.who.User || p.Flow.App != in.App {
			return &access.Error{Code: access.Denied, Message: "the browser's code is for another session"}
		}
		cmd.ID, cmd.SecondFactor = p.ID, p.FactorEvent
	}
	return err
}

// getSessions lists the caller's running sessions; ?user=NAME or ?user=* those
// of others, ?state=all those that are over too.
func (b *Broker) getSessions(c *call) (any, error) {
	user, state := cmp.Or(c.FormValue("user"), c.who.User), cmp.Or(c.FormValue("state"), access.Running)
	if user == "*" || user != c.who.User { // somebody may be called *
		if err := b.require(c.who, "list", "session"); err != nil {
			return nil, err
		}
	}
	if known := []string{access.Running, access.Ended, access.Expired, "all"}; !slices.Contains(known, state) {
		return nil, invalid("state: %q is none of %s", state, strings.Join(known, ", "))
	}
	out := api.Sessions{Sessions: []api.Session{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, id := range slices.Sorted(maps.Keys(s.Sessions)) {
			x := s.Sessions[id]
			if (user == "*" || user == x.User) && (state == "all" || state == x.State(now)) {
				out.Sessions = append(out.Sessions, view.Session(x, now))
			}
		}
	})
	return out, nil
}

func (b *Broker) getSession(c *call) (any, error) {
	var out api.Session
	var err error
	b.ledger.read(func(s *access.State, now time.Time) {
		var x *access.Session
		if x, err = ownSession(s, now, c, "read"); err == nil {
			out = b.session(s, x, now)
		}
	})
	return out, err
}

func (b *Broker) deleteSession(c *call) (any, error) {
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		x, err := ownSession(s, env.Now, c, "delete")
		if err != nil {
			return nil, err
		}
		return access.End(s, env, x.SessionID, "")
	})
}

// ownSession finds a session of the caller, or anybody's if a rule allows verb.
// Whose it is, is not told to others.
func ownSession(s *access.State, now time.Time, c *call, verb string) (*access.Session, error) {
	id := c.PathValue("id")
	x := s.Sessions[id]
	if x == nil || x.User != c.who.User && mustMay(s, now, c.who.User, verb, "session") != nil {
		return nil, &access.Error{Code: access.NotFound, Message: fmt.Sprintf("there is no session %s that %s may %s", id, c.who.User, verb)}
	}
	return x, nil
}
