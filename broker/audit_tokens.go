package broker

import (
	"crypto/rand"
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

// maxAuditTokenTTL is a year: a token that nobody renews is one nobody looks after.
const maxAuditTokenTTL = 366 * 24 * time.Hour

// postAuditToken makes a token for the auditor's API. It is in the answer and
// nowhere else.
func (b *Broker) postAuditToken(c *call) (any, error) {
	var in api.NewAuditToken
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	ttl, err := duration("ttl", in.TTL)
	switch {
	case err != nil:
		return nil, err
	case in.AWSAccounts != nil && len(in.AWSAccounts) == 0: // not what somebody means who names none by mistake
		return nil, invalid("aws_accounts: is empty: name accounts, or leave it out for a token that is told of all")
	case ttl == 0:
		return nil, invalid("ttl: is missing: say how long the token is good for, such as 720h")
	case ttl > maxAuditTokenTTL:
		return nil, invalid("ttl: a token lives %d days at most", maxAuditTokenTTL/(24*time.Hour))
	}
	// The name tells the auditor which one it is; 52 letters are 260 bits.
	out := api.AuditTokenMade{Name: in.Name, Token: "pat." + in.Name + "." + rand.Text() + rand.Text()}
	err = b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "create", "audit_token"); err != nil {
			return nil, err
		}
		es, err := access.CreateAuditToken(s, env, events.AuditTokenCreated{
			Name: in.Name, SHA256: hashSecret(out.Token), AWSAccounts: slices.Clone(in.AWSAccounts), ExpiresAt: env.Now.Add(ttl).UTC().Truncate(time.Second),
		})
		if err == nil {
			made := es[0].Data.(*events.AuditTokenCreated)
			out.AWSAccounts, out.ExpiresAt = made.AWSAccounts, made.ExpiresAt
		}
		return es, err
	})
	if err != nil {
		return nil, err
	}
	if b.cfg.AuditorAddr != nil {
		out.AuditorAddr = b.cfg.AuditorAddr()
	}
	return created{out}, nil
}

func (b *Broker) getAuditTokens(c *call) (any, error) {
	if err := b.require(c.who, "list", "audit_token"); err != nil {
		return nil, err
	}
	out := api.AuditTokens{AuditTokens: []api.AuditToken{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, name := range slices.Sorted(maps.Keys(s.AuditTokens)) {
			t := s.AuditTokens[name]
			out.AuditTokens = append(out.AuditTokens, api.AuditToken{
				Name: name, AWSAccounts: t.AWSAccounts, CreatedAt: t.CreatedAt, By: t.By, ExpiresAt: t.ExpiresAt, Expired: t.Over(now),
			})
		}
	})
	return out, nil
}

func (b *Broker) deleteAuditToken(c *call) (any, error) {
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "delete", "audit_token"); err != nil {
			return nil, err
		}
		return access.DeleteAuditToken(s, env, c.PathValue("name"))
	})
}
