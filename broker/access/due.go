package access

import (
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Touched names what events changed, for Unfounded to look at no more than
// needed. The zero value touches nothing.
type Touched struct {
	All                   bool
	users, roles, apps    map[string]bool
	lists                 map[string]bool
	signins               map[string]bool
	requests, newSessions map[string]bool
}

// Add notes what an event changed, and reports whether it did.
func (t *Touched) Add(p events.Payload) bool {
	switch d := p.(type) {
	case *events.UserUpdated:
		note(&t.users, d.Name)
	case *events.UserDeleted:
		note(&t.users, d.Name)
	case *events.RoleCreated: // there may be who holds it by name already
		note(&t.roles, d.Name)
	case *events.RoleUpdated:
		note(&t.roles, d.Name)
	case *events.RoleDeleted:
		note(&t.roles, d.Name)
	case *events.AppUpdated:
		note(&t.apps, d.Name)
	case *events.AppDeleted:
		note(&t.apps, d.Name)
	case *events.AccessListCreated: // it will be due
		note(&t.lists, d.Name)
	case *events.AccessListUpdated:
		note(&t.lists, d.Name)
	case *events.AccessListDeleted: // who was in it is not known any more
		t.All = true
	case *events.AccessListMemberAdded:
		note(&t.lists, d.List)
	case *events.AccessListMemberRemoved:
		note(&t.lists, d.List)
		t.left(d.Member)
	case *events.AccessListReviewed:
		note(&t.lists, d.List)
		for _, m := range d.Removed {
			t.left(m)
		}
	case *events.AccessListReviewDue:
		note(&t.lists, d.List)
	case *events.AccessListSuspended:
		note(&t.lists, d.List)
	case *events.RequestPromoted: // its list must hear of it
		note(&t.requests, d.RequestID)
	case *events.RequestCreated: // it will lapse
		note(&t.requests, d.RequestID)
	case *events.RequestDropped:
		note(&t.requests, d.RequestID)
	case *events.RequestApproved: // a role that it gives may deny
		if len(d.Roles) == 0 {
			return false
		}
		note(&t.users, d.User)
	case *events.SigninRevoked:
		note(&t.signins, d.CertificateSerial)
	case *events.SessionStarted:
		// What it rests on may have gone between its decision and its place
		// in the stream.
		note(&t.newSessions, d.SessionID)
	case *events.LockPlaced: // it will end
		return d.ExpiresAt != nil
	default:
		return false
	}
	return true
}

// Began notes whose granted access began after a moment and has by now, and returns when
// the next begins (zero: none).
func (t *Touched) Began(s *State, after, now time.Time) (next time.Time) {
	for user, granted := range s.granted {
		for _, q := range granted {
			switch begins := q.Starts(); {
			case begins.After(now):
				next = sooner(next, begins)
			case begins.After(after):
				note(&t.users, user)
			}
		}
	}
	return next
}

// left notes who is in a list no more.
func (t *Touched) left(m events.ListMember) {
	if m.Kind == events.KindList {
		note(&t.lists, m.Name)
	} else {
		note(&t.users, m.Name)
	}
}

func note(m *map[string]bool, name string) {
	if *m == nil {
		*m = map[string]bool{}
	}
	(*m)[name] = true
}

func (t *Touched) concerns(s *State, x *Session, now time.Time) bool {
	if t.All || t.newSessions[x.SessionID] || t.users[x.User] || t.apps[x.App] || t.signins[x.Certificate] {
		return true
	}
	for _, r := range x.Roles {
		if t.roles[r.Name] {
			return true
		}
	}
	if len(t.lists) > 0 && slices.ContainsFunc(s.memberships(x.User), func(l string) bool { return t.lists[l] }) {
		return true
	}
	for _, id := range x.RequestIDs {
		if t.requests[id] {
			return true
		}
	}
	if u := s.Users[x.User]; u != nil && len(t.roles) > 0 {
		for _, h := range s.Subject(u, now).Roles { // another role of theirs may deny now
			if t.roles[h.Name] {
				return true
			}
		}
	}
	return false
}

// Unfounded lists the running sessions, of those that the changes concern,
// that would not be started today.
func Unfounded(s *State, now time.Time, t Touched) []string {
	var out []string
	look := func(x *Session) {
		if x.State(now) == Running && s.unfounded(x, now) != "" {
			out = append(out, x.SessionID)
		}
	}
	if t.All || len(t.users)+len(t.roles)+len(t.apps)+len(t.requests)+len(t.lists)+len(t.signins) > 0 {
		for _, x := range s.running {
			if t.concerns(s, x, now) {
				look(x)
			}
		}
		return out
	}
	for id := range t.newSessions {
		if x := s.running[id]; x != nil {
			look(x)
		}
	}
	return out
}

// RunningSessions counts those, without a look at what has ended.
func (s *State) RunningSessions(now time.Time) (n int) {
	for _, x := range s.running {
		if x.State(now) == Running {
			n++
		}
	}
	return n
}

// EndUnfounded ends a session if what it rests on has gone.
func EndUnfounded(s *State, env Env, id string) ([]events.Event, error) {
	x := s.running[id]
	if x == nil || x.State(env.Now) != Running {
		return nil, nil
	}
	reason := s.unfounded(x, env.Now)
	if reason == "" {
		return nil, nil
	}
	return End(s, env, id, reason)
}

func (s *State) unfounded(x *Session, now time.Time) string {
	u := s.Users[x.User]
	switch {
	case u == nil || u.CreatedSeq > x.Seq:
		return fmt.Sprintf("user %s was deleted", x.User)
	case u.Disabled:
		return fmt.Sprintf("user %s was disabled", x.User)
	}
	if in := s.Signins[x.Certificate]; in != nil && in.Revoked != nil {
		return fmt.Sprintf("its sign-in was revoked by %s", in.Revoked.By)
	}
	for _, id := range x.RequestIDs {
		if q := s.Requests[id]; q == nil || q.status != Approved {
			if q != nil && q.status == Revoked {
				return fmt.Sprintf("the access of request %s was revoked by %s", id, q.Dropped.By)
			}
			return fmt.Sprintf("the access of request %s was given up", id)
		}
	}
	app := s.Apps[x.App]
	if app == nil {
		return fmt.Sprintf("app %s was deleted", x.App)
	}
	var roles []string
	for _, r := range x.Roles {
		roles = append(roles, r.Name)
	}
	// A lock is for the proxies to obey, and may be lifted: it ends nothing.
	sub := s.subject(u, now, func(string) bool { return true })
	if x.LockMode != events.LockStrict && sub.LockMode() == events.LockStrict {
		return "a role is strict about locks by now"
	}
	return sub.Still(app.App, x.AWSRoleARN, roles, x.RequestIDs, x.Permissions, x.RealCredentials)
}

// Lapsing lists the requests whose time to be decided is over, and returns
// when the next one's will be (zero: none waits).
func (s *State) Lapsing(now time.Time) (ids []string, next time.Time) {
	for id, q := range s.pending {
		switch {
		case q.State(now) == Lapsed, s.stranded(q, now):
			ids = append(ids, id)
		case next.IsZero() || q.ExpiresAt.Before(next):
			next = q.ExpiresAt
		}
	}
	return ids, next
}
