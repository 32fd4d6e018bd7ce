package grants

import "github.com/posternhq/postern/events"

// Judge decides a call by permissions alone, as Check does for a session that
// has them: for questions about what would be.
func Judge(perms []events.Permission, call Call) Decision {
	d := Decision{Allowed: len(perms) == 0}
	if !d.Allowed {
		p := newPolicy(perms)
		d.permit(p, &call, false)
		d.hold(p, &call, false)
	}
	return d
}
