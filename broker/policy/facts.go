package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// What filters of thresholds, where clauses of review_requests and auto-approval
// rules may speak about.
var (
	FilterVocabulary = Vocabulary{
		Texts:  []string{"request.reason", "review.reason"},
		Lists:  []string{"request.roles", "reviewer.roles"},
		Traits: []string{"reviewer.traits"},
	}
	WhereVocabulary = Vocabulary{
		Texts:  []string{"request.reason"},
		Lists:  []string{"request.roles", "reviewer.roles"},
		Traits: []string{"reviewer.traits"},
	}
	AutoVocabulary = Vocabulary{
		Texts:  []string{"request.reason", "user.name"},
		Lists:  []string{"request.roles", "user.roles"},
		Traits: []string{"user.traits"},
	}
)

// Wish is a request as those who decide see it.
type Wish struct {
	// User asks for Roles.
	User   string
	Roles  []string
	Reason string
}

// facts of a wish, seen by a subject in the role of a reviewer or of the asker.
func (s Subject) facts(as string, w Wish) Facts {
	return Facts{
		Lists: map[string][]string{
			"request.roles": w.Roles, "request.reason": {w.Reason},
			as + ".roles": s.RoleNames(), as + ".name": {s.User},
		},
		Traits: map[string]map[string][]string{as + ".traits": s.Traits},
	}
}

// CountsFor lists the thresholds, by index, for which a review of the subject
// counts. One whose filter this version cannot read counts nobody.
func (s Subject) CountsFor(ts []events.Threshold, w Wish, reviewReason string) []int {
	facts := s.facts("reviewer", w)
	facts.Lists["review.reason"] = []string{reviewReason}
	var out []int
	for i, t := range ts {
		if p, err := ParsePredicate(t.Filter, FilterVocabulary); err == nil && p.True(facts) {
			out = append(out, i)
		}
	}
	return out
}

// autoRule is an events.AutoApproval made ready.
type autoRule struct {
	name     string
	roles    []Pattern
	where    Predicate
	schedule *schedule
	max      time.Duration
}

// AutoApproval names the rules that approve a wish of the subject as it is made, for
// access of this length that begins at some time; "" where one of the roles has no such
// rule. A schedule has to be open now, and when the access begins.
func (s Subject) AutoApproval(w Wish, ttl time.Duration, now, begins time.Time) string {
	facts := s.facts("user", w)
	var names []string
	for _, role := range w.Roles {
		name := ""
		for _, h := range s.Roles {
			if !h.Standing() || h.broken {
				continue
			}
			i := slices.IndexFunc(h.allow.auto, func(a autoRule) bool {
				return anyMatch(a.roles, role, s.Traits) && a.where.True(facts) && a.schedule.open(now) && a.schedule.open(begins) && (a.max == 0 || ttl <= a.max)
			})
			if i >= 0 && name == "" {
				name = h.Name + "/" + h.allow.auto[i].name
			}
		}
		if name == "" {
			return ""
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
