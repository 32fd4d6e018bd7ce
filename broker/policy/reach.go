package policy

import (
	"slices"

	"github.com/posternhq/postern/events"
)

// Reach returns the roles that allow one AWS role of app, whether or not the
// roles spell it out; not ok where nothing allows it or something denies it.
func (s Subject) Reach(app events.App, arn string) (Reach, bool) {
	if !Belongs(app, arn) || s.denial(app, arn) != "" {
		return Reach{}, false
	}
	held := s.allowing(app, arn)
	return Reach{ARN: arn, Roles: held}, len(held) > 0
}

// Wildcards lists the patterns by which the subject reaches AWS roles of app
// that AWSRoles cannot list: the app lists none and the roles spell none out.
func (s Subject) Wildcards(app events.App) []string {
	var out []string
	if len(app.RoleARNs) > 0 {
		return nil
	}
	for _, h := range s.Roles {
		if h.broken || h.Only != nil || !matchLabels(h.allow.labels, app.Labels, s.Traits) {
			continue
		}
		for _, p := range h.allow.arns {
			open := p.re != nil
			for g := range p.globs(s.Traits) {
				open = open || len(g) > 1
			}
			if open && !slices.Contains(out, p.raw) {
				out = append(out, p.raw)
			}
		}
	}
	return out
}
