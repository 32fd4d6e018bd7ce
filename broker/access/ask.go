package access

import (
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Bounds of access requests.
const (
	maxText      = 4096 // bytes of a reason or message
	maxResources = 300
	maxRoles     = 50
	maxPending   = 100 // undecided requests of one user

	minTTL            = time.Minute
	defaultTTL        = time.Hour
	maxTTL            = 14 * 24 * time.Hour
	defaultPendingTTL = 24 * time.Hour
	maxPendingTTL     = 7 * 24 * time.Hour
)

// CreateRequest is the command to ask for access.
type CreateRequest struct {
	User string
	// Roles asked for; Resources are AWS role ARNs.
	Roles, Resources []string
	Reason           string
	// TTL of the access and of the wait for a decision; 0 means the default.
	TTL, PendingTTL time.Duration
}

// Create decides a CreateRequest.
func Create(s *State, env Env, c CreateRequest) ([]events.Event, error) {
	u, err := Admit(s, env.Now, c.User)
	if err != nil {
		return nil, err
	}
	roles, resources := distinct(c.Roles), distinct(c.Resources)
	if err := c.check(u, roles, resources); err != nil {
		return nil, err
	}
	waiting := 0
	for _, q := range s.pending {
		if q.User == c.User && q.State(env.Now) == Pending {
			waiting++
		}
	}
	if waiting >= maxPending {
		return nil, refuse(Conflict, "%s has %d requests that wait for a decision: drop some first", c.User, waiting)
	}
	ask, err := s.Subject(u, env.Now).Ask(roles, resources, s.allRoles(), s.allApps())
	if err != nil {
		return nil, denied(err)
	}
	if ask.ReasonRequired && c.Reason == "" {
		e := refuse(Invalid, "this request needs a reason")
		e.Next = createCommand(roles, resources)
		return nil, e
	}
	ttl := c.TTL
	if ttl == 0 {
		ttl = defaultTTL
		if ask.MaxDuration > 0 {
			ttl = min(ttl, ask.MaxDuration)
		}
	}
	switch {
	case ask.MaxDuration > 0 && ttl > ask.MaxDuration:
		return nil, refuse(Invalid, "the access may last %s at most, not %s", ask.MaxDuration, ttl)
	case ttl > maxTTL:
		return nil, refuse(Invalid, "the access may last %s at most, not %s", maxTTL, ttl)
	case ttl < minTTL:
		return nil, refuse(Invalid, "the access must last %s at least, not %s", minTTL, ttl)
	}
	wait := c.PendingTTL
	if wait == 0 {
		wait = defaultPendingTTL
	}
	if wait < minTTL || wait > maxPendingTTL {
		return nil, refuse(Invalid, "a request waits between %s and %s for a decision, not %s", minTTL, maxPendingTTL, wait)
	}
	id := env.NewID()
	return env.one(id, "", &events.RequestCreated{
		RequestID:  id,
		User:       c.User,
		Roles:      ask.Roles,
		Resources:  resources,
		Reason:     c.Reason,
		TTL:        int64(ttl / time.Second),
		ExpiresAt:  env.Now.Add(wait).UTC(),
		Thresholds: ask.Thresholds,
		Reviewers:  ask.Reviewers,
	}), nil
}

func (c CreateRequest) check(u *User, roles, resources []string) error {
	switch {
	case len(roles)+len(resources) == 0:
		return refuse(Invalid, "a request asks for roles or for AWS role ARNs")
	case len(roles) > maxRoles:
		return refuse(Invalid, "a request asks for %d roles at most", maxRoles)
	case len(resources) > maxResources:
		return refuse(Invalid, "a request asks for %d AWS role ARNs at most", maxResources)
	case len(c.Reason) > maxText:
		return refuse(Invalid, "the reason has %d bytes; %d at most", len(c.Reason), maxText)
	}
	for _, r := range roles {
		if slices.Contains(u.Roles, r) {
			return refuse(Invalid, "%s holds role %s already", u.Name, r)
		}
	}
	for _, r := range resources {
		if _, err := policy.ParseRoleARN(r); err != nil {
			return refuse(Invalid, "%v", err)
		}
	}
	return nil
}

func distinct(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
