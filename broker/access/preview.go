package access

import (
	"maps"
	"slices"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Preview is what a CreateRequest would come to.
type Preview struct {
	Request *Request
	// AWSRoles are those that it would add, by app.
	AWSRoles map[string][]policy.Reach
	// Reviewers may decide on it.
	Reviewers []string
}

// DryRun decides a CreateRequest as Create does and says what it would come to.
func DryRun(s *State, env Env, c CreateRequest) (Preview, error) {
	es, err := Create(s, env, c)
	if err != nil {
		return Preview{}, err
	}
	q := &Request{CreatedAt: env.Now, status: Pending}
	for _, e := range es {
		switch d := e.Data.(type) {
		case *events.RequestCreated:
			q.RequestCreated = *d
		case *events.RequestApproved:
			q.status, q.Approval = Approved, d
		}
	}
	p := Preview{Request: q, AWSRoles: map[string][]policy.Reach{}}
	now := s.Subject(s.Users[c.User], env.Now)
	then := now
	for _, r := range s.named(q.Roles) {
		then.Roles = append(slices.Clip(then.Roles), policy.Held{Role: r, RequestID: q.RequestID, Only: q.Resources})
	}
	for name, app := range s.Apps {
		had := now.AWSRoles(app.App)
		for _, reach := range then.AWSRoles(app.App) {
			_, err := then.Grant(app.App, reach.ARN, "") // a role may lack a trait of theirs
			if err == nil && !slices.ContainsFunc(had, func(h policy.Reach) bool { return h.ARN == reach.ARN }) {
				p.AWSRoles[name] = append(p.AWSRoles[name], reach)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		if MayReview(s, env, name, q) == nil && len(s.Subject(s.Users[name], env.Now).CountsFor(q.Thresholds, q.Wish(), "")) > 0 {
			p.Reviewers = append(p.Reviewers, name)
		}
	}
	return p, nil
}
