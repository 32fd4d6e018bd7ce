package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// chooseARN makes an ARN of what the user named.
func chooseARN(sub policy.Subject, app events.App, named string, asks map[string][]string) (string, error) {
	if strings.HasPrefix(named, "arn:") {
		return named, nil
	}
	reached := sub.AWSRoles(app)
	var choice []string
	for _, r := range reached {
		choice = append(choice, r.ARN)
	}
	if named != "" || len(choice) == 0 {
		for _, arn := range slices.Sorted(maps.Keys(asks)) {
			if !slices.Contains(choice, arn) {
				choice = append(choice, arn)
			}
		}
	}
	fits := slices.DeleteFunc(slices.Clone(choice), func(arn string) bool {
		a, err := policy.ParseRoleARN(arn)
		return err != nil || named != "" && a.Name != named && strings.TrimPrefix(a.Path, "/")+a.Name != named
	})
	switch {
	case len(fits) == 1:
		return fits[0], nil
	case len(fits) == 0 && named != "":
		e := refuse(NotFound, "app %s has no AWS role %s that you can use or ask for", app.Name, named)
		e.Details, e.Next = choice, "postern apps ls"
		return "", e
	case len(fits) == 0:
		e := refuse(Denied, "no role of %s gives an AWS role of app %s, and there is none to ask for", sub.User, app.Name)
		e.Next = "postern apps ls"
		return "", e
	}
	if len(reached) == 0 {
		e := refuse(Denied, "no role of %s gives an AWS role of app %s", sub.User, app.Name)
		for _, arn := range fits {
			e.Details = append(e.Details, arn+" by "+strings.Join(asks[arn], ", "))
		}
		e.Next = createCommand(asks[fits[0]][:1], nil)
		return "", e
	}
	e := refuse(Invalid, "app %s has several AWS roles: name one", app.Name)
	e.Details, e.Next = fits, fmt.Sprintf("postern apps login --aws-role %s %s", fits[0], app.Name)
	return "", e
}

// offer adds to a denial of an AWS role, which roles would give, what the user can do
// about it.
func (s *State) offer(e *Error, now time.Time, user, arn string, roles []string) *Error {
	if !s.underway(e, now, user, arn, roles) && len(roles) > 0 {
		e.Roles = roles[:1]
		e.Details = append(e.Details, "roles that you may ask for and that allow it: "+strings.Join(roles, ", "))
		e.Next = createCommand(roles[:1], nil)
	}
	return e
}

// underway adds to a denial the request of the user's that is to mend it, if there is one.
func (s *State) underway(e *Error, now time.Time, user, arn string, roles []string) bool {
	// asks is which of the roles a request asks for, -1 where none: another role of the
	// name may be meant, or other AWS roles.
	asks := func(q *Request) int {
		if len(q.Resources) > 0 && !policy.Within(q.Resources, arn) {
			return -1
		}
		return slices.IndexFunc(roles, func(r string) bool { return slices.Contains(q.Roles, r) && s.meant(r, q) != nil })
	}
	for _, id := range slices.Sorted(maps.Keys(s.pending)) {
		q := s.pending[id]
		if q.User != user || q.State(now) != Pending || s.approvable(q, now) != nil {
			continue
		}
		if i := asks(q); i >= 0 {
			e.Details = append(e.Details, fmt.Sprintf("access request %s for role %s waits for a review", id, roles[i]))
			e.Next, e.RequestID = "postern request show "+id, id
			return true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.granted[user])) {
		q := s.granted[user][id]
		if now.Before(q.Starts()) && asks(q) >= 0 {
			e.Details = append(e.Details, fmt.Sprintf("access request %s is approved, and its access begins at %s", id, q.Starts().Format(time.RFC3339)))
			e.Next = ""
			return true
		}
	}
	return false
}

func createCommand(roles, resources []string) string {
	cmd := "postern request create"
	if len(roles) > 0 {
		cmd += " --roles " + strings.Join(roles, ",")
	}
	for _, r := range resources {
		cmd += " --resource " + r
	}
	return cmd + ` --reason "…"`
}

func (s *State) allRoles() []*policy.Role {
	out := make([]*policy.Role, 0, len(s.Roles))
	for _, name := range slices.Sorted(maps.Keys(s.Roles)) {
		out = append(out, s.Roles[name])
	}
	return out
}

// named are the roles of these names, as far as they exist.
func (s *State) named(names []string) []*policy.Role {
	var out []*policy.Role
	for _, name := range names {
		if r := s.Roles[name]; r != nil {
			out = append(out, r)
		}
	}
	return out
}

func (s *State) allApps() []events.App {
	out := make([]events.App, 0, len(s.Apps))
	for _, name := range slices.Sorted(maps.Keys(s.Apps)) {
		out = append(out, s.Apps[name].App)
	}
	return out
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
