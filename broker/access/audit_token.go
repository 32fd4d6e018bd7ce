package access

import (
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// AuditToken lets its holder put questions to the auditor.
type AuditToken struct {
	events.AuditTokenCreated
	CreatedAt time.Time
}

// Over reports whether the token has expired.
func (t *AuditToken) Over(now time.Time) bool { return !now.Before(t.ExpiresAt) }

// CreateAuditToken decides that whoever shows a token may ask. A name whose token
// is over or deleted may be taken again.
func CreateAuditToken(s *State, env Env, t events.AuditTokenCreated) ([]events.Event, error) {
	if !consumerName.MatchString(t.Name) {
		return nil, refuse(Invalid, "name %q: want letters, digits, - and _, 32 at most", t.Name)
	}
	for _, id := range t.AWSAccounts {
		if err := policy.CheckAccount(id); err != nil {
			return nil, refuse(Invalid, "account %q: %v", id, err)
		}
	}
	slices.Sort(t.AWSAccounts)
	t.AWSAccounts = slices.Compact(t.AWSAccounts)
	if !t.ExpiresAt.After(env.Now) {
		return nil, refuse(Invalid, "the token would be over already")
	}
	if old := s.AuditTokens[t.Name]; old != nil && !old.Over(env.Now) {
		e := refuse(Conflict, "there is a token %s already", t.Name)
		e.Next = fmt.Sprintf("postern audit tokens rm %s, or choose another name", t.Name)
		return nil, e
	}
	t.By = env.By
	return env.one("", "", &t), nil
}

// DeleteAuditToken ends a token.
func DeleteAuditToken(s *State, env Env, name string) ([]events.Event, error) {
	if s.AuditTokens[name] == nil {
		return nil, refuse(NotFound, "there is no token %s", name)
	}
	return env.one("", "", &events.AuditTokenDeleted{Name: name, By: env.By}), nil
}
