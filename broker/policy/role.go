package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Role is a role made ready for questions.
type Role struct {
	events.Role
	Revision uint64
	// CreatedSeq tells the role from an earlier one of its name: where in the stream it
	// was made.
	CreatedSeq  uint64
	allow, deny side
	broken      bool
}

// side is one side, allow or deny, of a role.
type side struct {
	labels                      []selector
	arns                        []Pattern
	actions, resources, regions []Pattern
	request, searchAs, review   []Pattern
	breakGlass, approve         []Pattern
	auto                        []autoRule
	// where narrows review.
	where Predicate
}

// selector asks one label of an app for one of values.
type selector struct {
	key    string
	values []Pattern
}

// Fault is what is wrong at one place of a role.
type Fault struct {
	// Path is the place as in a role's YAML: "spec.allow.aws_role_arns[2]".
	Path string
	Err  error
}

// Compile makes a role ready. A role with faults allows nothing and denies
// everything to its holders: it must be mended, not half obeyed.
func Compile(spec events.Role, revision uint64) (*Role, []Fault) {
	r := &Role{Role: spec, Revision: revision}
	c := compiler{}
	r.allow = c.side("spec.allow", spec.Allow)
	r.deny = c.side(denySide, spec.Deny)
	c.options(spec.Options)
	r.broken = len(c.faults) > 0
	return r, c.faults
}

// AllowsBy reports whether what the role allows depends on one of the traits.
func (r *Role) AllowsBy(traits map[string][]string) bool {
	uses := func(ps []Pattern) bool {
		return slices.ContainsFunc(ps, func(p Pattern) bool { return p.template != nil && len(traits[p.template.trait]) > 0 })
	}
	a := r.allow
	return slices.ContainsFunc(a.labels, func(s selector) bool { return uses(s.values) }) ||
		uses(a.arns) || uses(a.actions) || uses(a.resources) || uses(a.regions)
}

const denySide = "spec.deny"

type compiler struct{ faults []Fault }

func (c *compiler) fault(path string, err error) {
	c.faults = append(c.faults, Fault{Path: path, Err: err})
}

func (c *compiler) options(o events.RoleOptions) {
	const path = "spec.options"
	if o.MaxSessionTTL < 0 {
		c.fault(path+".max_session_ttl", fmt.Errorf("%d s is less than nothing", o.MaxSessionTTL))
	}
	for i, kind := range o.RealCredentials {
		if !slices.Contains(events.CredentialKinds(), kind) {
			c.fault(fmt.Sprintf("%s.real_credentials[%d]", path, i), fmt.Errorf("%q is not known; want one of %s", kind, strings.Join(events.CredentialKinds(), ", ")))
		}
	}
	if o.Lock != "" && o.Lock != events.LockStrict && o.Lock != events.LockBestEffort {
		c.fault(path+".lock", fmt.Errorf("%q is neither %s nor %s", o.Lock, events.LockStrict, events.LockBestEffort))
	}
	for _, l := range o.RateLimits {
		at := path + ".rate_limits." + l.Per
		switch {
		case l.Per != "user" && l.Per != "role":
			c.fault(path+".rate_limits", fmt.Errorf("%q is neither user nor role", l.Per))
		case l.Rate < 1 || l.Burst < 1 || l.Rate > maxRate || l.Burst > maxRate:
			c.fault(at, fmt.Errorf("rate and burst must be from 1 to %d requests", maxRate))
		}
	}
}

// maxRate is more than a proxy can carry.
const maxRate = 1_000_000

func (c *compiler) side(path string, s events.RoleConditions) side {
	out := side{
		arns:      c.patterns(path+".aws_role_arns", s.AWSRoleARNs, checkRoleARN),
		actions:   c.patterns(path+".aws_actions", s.AWSActions, checkAction),
		resources: c.patterns(path+".aws_resources", s.AWSResources, checkResource),
		regions:   c.patterns(path+".aws_regions", s.AWSRegions, checkRegion),
	}
	out.approve = c.patterns(path+".approve_actions", s.ApproveActions, checkAction)
	c.rules(path, s.Rules)
	if path == denySide && len(s.ApproveActions) > 0 {
		c.fault(path+".approve_actions", fmt.Errorf("it has no meaning on the deny side"))
	}
	for key, values := range s.AppLabels {
		at := path + ".app_labels." + key
		sel := selector{key: key, values: c.patterns(at, values, nil)}
		if key == "*" && (len(values) != 1 || values[0] != "*") {
			c.fault(at, fmt.Errorf(`the label "*" selects all apps; its value must be "*"`))
		}
		out.labels = append(out.labels, sel)
	}
	if q := s.Request; q != nil {
		out.request = c.patterns(path+".request.roles", q.Roles, nil)
		out.searchAs = c.patterns(path+".request.search_as_roles", q.SearchAsRoles, nil)
		for i, t := range q.Thresholds {
			at := fmt.Sprintf("%s.request.thresholds[%d]", path, i)
			switch {
			case t.Approve < 0 || t.Deny < 0:
				c.fault(at, fmt.Errorf("approve and deny must be 0 (never) or more"))
			case t.Approve+t.Deny == 0:
				c.fault(at, fmt.Errorf("it needs approve or deny: what is not given, or 0, never comes about"))
			}
			c.predicate(at+".filter", t.Filter, FilterVocabulary)
		}
		out.breakGlass = c.patterns(path+".request.break_glass_roles", q.BreakGlassRoles, nil)
		for i, a := range q.AutoApprove {
			out.auto = append(out.auto, c.autoRule(fmt.Sprintf("%s.request.auto_approve[%d]", path, i), a))
		}
		if path == denySide && len(q.AutoApprove) > 0 {
			c.fault(path+".request.auto_approve", fmt.Errorf("it has no meaning on the deny side"))
		}
	}
	if q := s.ReviewRequests; q != nil {
		out.review = c.patterns(path+".review_requests.roles", q.Roles, nil)
		if out.where = c.predicate(path+".review_requests.where", q.Where, WhereVocabulary); path == denySide && out.where.foreign {
			out.where = Predicate{} // it denies what it may mean, and more
		}
	}
	return out
}

