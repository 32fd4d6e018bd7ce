package policy

import (
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Subject is somebody with all the roles they hold at one moment.
type Subject struct {
	User   string
	Traits map[string][]string
	Roles  []Held
}

// Held is a role in somebody's hands.
type Held struct {
	*Role
	// RequestID is the access request that granted it, "" for a standing role.
	RequestID string
	// Lists are the access lists whose membership it rests on, if any: for
	// itself, or for the traits that it needs.
	Lists []string
	// Until is the end of it, zero for none.
	Until time.Time
	// Locked roles allow nothing of postern's own; what they deny, they deny.
	Locked bool
	// Only narrows the role to these AWS role ARNs, or all of an account by its
	// id; and then it is good for nothing else.
	Only []string
}

// Within reports whether an AWS role is one of those that were asked for, by ARN
// or by account id.
func Within(asked []string, arn string) bool {
	return slices.ContainsFunc(asked, func(a string) bool {
		if a == arn {
			return true
		}
		parsed, err := ParseRoleARN(arn)
		return err == nil && a == parsed.Account
	})
}

// Standing reports whether the role is the user's own or a list's, not granted
// by a request for a while.
func (h Held) Standing() bool { return h.RequestID == "" }

// RoleNames lists the standing roles.
func (s Subject) RoleNames() []string {
	var out []string
	for _, h := range s.Roles {
		if h.Standing() {
			out = append(out, h.Name)
		}
	}
	return out
}

// Reach is one AWS role of an app with the roles that allow it.
type Reach struct {
	ARN   string
	Roles []Held
}

// Until is the latest end of what the reach rests on, zero for no end.
func (r Reach) Until() time.Time {
	var until time.Time
	for _, h := range r.Roles {
		if h.Until.IsZero() {
			return time.Time{}
		}
		if h.Until.After(until) {
			until = h.Until
		}
	}
	return until
}

// AWSRoles lists the AWS roles of app that the subject reaches, by ARN.
func (s Subject) AWSRoles(app events.App) []Reach {
	var out []Reach
	for _, arn := range s.candidates(app) {
		if s.denial(app, arn) != "" {
			continue
		}
		if held := s.allowing(app, arn); len(held) > 0 {
			out = append(out, Reach{ARN: arn, Roles: held})
		}
	}
	return out
}

// candidates are the ARNs to look at: what the app lists or, where it lists
// none, what roles and traits spell out. A wildcard spells nothing out.
func (s Subject) candidates(app events.App) []string {
	var arns []string
	if len(app.RoleARNs) > 0 {
		arns = slices.Clone(app.RoleARNs)
	} else {
		for _, h := range s.Roles {
			if !h.broken && matchLabels(h.allow.labels, app.Labels, s.Traits) {
				for _, p := range h.allow.arns {
					arns = append(arns, p.Values(s.Traits)...)
				}
			}
		}
	}
	slices.Sort(arns)
	return slices.DeleteFunc(slices.Compact(arns), func(arn string) bool { return !Belongs(app, arn) })
}

// Belongs reports whether an ARN is an IAM role in the app's account and
// partition, as far as the app names these.
func Belongs(app events.App, arn string) bool {
	a, err := ParseRoleARN(arn)
	return err == nil &&
		(app.AccountID == "" || a.Account == app.AccountID) &&
		(app.Partition == "" || a.Partition == app.Partition) &&
		(len(app.RoleARNs) == 0 || slices.Contains(app.RoleARNs, arn))
}

// allowing returns the held roles that allow arn of app, standing ones first.
func (s Subject) allowing(app events.App, arn string) []Held {
	var standing, granted []Held
	for _, h := range s.Roles {
		switch {
		case h.broken,
			h.Only != nil && !Within(h.Only, arn),
			!matchLabels(h.allow.labels, app.Labels, s.Traits),
			!anyMatch(h.allow.arns, arn, s.Traits):
		case h.Standing():
			standing = append(standing, h)
		default:
			granted = append(granted, h)
		}
	}
	return append(standing, granted...)
}

// denial says which role stands against arn of app, or "".
func (s Subject) denial(app events.App, arn string) string {
	for _, h := range s.Roles {
		switch {
		case h.broken:
			return "role " + h.Name + " has faults that this version cannot obey"
		case matchLabels(h.deny.labels, app.Labels, s.Traits):
			return "role " + h.Name + " denies the app (deny.app_labels)"
		case anyMatch(h.deny.arns, arn, s.Traits):
			return "role " + h.Name + " denies the AWS role (deny.aws_role_arns)"
		}
	}
	return ""
}

// shortestTTL is the shortest max_session_ttl of roles, 0 where none sets one.
func shortestTTL(roles []Held) time.Duration {
	var ttl time.Duration
	for _, h := range roles {
		t := time.Duration(h.Options.MaxSessionTTL) * time.Second
		if t > 0 && (ttl == 0 || t < ttl) {
			ttl = t
		}
	}
	return ttl
}

// LockMode is what the options lock of all roles come to: one that is strict wins,
// "" where none says.
func (s Subject) LockMode() string {
	mode := ""
	for _, h := range s.Roles {
		if o := h.Options.Lock; o == events.LockStrict || mode == "" {
			mode = o
		}
		if mode == events.LockStrict {
			break
		}
	}
	return mode
}

// CertificateTTL is the shortest max_session_ttl of the standing roles, 0
// where none sets one.
func (s Subject) CertificateTTL() time.Duration {
	return shortestTTL(slices.DeleteFunc(slices.Clone(s.Roles), func(h Held) bool { return !h.Standing() }))
}
