package access

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Bounds of access requests.
const (
	maxText      = 4096 // bytes of a reason or message
	maxResources = 300
	maxRoles     = 50
	maxReviewers = 50  // that are suggested
	maxPending   = 100 // undecided requests of one user

	minTTL            = time.Minute
	defaultTTL        = time.Hour
	maxTTL            = 14 * 24 * time.Hour
	defaultPendingTTL = 24 * time.Hour
	maxPendingTTL     = 7 * 24 * time.Hour
	maxAhead          = 7 * 24 * time.Hour // of the start of the access
)

// CreateRequest is the command to ask for access.
type CreateRequest struct {
	User string
	// Roles asked for; Resources are AWS role ARNs or account ids.
	Roles, Resources []string
	Reason           string
	// TTL of the access and of the wait for a decision; 0 means the default.
	TTL, PendingTTL time.Duration
	// StartsAt is when the access begins at the earliest; zero is at once.
	StartsAt time.Time
	// Reviewers are suggested in place of those that roles suggest.
	Reviewers []string
	// BreakGlass takes the access at once; a review is owed afterwards.
	BreakGlass bool
}

// Create decides a CreateRequest: the request and, where a rule or the breaking
// of the glass approves it, the approval.
func Create(s *State, env Env, c CreateRequest) ([]events.Event, error) {
	u, err := Admit(s, env.Now, c.User)
	if err != nil {
		return nil, err
	}
	named := make([]string, len(c.Resources))
	for i, r := range c.Resources {
		named[i] = accountOf(r)
	}
	c.Roles, c.Resources = distinct(c.Roles), distinct(named)
	if err := c.check(u, env.Now); err != nil {
		return nil, err
	}
	if err := s.room(c.User, env.Now); err != nil {
		return nil, err
	}
	sub := s.Subject(u, env.Now)
	ask, err := sub.Ask(c.Roles, c.Resources, c.BreakGlass, s.allRoles(), s.allApps())
	if err != nil {
		return nil, denied(err)
	}
	if !saysSomething(c.Reason) && (ask.ReasonRequired || c.BreakGlass) {
		e := refuse(Invalid, "this request needs a reason")
		e.Next = createCommand(c.Roles, c.Resources)
		return nil, e
	}
	ttl, wait, err := c.times(ask.MaxDuration)
	if err != nil {
		return nil, err
	}
	id := env.NewID()
	asked := &events.RequestCreated{
		RequestID:     id,
		User:          c.User,
		Roles:         ask.Roles,
		Resources:     c.Resources,
		Reason:        c.Reason,
		TTL:           int64(ttl / time.Second),
		ExpiresAt:     env.Now.Add(wait).UTC(),
		Thresholds:    ask.Thresholds,
		ThresholdSets: ask.Sets,
		Reviewers:     ask.Reviewers,
		BreakGlass:    c.BreakGlass,
	}
	if len(c.Reviewers) > 0 {
		asked.Reviewers = distinct(c.Reviewers)
	}
	if !c.StartsAt.IsZero() {
		at := c.StartsAt.UTC()
		asked.StartsAt = &at
	}
	out := env.one(id, "", asked)
	begins := env.Now
	if !c.StartsAt.IsZero() {
		begins = c.StartsAt
	}
	rule := sub.AutoApproval(policy.Wish{User: c.User, Roles: ask.Roles, Reason: c.Reason}, ttl, env.Now, begins)
	if rule == "" && !c.BreakGlass {
		return out, nil
	}
	approval := approve(asked, env.Now)
	approval.Reviewers = []string{}
	if approval.BreakGlass = c.BreakGlass; !c.BreakGlass {
		approval.Rule = rule
	}
	return append(out, env.event(id, out[0].ID, approval)), nil
}

