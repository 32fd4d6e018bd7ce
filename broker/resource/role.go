package resource

import (
	"cmp"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

func (r *reader) role(n *yaml.Node, path string, meta metadata) *events.Role {
	role := &events.Role{Name: meta.name, Description: meta.description, Labels: meta.labels}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"options": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"max_session_ttl": func(n *yaml.Node, at string) {
					role.Options.MaxSessionTTL = int64(r.duration(n, at) / time.Second)
				},
				"real_credentials": func(n *yaml.Node, at string) { role.Options.RealCredentials = r.list(n, at) },
				"dry_run":          func(n *yaml.Node, at string) { role.Options.DryRun = r.flag(n, at) },
				"rate_limits": func(n *yaml.Node, at string) {
					known := map[string]func(*yaml.Node, string){}
					for _, per := range []string{"user", "role"} {
						known[per] = func(n *yaml.Node, at string) {
							role.Options.RateLimits = append(role.Options.RateLimits, r.rateLimit(n, at, per))
						}
					}
					r.fields(n, at, known, nil)
					slices.SortFunc(role.Options.RateLimits, func(a, b events.RateLimit) int { return cmp.Compare(a.Per, b.Per) })
				},
				"lock":                func(n *yaml.Node, at string) { role.Options.Lock = r.text(n, at) },
				"require_session_mfa": func(n *yaml.Node, at string) { role.Options.RequireSessionMFA = r.sessionMFA(n, at) },
			}, teleportOptions)
		},
		"allow": func(n *yaml.Node, at string) { r.conditions(n, at, &role.Allow, false) },
		"deny":  func(n *yaml.Node, at string) { r.conditions(n, at, &role.Deny, true) },
	}, nil)
	return role
}

// rateLimit reads {rate, burst}; burst is rate where it is not given.
func (r *reader) rateLimit(n *yaml.Node, path, per string) events.RateLimit {
	l := events.RateLimit{Per: per}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"rate":  func(n *yaml.Node, at string) { l.Rate = r.number(n, at) },
		"burst": func(n *yaml.Node, at string) { l.Burst = r.number(n, at) },
	}, nil)
	l.Burst = cmp.Or(l.Burst, l.Rate)
	return l
}

// sessionMFA reads yes or no. Teleport's stricter values ask for a hardware key
// that postern cannot tell from others.
func (r *reader) sessionMFA(n *yaml.Node, path string) bool {
	switch v := r.text(n, path); v {
	case "session", "true", "yes", "on", "1":
		return true
	case "false", "no", "off", "0", "":
	default:
		r.fault(n, path, "%q is not supported: want true or false", v)
	}
	return false
}

func (r *reader) conditions(n *yaml.Node, path string, c *events.RoleConditions, deny bool) {
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"app_labels":      func(n *yaml.Node, at string) { c.AppLabels = r.lists(n, at) },
		"aws_role_arns":   func(n *yaml.Node, at string) { c.AWSRoleARNs = r.list(n, at) },
		"aws_actions":     func(n *yaml.Node, at string) { c.AWSActions = r.list(n, at) },
		"aws_resources":   func(n *yaml.Node, at string) { c.AWSResources = r.list(n, at) },
		"aws_regions":     func(n *yaml.Node, at string) { c.AWSRegions = r.list(n, at) },
		"approve_actions": func(n *yaml.Node, at string) { c.ApproveActions = r.list(n, at) },
		"request":         func(n *yaml.Node, at string) { c.Request = r.request(n, at, deny) },
		"review_requests": func(n *yaml.Node, at string) {
			c.ReviewRequests = r.review(n, at, deny)
		},
		"rules": func(n *yaml.Node, at string) {
			r.items(n, at, func(n *yaml.Node, at string) {
				if rule, ok := r.rule(n, at, deny); ok {
					c.Rules = append(c.Rules, rule)
				}
			})
		},
		// Without it the role would select more apps than it says.
		"app_labels_expression": func(n *yaml.Node, at string) {
			r.fault(n, at, "label expressions are not supported: use app_labels")
		},
	}, teleportConditions)
}

func (r *reader) request(n *yaml.Node, path string, deny bool) *events.RequestConditions {
	q := &events.RequestConditions{}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"roles":               func(n *yaml.Node, at string) { q.Roles = r.list(n, at) },
		"search_as_roles":     func(n *yaml.Node, at string) { q.SearchAsRoles = r.list(n, at) },
		"suggested_reviewers": func(n *yaml.Node, at string) { q.SuggestedReviewers = r.list(n, at) },
		"max_duration":        func(n *yaml.Node, at string) { q.MaxDuration = int64(r.duration(n, at) / time.Second) },
		"thresholds": func(n *yaml.Node, at string) {
			r.items(n, at, func(n *yaml.Node, at string) { q.Thresholds = append(q.Thresholds, r.threshold(n, at)) })
		},
		"reason": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"mode": func(n *yaml.Node, at string) {
					switch mode := r.text(n, at); mode {
					case "required":
						q.ReasonRequired = true
					case "optional", "":
					default:
						r.fault(n, at, "%q is not required or optional", mode)
					}
				},
			}, []string{"prompt"})
		},
		"break_glass_roles": func(n *yaml.Node, at string) { q.BreakGlassRoles = r.list(n, at) },
		"auto_approve": func(n *yaml.Node, at string) {
			r.items(n, at, func(n *yaml.Node, at string) { q.AutoApprove = append(q.AutoApprove, r.autoApproval(n, at)) })
		},
		"claims_to_roles": func(n *yaml.Node, at string) { r.claims(n, at, deny) },
	}, []string{"annotations", "kubernetes_resources"})
	if reflect.ValueOf(*q).IsZero() {
		return nil
	}
	return q
}