// predicate reads a condition. One about what postern does not have is never true.
func (c *compiler) predicate(path, s string, vars Vocabulary) Predicate {
	p, err := ParsePredicate(s, vars)
	if err != nil && !p.foreign {
		c.fault(path, err)
	}
	return p
}

func (c *compiler) autoRule(path string, a events.AutoApproval) autoRule {
	out := autoRule{
		name:  a.Name,
		roles: c.patterns(path+".roles", a.Roles, nil),
		where: c.predicate(path+".where", a.Where, AutoVocabulary),
		max:   time.Duration(a.MaxDuration) * time.Second,
	}
	if a.Name == "" {
		c.fault(path+".name", fmt.Errorf("missing: approvals name their rule"))
	}
	if a.Schedule != nil {
		var err error
		if out.schedule, err = parseSchedule(*a.Schedule); err != nil {
			c.fault(path+".schedule", err)
		}
	}
	return out
}

func (c *compiler) patterns(path string, values []string, check func(string) error) []Pattern {
	out := make([]Pattern, 0, len(values))
	for i, v := range values {
		p, err := ParsePattern(v)
		if err == nil && v == "" {
			err = fmt.Errorf("empty")
		}
		if err == nil && check != nil {
			err = check(v)
		}
		if err != nil {
			c.fault(fmt.Sprintf("%s[%d]", path, i), err)
		}
		out = append(out, p)
	}
	return out
}

// checkRoleARN refuses what can match no IAM role; templates and wildcards
// show only when they are used.
func checkRoleARN(v string) error {
	if strings.Contains(v, "{{") || strings.HasPrefix(v, "^") {
		return nil
	}
	if strings.Contains(v, "*") {
		if !strings.HasPrefix(v, "*") && !strings.HasPrefix(v, "arn:") {
			return fmt.Errorf("%q matches no ARN: it must begin with arn: or *", v)
		}
		return nil
	}
	_, err := ParseRoleARN(v)
	return err
}

// IAM's form of an action, or one of IAM's access levels
// (https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html).
var actionForm = regexp.MustCompile(`(?i)^(\*|[a-z0-9*?-]+:[a-z0-9*?]+|([a-z0-9*?-]+:)?@(list|read|write|tagging|permissions management))$`)

func checkAction(v string) error {
	if strings.Contains(v, "{{") || actionForm.MatchString(v) {
		return nil
	}
	return fmt.Errorf(`%q is not an IAM action; want "s3:Get*", "@Read" or "s3:@Write" (levels: List, Read, Write, Tagging, Permissions management)`, v)
}

func checkResource(v string) error {
	if strings.Contains(v, "{{") || strings.HasPrefix(v, "*") || strings.HasPrefix(v, "arn:") {
		return nil
	}
	return fmt.Errorf("%q is not an ARN with wildcards: it must begin with arn: or *", v)
}

var regionForm = regexp.MustCompile(`^[a-z0-9*?-]+$`)

func checkRegion(v string) error {
	if strings.Contains(v, "{{") || regionForm.MatchString(v) {
		return nil
	}
	return fmt.Errorf("%q is not an AWS region with wildcards", v)
}

func anyMatch(ps []Pattern, v string, traits map[string][]string) bool {
	for _, p := range ps {
		if p.Match(v, traits) {
			return true
		}
	}
	return false
}

// matchLabels reports whether every selector finds its label with one of its
// values. No selector at all selects nothing.
func matchLabels(sel []selector, labels map[string]string, traits map[string][]string) bool {
	for _, s := range sel {
		if s.key == "*" {
			continue // checked when compiled: all apps
		}
		if v, ok := labels[s.key]; !ok || !anyMatch(s.values, v, traits) {
			return false
		}
	}
	return len(sel) > 0
}
