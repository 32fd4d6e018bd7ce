package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Asking is what may be asked for, and how it is decided.
type Asking struct {
	// Roles are those to be granted: the ones asked for or, where only AWS
	// roles were, the ones that give these.
	Roles []string
	// Thresholds decide: of each of Sets, by index, one has to be met; no sets are
	// one of all.
	Thresholds     []events.Threshold
	Sets           [][]int
	Reviewers      []string
	ReasonRequired bool
	// MaxDuration of the access, 0 where no role bounds it.
	MaxDuration time.Duration
}

// Ask decides whether the subject may ask for roles and, one by one, for AWS
// role ARNs, or account ids, of apps; at once and reviewed afterwards where
// breakGlass. all are the roles that exist. Only standing roles count: what was
// granted for a while cannot be made into more. The error is a *Refusal.
func (s Subject) Ask(roles, arns []string, breakGlass bool, all []*Role, apps []events.App) (Asking, error) {
	var a Asking
	for _, name := range roles {
		if !slices.ContainsFunc(all, func(r *Role) bool { return r.Name == name }) {
			return Asking{}, &Refusal{fmt.Sprintf("there is no role %s", name)}
		}
		conds := s.askable(name, len(arns) > 0, breakGlass)
		if len(conds) == 0 {
			return Asking{}, &Refusal{fmt.Sprintf("no role of %s lets them %s role %s", s.User, wanting(breakGlass), name)}
		}
		a.add(name, conds)
	}
	for _, arn := range arns {
		found := false
		for _, r := range all {
			if len(roles) > 0 && !slices.Contains(roles, r.Name) {
				continue
			}
			conds := s.askable(r.Name, true, breakGlass)
			if len(conds) == 0 || !s.gives(r, arn, apps) {
				continue
			}
			found = true
			if !slices.Contains(a.Roles, r.Name) {
				a.add(r.Name, conds)
			}
		}
		if !found {
			return Asking{}, &Refusal{fmt.Sprintf("no role that %s may %s gives %s", s.User, wanting(breakGlass), arn)}
		}
	}
	return a.brief(), nil
}

func (a Asking) brief() Asking {
	if len(a.Sets) == 1 {
		a.Sets = nil
	}
	return a
}

func wanting(breakGlass bool) string {
	if breakGlass {
		return "break the glass for"
	}
	return "ask for"
}

// add takes in one role with the conditions under which it may be asked for,
// each of which has its own thresholds to be met.
func (a *Asking) add(name string, conds []*events.RequestConditions) {
	a.Roles = append(a.Roles, name)
	for _, c := range conds {
		a.Sets = addSet(a.Sets, a.indexes(c.Thresholds))
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
}

// indexes finds or adds thresholds; none at all is one approval or denial.
func (a *Asking) indexes(ts []events.Threshold) []int {
	if len(ts) == 0 {
		ts = []events.Threshold{{Approve: 1, Deny: 1}}
	}
	var out []int
	for _, t := range ts {
		i := slices.Index(a.Thresholds, t)
		if i < 0 {
			i = len(a.Thresholds)
			a.Thresholds = append(a.Thresholds, t)
		}
		out = append(out, i)
	}
	return out
}

func addSet(sets [][]int, set []int) [][]int {
	if slices.ContainsFunc(sets, func(other []int) bool { return slices.Equal(other, set) }) {
		return sets
	}
	return append(sets, set)
}

// Approving is how a single call is decided that roles want approved: by the
// thresholds that each of them has for its holders' requests.
func Approving(roles []*Role) Asking {
	var a Asking
	for _, r := range roles {
		c := r.Allow.Request
		if c == nil {
			c = &events.RequestConditions{}
		}
		a.add(r.Name, []*events.RequestConditions{c})
	}
	return a.brief()
}

// MayAsk reports whether the subject may still ask for a role, for itself or for an AWS role
// that it gives (search).
func (s Subject) MayAsk(role string, search bool) bool {
	return len(s.askable(role, search, false)) > 0
}

// askable returns the request conditions that let the subject ask for a role:
// for itself, or for an AWS role that it gives (search).
func (s Subject) askable(name string, search, breakGlass bool) []*events.RequestConditions {
	var out []*events.RequestConditions
	for _, h := range s.Roles {
		if !h.Standing() {
			continue
		}
		if h.broken || anyMatch(h.deny.request, name, s.Traits) || search && anyMatch(h.deny.searchAs, name, s.Traits) ||
			breakGlass && anyMatch(h.deny.breakGlass, name, s.Traits) {
			return nil
		}
		may := anyMatch(h.allow.request, name, s.Traits) || search && anyMatch(h.allow.searchAs, name, s.Traits)
		if breakGlass {
			may = anyMatch(h.allow.breakGlass, name, s.Traits)
		}
		if may {
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

// gives reports whether role r would let the subject use arn of some app, or
// some AWS role of an account.
func (s Subject) gives(r *Role, arn string, apps []events.App) bool {
	would := s.with(r)
	if _, ok := would.allowPermission(Held{Role: r}); !ok {
		return false // it lacks a trait of theirs, and allows no call
	}
	if CheckAccount(arn) == nil {
		return slices.ContainsFunc(apps, func(app events.App) bool {
			return slices.ContainsFunc(would.AWSRoles(app), func(reach Reach) bool {
				return Within([]string{arn}, reach.ARN) && slices.ContainsFunc(reach.Roles, func(h Held) bool { return h.Role == r })
			})
		})
	}
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
			len(s.askable(r.Name, false, false)) == 0 {
			continue
		}
		if _, ok := s.allowPermission(Held{Role: r}); !ok {
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

// Offers are the permissions that roles would add, where they narrow.
func (s Subject) Offers(roles []*Role) []events.Permission {
	var out []events.Permission
	for _, r := range roles {
		h := Held{Role: r}
		if p, _ := s.allowPermission(h); narrows(p) {
			out = append(out, p)
		}
		if p, ok := s.approvalPermission(h); ok {
			out = append(out, p)
		}
		if p, ok := s.denyPermission(h); ok {
			out = append(out, p)
		}
	}
	return out
}

// Review decides whether the subject may review a wish. The error is a *Refusal.
func (s Subject) Review(w Wish) error {
	if w.User == s.User {
		return &Refusal{"nobody reviews their own request"}
	}
	if len(w.Roles) == 0 {
		return &Refusal{"the request names no role"}
	}
	facts := s.facts("reviewer", w)
	for _, name := range w.Roles {
		allowed := false
		for _, h := range s.Roles {
			if !h.Standing() {
				continue
			}
			if h.broken || anyMatch(h.deny.review, name, s.Traits) && h.deny.where.True(facts) {
				return &Refusal{fmt.Sprintf("role %s keeps %s from reviewing requests for role %s", h.Name, s.User, name)}
			}
			allowed = allowed || anyMatch(h.allow.review, name, s.Traits) && h.allow.where.True(facts)
		}
		if !allowed {
			return &Refusal{fmt.Sprintf("no role of %s lets them review this request for role %s", s.User, name)}
		}
	}
	return nil
}
