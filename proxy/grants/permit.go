package grants

import (
	"fmt"
	"slices"
	"strings"

	"github.com/posternhq/postern/events"
)

// policy is a list of permissions; sessions with equal lists share one.
type policy struct {
	text     string
	perms    []events.Permission
	sessions int
	// dryRun, approvals: some of perms are.
	dryRun, approvals bool
}

func newPolicy(perms []events.Permission) *policy {
	p := &policy{perms: perms}
	for i := range perms {
		p.dryRun = p.dryRun || perms[i].DryRun
		p.approvals = p.approvals || perms[i].Approval
	}
	return p
}

// policy finds or makes the policy of a list, nil for an empty one.
func (g *Grants) policy(perms []events.Permission) *policy {
	if len(perms) == 0 {
		return nil
	}
	text := fmt.Sprintf("%#v", perms)
	p := g.policies[text]
	if p == nil {
		p = newPolicy(perms)
		p.text, g.policies[text] = text, p
	}
	p.sessions++
	return p
}

func (g *Grants) releasePolicy(p *policy) {
	if p == nil {
		return
	}
	if p.sessions--; p.sessions == 0 {
		delete(g.policies, p.text)
	}
}

// permit decides a call by the session's permissions: no Deny that matches, and
// for every resource an Allow that matches. For Deny, unknown counts as a match;
// for Allow it does not. That is IAM's evaluation (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html),
// closed where IAM would know more than the proxy. Permissions in dry run refuse
// nothing unless strict.
func (d *Decision) permit(p *policy, call *Call, strict bool) {
	if p == nil {
		d.Allowed = true
		return
	}
	d.permitAction(p.perms, call, strict)
	if !d.Allowed || len(call.Also) == 0 {
		return
	}
	role, one := d.allow, *call
	for i := range call.Also {
		one.take(&call.Also[i])
		if d.permitAction(p.perms, &one, strict); !d.Allowed {
			return
		}
	}
	d.allow = role
}

// hold makes a decision that allows refuse a call that a permission wants
// approved.
func (d *Decision) hold(p *policy, call *Call, strict bool) {
	if p == nil || !d.Allowed || !p.approvals || call.Approved {
		return
	}
	one := *call
	for i := -1; i < len(call.Also); i++ {
		if i >= 0 {
			one.take(&call.Also[i])
		}
		for j := range p.perms {
			a := &p.perms[j]
			if !a.Approval || a.DryRun && !strict {
				continue
			}
			if m, entry := match(a, &one, one.Resources); m != no {
				d.Allowed, d.cause, d.deny, d.entry, d.action = false, CauseRule, a, entry, one.Action
				return
			}
		}
	}
}

// Approvers are the roles that want a held call approved: nothing else stands
// against it. None where it is allowed, or refused for good.
func (d *Decision) Approvers(call *Call) []string {
	if d.deny == nil || !d.deny.Approval || d.policy == nil {
		return nil
	}
	var roles []string
	for i := range d.policy.perms {
		p := &d.policy.perms[i]
		if !p.Approval || p.DryRun || slices.Contains(roles, p.Role) {
			continue
		}
		one := *call
		for _, a := range append([]Action{{call.Action, call.AccessLevel, call.Services}}, call.Also...) {
			one.take(&a)
			if m, _ := match(p, &one, one.Resources); m != no {
				roles = append(roles, p.Role)
				break
			}
		}
	}
	return roles
}

// DryRun says what permissions in dry run would have refused of a call that was
// allowed, nil if nothing.
func (d *Decision) DryRun(call *Call) *events.DryRun {
	if !d.Allowed {
		return nil
	}
	would := d.strict(call)
	if would.Allowed {
		return nil
	}
	return &events.DryRun{Rule: would.Rule(), Reason: would.Reason()}
}

// DryRunDenial is DryRun for a call that no role has to allow, but any may deny.
func (d *Decision) DryRunDenial(call *Call) *events.DryRun {
	would := d.strict(call)
	if would.Allowed || would.Unlisted() {
		return nil
	}
	return &events.DryRun{Rule: would.Rule(), Reason: would.Reason()}
}

// strict decides as if no permission were in dry run.
func (d *Decision) strict(call *Call) Decision {
	if d.policy == nil || !d.policy.dryRun {
		return Decision{Allowed: true}
	}
	var would Decision
	would.permit(d.policy, call, true)
	would.hold(d.policy, call, true)
	return would
}

func (d *Decision) permitAction(perms []events.Permission, call *Call, strict bool) {
	for i := range perms {
		p := &perms[i]
		// An effect that this version does not know denies.
		if p.Effect == "Allow" || p.Effect == "Deny" && p.Approval || p.DryRun && !strict {
			continue
		}
		if m, entry := match(p, call, call.Resources); m != no {
			d.Allowed, d.cause, d.deny, d.entry, d.action = false, CauseRule, p, entry, call.Action
			if m == unknown {
				d.detail = unknownDetail(p, call)
			}
			return
		}
	}
	if len(call.Resources) == 0 {
		d.allowOne(perms, call, nil, strict)
		return
	}
	for i := range call.Resources {
		if !d.allowOne(perms, call, call.Resources[i:i+1], strict) {
			return
		}
	}
}

// allowOne looks for an Allow for one resource, or for none known.
func (d *Decision) allowOne(perms []events.Permission, call *Call, resource []string, strict bool) bool {
	var doubt *events.Permission
	for i := range perms {
		p := &perms[i]
		if p.Effect != "Allow" {
			continue
		}
		switch m, _ := match(p, call, resource); {
		case m == yes, p.DryRun && !strict:
			d.Allowed, d.allow = true, p
			return true
		case m == unknown && doubt == nil:
			doubt = p
		}
	}
	d.Allowed, d.cause, d.allow, d.action, d.region = false, CauseRule, nil, call.Action, call.Region
	if len(resource) > 0 {
		d.resource = resource[0]
	}
	if doubt != nil {
		d.detail = unknownDetail(doubt, call)
	}
	return false
}

// unknownDetail says what is not known about the call that p asks about.
func unknownDetail(p *events.Permission, call *Call) string {
	switch {
	case len(p.Resources) > 0 && len(call.Resources) == 0 && len(call.Services) == 1 && call.Services[0] == NoService:
		return "it narrows by resource, and " + call.Action + " is about none that could be named: only \"*\" covers it"
	case len(p.Resources) > 0 && len(call.Resources) == 0:
		return "it narrows by resource, and postern cannot tell which resources this call is about"
	case len(p.Resources) > 0 && slices.ContainsFunc(call.Resources, inPart):
		return "it narrows by resource, and the call says only in part which resources it is about"
	case len(p.Actions) > 0 && (call.Action == "" || call.AccessLevel == ""):
		return "it narrows by action, and postern cannot tell which IAM action this call needs"
	case strings.ContainsAny(call.Region, "*,"):
		return "it narrows by region, and the call is signed for the regions " + call.Region + ", all of which it would have to cover"
	}
	return "it narrows by region, and postern cannot tell the region of this call"
}
