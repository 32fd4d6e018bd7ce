package grants

import (
	"slices"

	"github.com/posternhq/postern/events"
)

// Offer lists the roles, of those that the user may ask for, each of which would
// let a refused call through. What a role denies, none of them mends.
func (d *Decision) Offer(call *Call) []string {
	if d.cause != CauseRule || d.session == nil {
		return nil
	}
	s := d.session.start
	var out []string
	for _, role := range s.Requestable {
		with := slices.DeleteFunc(slices.Clone(s.Offers), func(p events.Permission) bool { return p.Role != role })
		if !slices.ContainsFunc(with, func(p events.Permission) bool { return p.Effect == "Allow" }) {
			with = append(with, events.Permission{Role: role, Effect: "Allow"})
		}
		for _, p := range s.Permissions {
			if p.Effect != "Allow" {
				with = append(with, p)
			}
		}
		var would Decision
		if would.permit(&policy{perms: with}, call, false); would.Allowed {
			out = append(out, role)
		}
	}
	return out
}
