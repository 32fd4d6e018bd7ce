package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Asking is what may be asked for, and how it is decided.
type Asking struct {
	// Roles are those to be granted: the ones asked for or, where only AWS
	// roles were, the ones that give these.
	Roles          []string
	Thresholds     []events.Threshold
	Reviewers      []string
	ReasonRequired bool
	// MaxDuration of the access, 0 where no role bounds it.
	MaxDuration time.Duration
}

// Ask decides whether the subject may ask for roles and, one by one, for AWS
// role ARNs of apps. all are the roles that exist. Only standing roles count:
// what was granted for a while cannot be made into more. The error is a *Refusal.
func (s Subject) Ask(roles, arns []string, all []*Role, apps []events.App) (Asking, error) {
	var a Asking
	var sets [][]events.Threshold
	add := func(name string, conds []*events.RequestConditions) {
		var set []events.Threshold
		for _, c := range conds {
			if len(c.Thresholds) == 0 {
				set = append(set, events.Threshold{Approve: 1, Deny: 1})
			}
			set = append(set, c.Thresholds...)
			a.ReasonRequired = a.ReasonRequired || c.ReasonRequired
			if d := time.Duration(c.MaxDuration) * time.Second; d > 0 && (a.MaxDuration == 0 || d < a.MaxDuration) {
				a.MaxDuration = d
			}
			for _, r := range c.SuggestedReviewers {
				if !slices.Contains(a.Reviewers, r) {
					a.Reviewers = append(a.Reviewers, r)
				}
			}
		}
		a.Roles = append(a.Roles, name)
		sets = append(sets, set)
	}
	for _, name := range roles {
		if !slices.ContainsFunc(all, func(r *Role) bool { return r.Name == name }) {
			return Asking{}, &Refusal{fmt.Sprintf("there is no role %s", name)}
		}
		conds := s.askable(name, len(arns) > 0)
		if len(conds) == 0 {
			return Asking{}, &Refusal{fmt.Sprintf("no role of %s lets them ask for role %s", s.User, name)}
		}
		add(name, conds)
	}
	for _, arn := range arns {
		found := false
		for _, r := range all {
			if len(roles) > 0 && !slices.Contains(roles, r.Name) {
				continue
			}
			conds := s.askable(r.Name, true)
			if len(conds) == 0 || !s.gives(r, arn, apps) {
				continue
			}
			found = true
			if !slices.Contains(a.Roles, r.Name) {
				add(r.Name, conds)
			}
		}
		if !found {
			return Asking{}, &Refusal{fmt.Sprintf("no role that %s may ask for gives %s", s.User, arn)}
		}
	}
	if a.Thresholds = combine(sets); len(a.Thresholds) == 0 {
		return Asking{}, &Refusal{fmt.Sprintf("every threshold for %s has a filter, which this version cannot evaluate: nobody could approve the request", strings.Join(a.Roles, ", "))}
	}
	return a, nil
}

// askable returns the request conditions that let the subject ask for a role:
// for itself, or for an AWS role that it gives (search).
func (s Subject) askable(name string, search bool) []*events.RequestConditions {
	var out []*events.RequestConditions
	for _, h := range s.Roles {
		if !h.Standing() {
			continue
		}
		if h.broken || anyMatch(h.deny.request, name, s.Traits) || search && anyMatch(h.deny.searchAs, name, s.Traits) {
			return nil
		}
		if anyMatch(h.allow.request, name, s.Traits) || search && anyMatch(h.allow.searchAs, name, s.Traits) {
			out = append(out, h.Allow.Request)
		}
	}
	return out
}

// with is the subject as if one more role were in hand.
func (s Subject) with(r *Role) Subject {
	s.Roles = append(slices.Clone(s.Roles), Held{Role: r})
	return s
}

// gives reports whether role r would let the subject use arn of some app.
func (s Subject) gives(r *Role, arn string, apps []events.App) bool {
	would := s.with(r)
	for _, app := range apps {
		if Belongs(app, arn) && would.denial(app, arn) == "" &&
			slices.ContainsFunc(would.allowing(app, arn), func(h Held) bool { return h.Role == r }) {
			return true
		}
	}
	return false
}

// Requestable returns, for every AWS role of app, the roles that the subject
// does not hold, may ask for, and would reach it with.
func (s Subject) Requestable(app events.App, all []*Role) map[string][]string {
	out := map[string][]string{}
	for _, r := range all {
		if slices.ContainsFunc(s.Roles, func(h Held) bool { return h.Name == r.Name && h.Only == nil }) ||
			len(s.askable(r.Name, false)) == 0 {
			continue
		}
		for _, reach := range s.with(r).AWSRoles(app) {
			if slices.ContainsFunc(reach.Roles, func(h Held) bool { return h.Role == r }) {
				out[reach.ARN] = append(out[reach.ARN], r.Name)
			}
		}
	}
	return out
}

// combine makes one list of thresholds, any of which decides, out of the lists
// of several roles asked for together. Where these differ, the strictest
// approval and the easiest denial hold, so that asking for two roles at once
// is never a way around one's quorum. Thresholds with a filter are left out:
// counting anybody's review would be more than they allow.
func combine(sets [][]events.Threshold) []events.Threshold {
	plain := make([][]events.Threshold, 0, len(sets))
	for _, set := range sets {
		kept := slices.DeleteFunc(slices.Clone(set), func(t events.Threshold) bool { return t.Filter != "" })
		if len(kept) == 0 {
			return nil
		}
		plain = append(plain, kept)
	}
	if len(plain) == 0 {
		return nil
	}
	alike := true
	for _, set := range plain {
		alike = alike && slices.Equal(set, plain[0])
	}
	if alike {
		return plain[0]
	}
	c := events.Threshold{Name: "combined", Approve: 1, Deny: plain[0][0].Deny}
	for _, set := range plain {
		easiest := slices.MinFunc(set, func(a, b events.Threshold) int { return a.Approve - b.Approve })
		c.Approve = max(c.Approve, easiest.Approve)
		for _, t := range set {
			c.Deny = min(c.Deny, t.Deny)
		}
	}
	return []events.Threshold{c}
}

// Review decides whether the subject may review a request of asker for roles.
// The error is a *Refusal.
func (s Subject) Review(asker string, roles []string) error {
	if asker == s.User {
		return &Refusal{"nobody reviews their own request"}
	}
	if len(roles) == 0 {
		return &Refusal{"the request names no role"}
	}
	for _, name := range roles {
		allowed := false
		for _, h := range s.Roles {
			if !h.Standing() {
				continue
			}
			if h.broken || anyMatch(h.deny.review, name, s.Traits) {
				return &Refusal{fmt.Sprintf("role %s keeps %s from reviewing requests for role %s", h.Name, s.User, name)}
			}
			// A condition that cannot be evaluated yet must not widen the role.
			if q := h.Allow.ReviewRequests; q != nil && q.Where == "" && anyMatch(h.allow.review, name, s.Traits) {
				allowed = true
			}
		}
		if !allowed {
			return &Refusal{fmt.Sprintf("no role of %s lets them review requests for role %s", s.User, name)}
		}
	}
	return nil
}
