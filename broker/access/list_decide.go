package access

import (
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// maxMembers bounds the memberships of one list.
const maxMembers = 10_000

// AddMember is the command to make somebody a member of a list, or to change
// until when.
type AddMember struct {
	List      string
	Member    events.ListMember
	ExpiresAt *time.Time
	Reason    string
}

// Add decides an AddMember.
func Add(s *State, env Env, c AddMember) ([]events.Event, error) {
	l, err := s.mayKeep(env, c.List)
	if err != nil {
		return nil, err
	}
	if err := s.admissible(env, l, c); err != nil {
		return nil, err
	}
	if old, ok := s.members[c.List][c.Member]; ok && old.Reason == c.Reason && sameEnd(old.ExpiresAt, c.ExpiresAt) &&
		(c.Member.Kind != events.KindUser || s.still(c.Member.Name, old.Seq)) { // else it is an earlier user's
		return nil, nil
	}
	return env.one("", s.Head(listOf(c.List)).EventID,
		&events.AccessListMemberAdded{List: c.List, Member: c.Member, ExpiresAt: c.ExpiresAt, Reason: c.Reason, By: env.By}), nil
}

func listOf(name string) string { return (&events.AccessListDeleted{Name: name}).Channel() }

func sameEnd(a time.Time, b *time.Time) bool {
	return b == nil && a.IsZero() || b != nil && a.Equal(*b)
}

// mayKeep refuses who is not an owner. No rule of a role makes up for that: who
// writes the list's file and who keeps its members are apart.
func (s *State) mayKeep(env Env, list string) (*List, error) {
	u, err := Admit(s, env.Now, env.By)
	if err != nil {
		return nil, err
	}
	l := s.Lists[list]
	switch {
	case l == nil:
		return nil, refuse(NotFound, "there is no access list %s", list)
	case !s.owns(u, l, env.Now):
		e := refuse(Denied, "%s is not an owner of access list %s, or does not meet what it asks of owners", env.By, list)
		e.Details = []string{"its owners: " + strings.Join(l.ownerNames(), ", ")}
		return nil, e
	}
	return l, nil
}

func (l *List) ownerNames() []string {
	var out []string
	for _, o := range l.Owners {
		out = append(out, o.Name)
	}
	return out
}

// admissible refuses members that a list cannot have.
func (s *State) admissible(env Env, l *List, c AddMember) error {
	_, there := s.members[c.List][c.Member]
	switch {
	case c.Member.Kind != events.KindUser && c.Member.Kind != events.KindList: // it would be a member that is given nothing
		return refuse(Invalid, "kind: %q is neither %s nor %s", c.Member.Kind, events.KindUser, events.KindList)
	case !s.knows(c.Member):
		return refuse(NotFound, "there is no %s %s", c.Member.Kind, c.Member.Name)
	case len(c.Reason) > maxText:
		return refuse(Invalid, "the reason has %d bytes; %d at most", len(c.Reason), maxText)
	case c.ExpiresAt != nil && !c.ExpiresAt.After(env.Now):
		return refuse(Invalid, "the membership would end before it begins")
	case !there && len(s.members[c.List]) >= maxMembers:
		return refuse(Conflict, "access list %s has %d members; more are for a list in it", c.List, maxMembers)
	case c.Member.Kind == events.KindUser:
		if u := s.Users[c.Member.Name]; !meets(u, l.MembershipRequires) {
			return refuse(Conflict, "%s does not meet what access list %s asks of its members", u.Name, c.List)
		}
		return nil
	}
	above := s.chain(c.List, func(name string) []string { return s.memberOf[events.ListMember{Name: name, Kind: events.KindList}] })
	below := s.chain(c.Member.Name, func(name string) []string {
		var in []string
		for m := range s.members[name] {
			if m.Kind == events.KindList {
				in = append(in, m.Name)
			}
		}
		return in
	})
	if _, circle := above[c.Member.Name]; circle {
		return refuse(Conflict, "access list %s is in %s already, by itself or by way of others: they cannot be in one another", c.List, c.Member.Name)
	}
	if depth := longest(above) + longest(below); depth > maxNesting {
		return refuse(Conflict, "lists would be %d deep in one another; %d at most", depth, maxNesting)
	}
	return nil
}

// chain walks from a list along next and returns how far away each list is at
// most; the list itself is at 1. A circle ends the walk.
func (s *State) chain(from string, next func(string) []string) map[string]int {
	far := map[string]int{}
	var walk func(name string, depth int)
	walk = func(name string, depth int) {
		if far[name] >= depth || depth > maxNesting+1 {
			return
		}
		far[name] = depth
		for _, n := range next(name) {
			walk(n, depth+1)
		}
	}
	walk(from, 1)
	return far
}

func longest(far map[string]int) int {
	most := 0
	for _, n := range far {
		most = max(most, n)
	}
	return most
}

// RemoveMember is the command to end a membership.
type RemoveMember struct {
	List   string
	Member events.ListMember
	Reason string
}

// Remove decides a RemoveMember.
func Remove(s *State, env Env, c RemoveMember) ([]events.Event, error) {
	if _, err := s.mayKeep(env, c.List); err != nil {
		return nil, err
	}
	if len(c.Reason) > maxText {
		return nil, refuse(Invalid, "the reason has %d bytes; %d at most", len(c.Reason), maxText)
	}
	ship, ok := s.members[c.List][c.Member]
	if !ok {
		return nil, refuse(NotFound, "%s is not a member of access list %s", c.Member.Name, c.List)
	}
	return env.one("", ship.EventID, &events.AccessListMemberRemoved{List: c.List, Member: c.Member, Reason: c.Reason, By: env.By}), nil
}

// ReviewList is the command to look a list through: Remove goes, all others stay.
type ReviewList struct {
	List   string
	Remove []events.ListMember
	Notes  string
}

// Attest decides a ReviewList.
func Attest(s *State, env Env, c ReviewList) ([]events.Event, error) {
	l, err := s.mayKeep(env, c.List)
	if err != nil {
		return nil, err
	}
	if len(c.Notes) > maxText {
		return nil, refuse(Invalid, "the notes have %d bytes; %d at most", len(c.Notes), maxText)
	}
	var removed []events.ListMember
	for _, m := range c.Remove {
		if _, ok := s.members[c.List][m]; !ok {
			return nil, refuse(NotFound, "%s is not a member of access list %s", m.Name, c.List)
		}
		if !slices.Contains(removed, m) {
			removed = append(removed, m)
		}
	}
	// Who reviews when it is announced has reviewed for the date that it is announced for:
	// counted from now, the next date might be the same. More than that no review puts off.
	next := nextAudit(l.Audit, env.Now)
	if due := l.Audit.NextAuditDate; l.State(env.Now) != Current && due.After(env.Now) && !due.After(next) {
		next = nextAudit(l.Audit, due)
	}
	return env.one("", s.Head(listOf(c.List)).EventID, &events.AccessListReviewed{
		List: c.List, Notes: c.Notes, Removed: removed, NextAuditDate: next, By: env.By}), nil
}

// ListsDue lists the access lists about which time, or a promotion, has
// something to say that no event says yet, and when the next one will have
// (zero: none).
func (s *State) ListsDue(now time.Time) (names []string, next time.Time) {
	for _, name := range s.sortedLists() {
		due, at := s.listDue(name, now)
		if due != nil {
			names = append(names, name)
		} else {
			next = sooner(next, at)
		}
	}
	return names, next
}

// TellList says the next thing that time, or a promotion, has to say about a list.
func TellList(s *State, env Env, name string) ([]events.Event, error) {
	due, _ := s.listDue(name, env.Now)
	if due == nil {
		return nil, nil
	}
	e := env.event("", s.Head(listOf(name)).EventID, due)
	if added, ok := due.(*events.AccessListMemberAdded); ok {
		e.CorrelationID, e.CausationID = added.RequestID, s.Head(s.Requests[added.RequestID].Channel()).EventID
	}
	return []events.Event{e}, nil
}

// listDue is the first thing that is to be said about a list now, or else when.
func (s *State) listDue(name string, now time.Time) (due events.Payload, next time.Time) {
	l := s.Lists[name]
	if l == nil {
		return nil, time.Time{}
	}
	for _, id := range s.promotions(name) {
		p := s.promoted[id]
		return &events.AccessListMemberAdded{List: name, Member: events.ListMember{Name: p.User, Kind: events.KindUser},
			ExpiresAt: p.ExpiresAt, Reason: p.Reason, RequestID: id, By: p.By}, time.Time{}
	}
	audit := l.Audit
	announce := audit.NextAuditDate.Add(-seconds(audit.NotifyBefore))
	switch {
	case l.Suspended(now) && !l.SuspendedFor.Equal(audit.NextAuditDate):
		return &events.AccessListSuspended{List: name, DueAt: audit.NextAuditDate}, time.Time{}
	case l.Suspended(now):
	case now.Before(announce):
		next = announce
	case !l.AnnouncedFor.Equal(audit.NextAuditDate):
		return &events.AccessListReviewDue{List: name, Owners: l.ownerNames(), DueAt: audit.NextAuditDate, SuspendsAt: audit.SuspendsAt()}, time.Time{}
	default:
		next = audit.SuspendsAt()
	}
	for m, ship := range s.members[name] {
		if !ship.Active(now) {
			return &events.AccessListMemberRemoved{List: name, Member: m, Reason: "the membership expired", By: "postern"}, time.Time{}
		}
		next = sooner(next, ship.ExpiresAt)
	}
	return nil, next
}
