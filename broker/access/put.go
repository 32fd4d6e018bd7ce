package access

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Put says how a resource may be written.
type Put struct {
	// Replace allows to change what exists.
	Replace bool
	// Revision, if not 0, is the one that the change was made from: what was removed
	// since is not made again by it.
	Revision uint64
	// FromDefault is in place of Revision where the change was made from what holds until
	// somebody changes it, which has none.
	FromDefault bool
}

// decide reports whether to write. revision is the resource's or, where none exists, the
// last that its history had. A resource that would not change gives no event.
func (p Put) decide(kind, name string, revision uint64, exists, same bool, faults []policy.Fault) (bool, error) {
	switch {
	case len(faults) > 0:
		e := refuse(Invalid, "%s %s: %s: %v", kind, name, faults[0].Path, faults[0].Err)
		for _, f := range faults[1:] {
			e.Details = append(e.Details, f.Path+": "+f.Err.Error())
		}
		return false, e
	case !exists && p.Revision != 0 && p.Revision <= revision:
		return false, refuse(Conflict, "%s %s was removed since it was read at revision %d: without metadata.revision it is made again", kind, name, p.Revision)
	case !exists:
		return true, nil
	case same:
		return false, nil
	case !p.Replace:
		return false, refuse(Exists, "%s %s exists already", kind, name)
	case (p.Revision != 0 || p.FromDefault) && p.Revision != revision:
		return false, refuse(Conflict, "%s %s was changed since it was read: it is at revision %d, the change was made from %d", kind, name, revision, p.Revision)
	}
	return true, nil
}

// PutUser creates or replaces a user.
func PutUser(s *State, env Env, u events.User, p Put) ([]events.Event, error) {
	old := s.Users[u.Name]
	revision := s.Head((&events.UserDeleted{Name: u.Name}).Channel()).Revision
	same := false
	if old != nil {
		revision, same = old.Revision, alike(old.User, u)
	}
	if old != nil && old.Connector != "" {
		return nil, refuse(Conflict, "%s signs in with %s, which says who they are and what they hold", u.Name, old.Connector)
	}
	faults := check(CheckUser(u))
	if old == nil && len(faults) == 0 {
		faults.that("metadata.name", CheckNewUserName(u.Name))
	}
	write, err := p.decide("user", u.Name, revision, old != nil, same, faults)
	if !write || err != nil {
		return nil, err
	}
	for _, r := range u.Roles {
		if s.Roles[r] == nil {
			return nil, refuse(Invalid, "user %s: there is no role %s", u.Name, r)
		}
	}
	if old == nil {
		return env.one("", "", &events.UserCreated{User: u, By: env.By}), nil
	}
	return env.one("", "", &events.UserUpdated{User: u, By: env.By}), nil
}

// DeleteUser ends a user who owns no access list.
func DeleteUser(s *State, env Env, name string) ([]events.Event, error) {
	if s.Users[name] == nil {
		return nil, refuse(NotFound, "there is no user %s", name)
	}
	if err := s.ownsNothing(name); err != nil {
		return nil, err
	}
	return env.one("", "", &events.UserDeleted{Name: name, By: env.By}), nil
}

// ownsNothing refuses who owns an access list: when they are gone nobody might be left to
// review it.
func (s *State) ownsNothing(user string) error {
	var owned []string
	for _, l := range s.sortedLists() {
		if seq, ok := s.Lists[l].namedAt(events.ListOwner{Name: user, Kind: events.KindUser}); ok && s.still(user, seq) {
			owned = append(owned, "access list "+l)
		}
	}
	if len(owned) > 0 {
		return refuse(Conflict, "user %s still owns %s: name another owner in their place first", user, few(owned))
	}
	return nil
}

// ChangePassword records that a user has a new password.
func ChangePassword(s *State, env Env, name string) ([]events.Event, error) {
	if s.Users[name] == nil {
		return nil, refuse(NotFound, "there is no user %s", name)
	}
	return env.one("", "", &events.UserPasswordChanged{Name: name, By: env.By}), nil
}