func (r *reader) threshold(n *yaml.Node, path string) events.Threshold {
	var t events.Threshold // as in Teleport, what is not given never comes about
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"name":    func(n *yaml.Node, at string) { t.Name = r.text(n, at) },
		"approve": func(n *yaml.Node, at string) { t.Approve = r.number(n, at) },
		"deny":    func(n *yaml.Node, at string) { t.Deny = r.number(n, at) },
		"filter":  func(n *yaml.Node, at string) { t.Filter = r.predicate(n, at, policy.FilterVocabulary) },
	}, nil)
	return t
}

// predicate reads a condition; what is wrong with it shows when the role is
// checked. One about what postern does not have is reported.
func (r *reader) predicate(n *yaml.Node, path string, vars policy.Vocabulary) string {
	s := r.text(n, path)
	if p, err := policy.ParsePredicate(s, vars); p.Foreign() {
		r.warn(n, path, err.Error())
	}
	return s
}

func (r *reader) autoApproval(n *yaml.Node, path string) events.AutoApproval {
	var a events.AutoApproval
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"name":         func(n *yaml.Node, at string) { a.Name = r.text(n, at) },
		"roles":        func(n *yaml.Node, at string) { a.Roles = r.list(n, at) },
		"where":        func(n *yaml.Node, at string) { a.Where = r.predicate(n, at, policy.AutoVocabulary) },
		"max_duration": func(n *yaml.Node, at string) { a.MaxDuration = int64(r.duration(n, at) / time.Second) },
		"schedule": func(n *yaml.Node, at string) {
			a.Schedule = &events.Schedule{}
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"time_zone": func(n *yaml.Node, at string) { a.Schedule.TimeZone = r.text(n, at) },
				"windows": func(n *yaml.Node, at string) {
					r.items(n, at, func(n *yaml.Node, at string) { a.Schedule.Windows = append(a.Schedule.Windows, r.window(n, at)) })
				},
			}, nil)
		},
	}, nil)
	return a
}

func (r *reader) window(n *yaml.Node, path string) events.Window {
	var w events.Window
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"days":  func(n *yaml.Node, at string) { w.Days = r.list(n, at) },
		"start": func(n *yaml.Node, at string) { w.Start = r.text(n, at) },
		"end":   func(n *yaml.Node, at string) { w.End = r.text(n, at) },
	}, nil)
	return w
}

func (r *reader) review(n *yaml.Node, path string, deny bool) *events.ReviewConditions {
	q := &events.ReviewConditions{}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"roles":            func(n *yaml.Node, at string) { q.Roles = r.list(n, at) },
		"preview_as_roles": func(n *yaml.Node, at string) { q.PreviewAsRoles = r.list(n, at) },
		"where":            func(n *yaml.Node, at string) { q.Where = r.predicate(n, at, policy.WhereVocabulary) },
		"claims_to_roles":  func(n *yaml.Node, at string) { r.claims(n, at, deny) },
	}, nil)
	if reflect.ValueOf(*q).IsZero() {
		return nil
	}
	return q
}

// claims may be lost where they allow, not where they deny.
func (r *reader) claims(n *yaml.Node, path string, deny bool) {
	switch {
	case isEmpty(n):
	case deny:
		r.fault(n, path, "is not supported: what it denies would be allowed")
	default:
		r.warn(n, path, "has no effect in postern")
	}
}

// resourceForm is that of the names of Teleport's resources, of which every version
// has more: what may be one is reported, unless it looks like a typing error for one
// of ours.
var (
	resourceForm = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	nothing      = regexp.MustCompile(`$^`)
)

// similar tells names that differ by a letter or, if they are long, two
// (Levenshtein's distance).
func similar(a, b string) bool {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left = row[j+1]
			row[j+1] = min(cost, row[j]+1, left+1)
		}
	}
	if min(len(a), len(b)) < 5 {
		return row[len(b)] <= 1
	}
	return row[len(b)] <= 2
}

// rule reads access to postern's own resources; Teleport's others fall away.
func (r *reader) rule(n *yaml.Node, path string, deny bool) (events.ResourceRule, bool) {
	var rule events.ResourceRule
	conditional := false
	named := func(n *yaml.Node, at string, ours, theirs []string, others *regexp.Regexp) []string {
		var out []string
		for _, v := range r.list(n, at) {
			switch {
			case v == "*" || slices.Contains(ours, v):
				out = append(out, v)
			case slices.Contains(theirs, v), others.MatchString(v) && !slices.ContainsFunc(ours, func(o string) bool { return similar(v, o) }):
				r.warn(n, at, v+" has no meaning in postern")
			default:
				r.fault(n, at, "%q is not known; want one of %s or *", v, strings.Join(ours, ", "))
			}
		}
		return out
	}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"resources": func(n *yaml.Node, at string) {
			rule.Resources = named(n, at, policy.RuleResources(), teleportResources, resourceForm)
		},
		"verbs": func(n *yaml.Node, at string) {
			rule.Verbs = named(n, at, policy.RuleVerbs(), teleportVerbs, nothing)
		},
		"aws_accounts": func(n *yaml.Node, at string) {
			if rule.AWSAccounts = r.list(n, at); len(rule.AWSAccounts) == 0 {
				r.fault(n, at, "is empty: leave it out to allow all accounts, or remove the rule to allow none")
			}
		},
		"where": func(n *yaml.Node, at string) {
			if conditional = !isEmpty(n); conditional && !deny {
				r.warn(n, at, "conditions cannot be evaluated yet: this rule allows nothing")
			}
		},
	}, []string{"actions"})
	return rule, len(rule.Resources) > 0 && len(rule.Verbs) > 0 && (deny || !conditional)
}