// saysSomething reports whether a text has a letter or a digit.
func saysSomething(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

// approve grants what was asked for.
func approve(q *events.RequestCreated, now time.Time) *events.RequestApproved {
	a := &events.RequestApproved{RequestID: q.RequestID, User: q.User, Roles: q.Roles, Resources: q.Resources}
	start := now
	if q.StartsAt != nil && q.StartsAt.After(now) {
		start, a.AccessStartsAt = *q.StartsAt, q.StartsAt
	}
	a.AccessExpiresAt = start.Add(seconds(q.TTL)).UTC()
	return a
}

// room refuses one more request of somebody who has too many undecided.
func (s *State) room(user string, now time.Time) error {
	waiting := 0
	for _, q := range s.pending {
		if q.User == user && q.State(now) == Pending {
			waiting++
		}
	}
	if waiting >= maxPending {
		return refuse(Conflict, "%s has %d requests that wait for a decision: drop some first", user, waiting)
	}
	return nil
}

// times are how long the access lasts and how long the request waits.
func (c CreateRequest) times(longest time.Duration) (ttl, wait time.Duration, err error) {
	if longest == 0 || longest > maxTTL {
		longest = maxTTL
	}
	if ttl = c.TTL; ttl == 0 {
		ttl = min(defaultTTL, longest)
	}
	if wait = c.PendingTTL; wait == 0 {
		wait = defaultPendingTTL
	}
	switch {
	case ttl > longest:
		err = refuse(Invalid, "the access may last %s at most, not %s", longest, ttl)
	case ttl < minTTL:
		err = refuse(Invalid, "the access must last %s at least, not %s", minTTL, ttl)
	case wait < minTTL || wait > maxPendingTTL:
		err = refuse(Invalid, "a request waits between %s and %s for a decision, not %s", minTTL, maxPendingTTL, wait)
	}
	return ttl, wait, err
}

func (c CreateRequest) check(u *User, now time.Time) error {
	switch {
	case len(c.Roles)+len(c.Resources) == 0:
		return refuse(Invalid, "a request asks for roles, AWS role ARNs or AWS accounts")
	case len(c.Roles) > maxRoles:
		return refuse(Invalid, "a request asks for %d roles at most", maxRoles)
	case len(c.Resources) > maxResources:
		return refuse(Invalid, "a request asks for %d AWS roles and accounts at most", maxResources)
	case len(c.Reviewers) > maxReviewers:
		return refuse(Invalid, "a request suggests %d reviewers at most", maxReviewers)
	case len(c.Reason) > maxText:
		return refuse(Invalid, "the reason has %d bytes; %d at most", len(c.Reason), maxText)
	case c.StartsAt.After(now.Add(maxAhead)):
		return refuse(Invalid, "the access may begin %s from now at most", maxAhead)
	case !c.StartsAt.IsZero() && c.BreakGlass:
		return refuse(Invalid, "who breaks the glass gets in now: a start makes no sense")
	case !c.StartsAt.IsZero() && !c.StartsAt.After(now):
		return refuse(Invalid, "the access cannot begin at %s, which is over", c.StartsAt.UTC().Format(time.RFC3339))
	}
	for _, r := range c.Roles {
		if slices.Contains(u.Roles, r) {
			return refuse(Invalid, "%s holds role %s already", u.Name, r)
		}
	}
	for _, r := range c.Resources {
		if policy.CheckAccount(r) == nil {
			continue
		}
		if _, err := policy.ParseRoleARN(r); err != nil {
			return refuse(Invalid, "%v; an account is 12 digits", err)
		}
	}
	for _, r := range c.Reviewers {
		if err := CheckUserName(r); err != nil {
			return refuse(Invalid, "reviewer: %v", err)
		}
	}
	return nil
}

// accountOf makes an account id of IAM's name for an account,
// "arn:aws:iam::123456789012:root"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html).
func accountOf(resource string) string {
	rest, ok := strings.CutSuffix(resource, ":root")
	if parts := strings.Split(rest, ":"); ok && len(parts) == 5 && parts[0] == "arn" && parts[2] == "iam" && parts[3] == "" {
		return parts[4]
	}
	return resource
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