// PutRole creates or replaces a role.
func PutRole(s *State, env Env, r events.Role, p Put) ([]events.Event, error) {
	old := s.Roles[r.Name]
	revision := s.Head((&events.RoleDeleted{Name: r.Name}).Channel()).Revision
	same := false
	if old != nil {
		revision, same = old.Revision, alike(old.Role, r)
	}
	write, err := p.decide("role", r.Name, revision, old != nil, same, CheckRole(r))
	if !write || err != nil {
		return nil, err
	}
	if old == nil {
		return env.one("", "", &events.RoleCreated{Role: r, By: env.By}), nil
	}
	return env.one("", "", &events.RoleUpdated{Role: r, By: env.By}), nil
}

// DeleteRole ends a role that no user has. Users of connectors whose time is
// over count no more.
func DeleteRole(s *State, env Env, name string) ([]events.Event, error) {
	if s.Roles[name] == nil {
		return nil, refuse(NotFound, "there is no role %s", name)
	}
	var holders []string
	for _, u := range s.Users {
		for _, r := range u.Roles {
			if r == name && !u.Expired(env.Now) {
				holders = append(holders, u.Name)
			}
		}
	}
	for _, l := range s.sortedLists() {
		if a := s.Lists[l]; slices.Contains(slices.Concat(a.Grants.Roles, a.MembershipRequires.Roles, a.OwnershipRequires.Roles), name) {
			holders = append(holders, "access list "+l)
		}
	}
	if len(holders) > 0 {
		return nil, refuse(Conflict, "role %s is still held by %s: take it from them first", name, few(holders))
	}
	return env.one("", "", &events.RoleDeleted{Name: name, By: env.By}), nil
}

// PutApp creates or replaces an app.
func PutApp(s *State, env Env, a events.App, p Put) ([]events.Event, error) {
	old := s.Apps[a.Name]
	revision := s.Head((&events.AppDeleted{Name: a.Name}).Channel()).Revision
	same := false
	if old != nil {
		revision, same = old.Revision, alike(old.App, a)
		if !p.Replace && !same { // a file says nothing of where an app is from
			here := old.App
			here.Origin = a.Origin
			same = alike(here, a)
		}
	}
	write, err := p.decide("app", a.Name, revision, old != nil, same, CheckApp(a))
	if !write || err != nil {
		return nil, err
	}
	if old == nil {
		return env.one("", "", &events.AppCreated{App: a, By: env.By}), nil
	}
	return env.one("", "", &events.AppUpdated{App: a, By: env.By}), nil
}

// DropApp ends an app whose origin is a configuration that names it no more.
func DropApp(s *State, env Env, name string) ([]events.Event, error) {
	if a := s.Apps[name]; a == nil || a.Origin != events.OriginConfigFile {
		return nil, nil
	}
	return DeleteApp(s, env, name)
}

// DeleteApp ends an app.
func DeleteApp(s *State, env Env, name string) ([]events.Event, error) {
	if s.Apps[name] == nil {
		return nil, refuse(NotFound, "there is no app %s", name)
	}
	return env.one("", "", &events.AppDeleted{Name: name, By: env.By}), nil
}

// alike compares what was read from a stream with what a person sent: as
// events would have it, in which nil and empty are the same.
func alike[T any](a, b T) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// few lists some names.
func few(names []string) string {
	const most = 5
	sorted := sortedCopy(names)
	if len(sorted) > most {
		return strings.Join(sorted[:most], ", ") + " and others"
	}
	return strings.Join(sorted, ", ")
}

// ForgetUser records that nobody knows any more who a user was, and ends the user.
// Somebody may be known who never became one.
func ForgetUser(s *State, env Env, name string, known bool) ([]events.Event, error) {
	if !known && s.Head((&events.UserForgotten{Name: name}).Channel()).Seq == 0 {
		return nil, refuse(NotFound, "there is and was no user %s", name)
	}
	if err := s.ownsNothing(name); err != nil {
		return nil, err
	}
	out := env.one("", "", &events.UserForgotten{Name: name, By: env.By})
	if s.Users[name] != nil {
		out = append(env.one("", "", &events.UserDeleted{Name: name, By: env.By}), out...)
	}
	return out, nil
}

// EndUser ends a user who is known by name, if that has not been done.
func EndUser(s *State, env Env, name string) ([]events.Event, error) {
	if err := s.ownsNothing(name); err != nil {
		return nil, err
	}
	e := &events.UserDeleted{Name: name, By: env.By}
	switch {
	case s.Users[name] != nil:
		return env.one("", "", e), nil
	case s.Head(e.Channel()).Seq == 0:
		return nil, refuse(NotFound, "there is and was no user %s", name)
	}
	return nil, nil
}
