package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Grant is what a session may rest on.
type Grant struct {
	// Roles allow the AWS role and last as long as the session may.
	Roles []Held
	// Until is the first end of what they rest on, zero for none.
	Until time.Time
	// MaxTTL is the shortest max_session_ttl of all roles in play, 0 for none.
	MaxTTL time.Duration
	// Permissions as in events.SessionStarted.
	Permissions []events.Permission
	// RealCredentials and RateLimits as in events.SessionStarted.
	RealCredentials []string
	RateLimits      []events.RateLimit
}

// AsksFactor names a role that asks for a second factor at the start of a
// session, "" where none does.
func (g Grant) AsksFactor() string {
	for _, h := range g.Roles {
		if h.Options.RequireSessionMFA {
			return h.Name
		}
	}
	return ""
}

// RequestIDs are the access requests that the grant rests on, without repeats.
func (g Grant) RequestIDs() []string {
	var out []string
	for _, h := range g.Roles {
		if !h.Standing() && !slices.Contains(out, h.RequestID) {
			out = append(out, h.RequestID)
		}
	}
	slices.Sort(out)
	return out
}

// Lists are the access lists that the grant rests on, without repeats.
func (g Grant) Lists() []string {
	var out []string
	for _, h := range g.Roles {
		out = append(out, h.Lists...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Refusal is why somebody may not.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// Grant decides whether the subject may use arn of app. requestID picks the
// access request to rest on; empty leaves the choice. The error is a *Refusal.
//
// A session holds only roles that last as long as it does, so that grants that
// overlap each end in their own time. Where a role without an end gives all
// there is to have, nothing else is needed. Otherwise the request, or the list
// that gives all there is to have, that ends last is chosen, with every role
// that lasts as long. Where there is none, lists that each give some of it end
// the session together with the first of them.
func (s Subject) Grant(app events.App, arn, requestID string) (Grant, error) {
	if reason := s.denial(app, arn); reason != "" {
		return Grant{}, &Refusal{reason}
	}
	if !Belongs(app, arn) {
		return Grant{}, &Refusal{fmt.Sprintf("%s is not an AWS role of app %s", arn, app.Name)}
	}
	held := s.allowing(app, arn)
	if len(held) == 0 {
		return Grant{}, &Refusal{s.why(app, arn)}
	}
	until := s.lasting(held, requestID)
	if requestID != "" && until.IsZero() {
		return Grant{}, &Refusal{fmt.Sprintf("access request %s gives no access to %s of app %s", requestID, arn, app.Name)}
	}
	lasts := func(h Held) bool {
		return h.Until.IsZero() || (!until.IsZero() && !h.Until.Before(until))
	}
	g := Grant{Until: until}
	for _, h := range held {
		if _, ok := s.allowPermission(h); ok && lasts(h) {
			g.Roles = append(g.Roles, h)
		}
	}
	if len(g.Roles) == 0 {
		return Grant{}, &Refusal{fmt.Sprintf("the roles that allow %s limit it by a trait that %s does not have", arn, s.User)}
	}
	var inPlay []Held
	for _, h := range s.Roles {
		if lasts(h) {
			inPlay = append(inPlay, h)
		}
	}
	g.MaxTTL = shortestTTL(inPlay)
	g.Permissions = s.permissions(g.Roles)
	g.RealCredentials, g.RateLimits = realCredentials(g.Roles), rateLimits(g.Roles)
	return g, nil
}

// realCredentials are the kinds that any of the roles lets postern hand out.
func realCredentials(roles []Held) []string {
	var out []string
	for _, h := range roles {
		out = append(out, h.Options.RealCredentials...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// rateLimits are those of all the roles: each of them bounds.
func rateLimits(roles []Held) []events.RateLimit {
	var out []events.RateLimit
	for _, h := range roles {
		for _, l := range h.Options.RateLimits {
			if l.Role = h.Name; !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	return out
}

// lasting is the end of the session to choose, zero for none.
func (s Subject) lasting(held []Held, requestID string) time.Time {
	var latest, first time.Time
	for _, h := range held {
		p, ok := s.allowPermission(h)
		switch {
		case requestID != "":
			if h.RequestID == requestID {
				return h.Until
			}
		case !ok:
		case h.Until.IsZero() && allowsAll(p):
			return time.Time{}
		case !h.Standing() || !h.Until.IsZero() && allowsAll(p):
			if h.Until.After(latest) {
				latest = h.Until
			}
		case !h.Until.IsZero() && (first.IsZero() || h.Until.Before(first)):
			first = h.Until
		}
	}
	if latest.IsZero() {
		return first
	}
	return latest
}

// why names the first thing that stands between the subject and arn.
func (s Subject) why(app events.App, arn string) string {
	labels := false
	for _, h := range s.Roles {
		labels = labels || matchLabels(h.allow.labels, app.Labels, s.Traits)
	}
	if !labels {
		return fmt.Sprintf("no role of %s selects app %s by its labels", s.User, app.Name)
	}
	return fmt.Sprintf("no role of %s allows %s on app %s", s.User, arn, app.Name)
}

// permissions returns the say of the roles that allow and the denials of all.
// Nothing at all means that nothing is narrowed.
func (s Subject) permissions(allowing []Held) []events.Permission {
	var out []events.Permission
	narrowed := false
	for _, h := range allowing {
		if p, ok := s.allowPermission(h); ok {
			out = append(out, p)
			narrowed = narrowed || narrows(p)
		}
	}
	for _, p := range out {
		if !narrows(p) { // one that allows all makes the others idle
			out, narrowed = []events.Permission{p}, false
			break
		}
	}
	for _, h := range allowing {
		if p, ok := s.approvalPermission(h); ok {
			out = append(out, p)
			narrowed = true
		}
	}
	for _, h := range s.Roles {
		if p, ok := s.denyPermission(h); ok && !slices.ContainsFunc(out, func(q events.Permission) bool { return same(p, q) }) {
			out = append(out, p)
			narrowed = true
		}
	}
	if !narrowed {
		return nil
	}
	return out
}

// allowPermission is a role's allow side for AWS calls; not ok where one of
// its lists is empty once templates are filled in: that allows nothing, and
// must not read as "all".
func (s Subject) allowPermission(h Held) (events.Permission, bool) {
	p := events.Permission{Role: h.Name, Effect: "Allow"}
	ok := expand(&p, h.allow, s.Traits, false)
	p.DryRun = h.Options.DryRun && narrows(p)
	return p, ok
}

// denyPermission is a role's deny side; not ok where it denies no call.
func (s Subject) denyPermission(h Held) (events.Permission, bool) {
	p := events.Permission{Role: h.Name, Effect: "Deny", DryRun: h.Options.DryRun}
	ok := expand(&p, h.deny, s.Traits, true)
	return p, ok && narrows(p)
}

// approvalPermission holds the calls that a role wants approved one by one; not
// ok where there are none.
func (s Subject) approvalPermission(h Held) (events.Permission, bool) {
	p := events.Permission{Role: h.Name, Effect: "Deny", Approval: true, DryRun: h.Options.DryRun}
	for _, pattern := range h.allow.approve {
		p.Actions = append(p.Actions, pattern.Globs(s.Traits, true)...)
	}
	return p, len(p.Actions) > 0
}

func expand(p *events.Permission, c side, traits map[string][]string, wide bool) bool {
	ok := true
	list := func(ps []Pattern) []string {
		var out []string
		for _, pattern := range ps {
			out = append(out, pattern.Globs(traits, wide)...)
		}
		ok = ok && (len(ps) == 0 || len(out) > 0)
		return out
	}
	p.Actions, p.Resources, p.Regions = list(c.actions), list(c.resources), list(c.regions)
	return ok
}

func narrows(p events.Permission) bool {
	return len(p.Actions) > 0 || len(p.Resources) > 0 || len(p.Regions) > 0
}

// allowsAll reports whether an Allow permission refuses nothing as things are.
func allowsAll(p events.Permission) bool { return p.DryRun || !narrows(p) }

func same(a, b events.Permission) bool {
	return a.Role == b.Role && a.Effect == b.Effect && a.DryRun == b.DryRun && a.Approval == b.Approval && alike(a.Actions, b.Actions) &&
		alike(a.Resources, b.Resources) && alike(a.Regions, b.Regions)
}

// alike compares what lists hold: providers say the values of a trait in any order.
func alike(a, b []string) bool {
	within := func(a, b []string) bool {
		return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
	}
	return slices.Equal(a, b) || within(a, b) && within(b, a)
}

// Still says why a session that rests on roles, by name, and on access requests
// would not start today with its permissions and its right to real credentials,
// or "".
func (s Subject) Still(app events.App, arn string, roles, requestIDs []string, perms []events.Permission, real []string) string {
	if reason := s.denial(app, arn); reason != "" {
		return reason
	}
	if !Belongs(app, arn) {
		return fmt.Sprintf("%s is no AWS role of app %s any more", arn, app.Name)
	}
	held := slices.DeleteFunc(s.allowing(app, arn), func(h Held) bool {
		return !slices.Contains(roles, h.Name) || !h.Standing() && !slices.Contains(requestIDs, h.RequestID)
	})
	for _, name := range roles {
		if !slices.ContainsFunc(held, func(h Held) bool { return h.Name == name }) {
			return fmt.Sprintf("role %s does not give %s to %s any more", name, arn, s.User)
		}
	}
	if !Covers(s.permissions(held), perms) {
		return "the roles allow fewer AWS calls than when the session started"
	}
	now := realCredentials(held)
	for _, kind := range real {
		if !slices.Contains(now, kind) {
			return fmt.Sprintf("the roles no longer allow real credentials of kind %s", kind)
		}
	}
	return ""
}

// Covers reports whether permissions now allow all that permissions before
// allowed, as far as can be told by comparing entries.
func Covers(now, before []events.Permission) bool {
	has := func(ps []events.Permission, p events.Permission) bool {
		return slices.ContainsFunc(ps, func(q events.Permission) bool { return same(p, q) })
	}
	all := len(now) == 0
	for _, p := range now {
		if p.Effect == "Deny" && !p.DryRun && !has(before, p) {
			return false
		}
		all = all || p.Effect == "Allow" && allowsAll(p)
	}
	if all {
		return true
	}
	if len(before) == 0 {
		return false
	}
	for _, p := range before {
		if p.Effect == "Allow" && !has(now, p) {
			return false
		}
	}
	return true
}
