package access

import (
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// List is an access list.
type List struct {
	events.AccessList
	Revision uint64
	// AnnouncedFor and SuspendedFor are the audit dates that events have said to
	// be due and to have passed.
	AnnouncedFor, SuspendedFor time.Time
	// named says where in the stream each user became an owner: a later one of the name is none.
	named map[string]uint64
	// ReviewedAt and ReviewedBy are of the last review, if there was one.
	ReviewedAt time.Time
	ReviewedBy string
}

// Suspended reports whether nobody reviewed the list in time. It then gives
// nothing, whether or not an event says so yet.
func (l *List) Suspended(now time.Time) bool { return !now.Before(l.Audit.SuspendsAt()) }

// The states of a list.
const (
	Current   = "current"
	Due       = "review_due" // announced
	Overdue   = "overdue"    // in its grace period
	Suspended = "suspended"
)

// State of the list at a moment.
func (l *List) State(now time.Time) string {
	switch due := l.Audit.NextAuditDate; {
	case l.Suspended(now):
		return Suspended
	case !now.Before(due):
		return Overdue
	case !now.Before(due.Add(-seconds(l.Audit.NotifyBefore))):
		return Due
	}
	return Current
}

// Membership is one membership of a list.
type Membership struct {
	// ExpiresAt is zero where the membership does not end by itself.
	ExpiresAt time.Time
	Reason    string
	By        string
	RequestID string
	// AddedAt, Seq and EventID are of the event that made it what it is.
	AddedAt time.Time
	Seq     uint64
	EventID string
}

// Active reports whether time has not ended the membership.
func (m Membership) Active(now time.Time) bool {
	return m.ExpiresAt.IsZero() || now.Before(m.ExpiresAt)
}

// Members returns a list's members, by what they are. It must not be kept.
func (s *State) Members(list string) map[events.ListMember]Membership { return s.members[list] }

func (s *State) applyList(e events.Event) {
	switch d := e.Data.(type) {
	case *events.AccessListCreated:
		h := s.Head(d.Channel())
		s.Lists[d.Name] = &List{AccessList: d.AccessList, Revision: h.Revision, named: named(nil, d.Owners, h.Seq)}
	case *events.AccessListUpdated:
		h := s.Head(d.Channel())
		s.changeList(d.Name, func(l *List) {
			l.AccessList, l.Revision, l.named = d.AccessList, h.Revision, named(l.named, d.Owners, h.Seq)
		})
	case *events.AccessListDeleted:
		for m := range s.members[d.Name] {
			s.removeMember(d.Name, m)
		}
		delete(s.members, d.Name)
		delete(s.Lists, d.Name)
		// A later list of the name is told of no promotion to this one.
		maps.DeleteFunc(s.promoted, func(_ string, p *events.RequestPromoted) bool { return p.List == d.Name })
	case *events.AccessListMemberAdded:
		m := Membership{Reason: d.Reason, By: d.By, RequestID: d.RequestID, AddedAt: e.Time, Seq: s.Head(d.Channel()).Seq, EventID: e.ID}
		if d.ExpiresAt != nil {
			m.ExpiresAt = *d.ExpiresAt
		}
		// A promotion may cross the end of its user, too.
		if q := s.Requests[d.RequestID]; q == nil || s.still(q.User, q.Seq) {
			s.addMember(d.List, d.Member, m)
		}
		delete(s.promoted, d.RequestID)
	case *events.AccessListMemberRemoved:
		s.removeMember(d.List, d.Member)
	case *events.AccessListReviewed:
		for _, m := range d.Removed {
			s.removeMember(d.List, m)
		}
		s.changeList(d.List, func(l *List) {
			l.Audit.NextAuditDate, l.ReviewedAt, l.ReviewedBy = d.NextAuditDate, e.Time, d.By
			l.Revision = s.Head(d.Channel()).Revision // a file from before holds an old date
		})
	case *events.AccessListReviewDue:
		s.changeList(d.List, func(l *List) { l.AnnouncedFor = d.DueAt })
	case *events.AccessListSuspended:
		s.changeList(d.List, func(l *List) { l.SuspendedFor = d.DueAt })
	}
}

// named adds who became an owner by the event of a sequence; who was one already stays
// the one that was named first.
func named(before map[string]uint64, owners []events.ListOwner, seq uint64) map[string]uint64 {
	out := map[string]uint64{}
	for _, o := range owners {
		if o.Kind != events.KindUser {
			continue
		}
		out[o.Name] = seq
		if first, ok := before[o.Name]; ok {
			out[o.Name] = first
		}
	}
	return out
}

// changeList replaces a list by a changed copy.
func (s *State) changeList(name string, change func(*List)) {
	if old := s.Lists[name]; old != nil {
		l := *old
		change(&l)
		s.Lists[name] = &l
	}
}

func (s *State) addMember(list string, m events.ListMember, ship Membership) {
	if s.members[list] == nil {
		s.members[list] = map[events.ListMember]Membership{}
	}
	if _, there := s.members[list][m]; !there {
		s.memberOf[m] = append(slices.Clip(s.memberOf[m]), list)
	}
	s.members[list][m] = ship
}

func (s *State) removeMember(list string, m events.ListMember) {
	delete(s.members[list], m)
	left := slices.DeleteFunc(slices.Clone(s.memberOf[m]), func(other string) bool { return other == list })
	if s.memberOf[m] = left; len(left) == 0 {
		delete(s.memberOf, m)
	}
}

// hold is the membership that counts of one user in one list.
type hold struct {
	// until is when the first link of the way to it ends.
	until time.Time
	// way is how they come to it, from the list they are in to the list itself.
	way []string
}

// maxNesting bounds how deep lists are in one another.
const maxNesting = 10

// holds returns the lists of which a user is a member at a moment, by
// themselves or by way of other lists: memberships count that time has not
// ended, in lists that are not suspended, of members who meet the requirements
// of every list on the way. Of several ways the one that lasts longest counts.
func (s *State) holds(u *User, now time.Time) map[string]hold {
	direct := s.memberOf[events.ListMember{Name: u.Name, Kind: events.KindUser}]
	if len(direct) == 0 {
		return nil
	}
	found := map[string]hold{}
	var climb func(m events.ListMember, from hold)
	climb = func(m events.ListMember, from hold) {
		for _, name := range s.memberOf[m] {
			l, ship := s.Lists[name], s.members[name][m]
			switch {
			case l == nil || !ship.Active(now) || l.Suspended(now) || !meets(u, l.MembershipRequires):
				continue
			case m.Kind == events.KindUser && ship.Seq < u.CreatedSeq:
				continue // of an earlier user of this name
			case slices.Contains(from.way, name) || len(from.way) == maxNesting:
				continue // two brokers may have closed a circle at once
			}
			h := hold{until: sooner(sooner(from.until, ship.ExpiresAt), l.Audit.SuspendsAt()), way: append(slices.Clip(from.way), name)}
			if old, ok := found[name]; ok && !h.until.After(old.until) {
				continue
			}
			found[name] = h
			climb(events.ListMember{Name: name, Kind: events.KindList}, h)
		}
	}
	climb(events.ListMember{Name: u.Name, Kind: events.KindUser}, hold{})
	return found
}

// memberships are the lists that a user is in by name, by themselves or by way of others,
// whether or not that counts.
func (s *State) memberships(user string) []string {
	var out []string
	var climb func(m events.ListMember)
	climb = func(m events.ListMember) {
		for _, l := range s.memberOf[m] {
			if !slices.Contains(out, l) {
				out = append(out, l)
				climb(events.ListMember{Name: l, Kind: events.KindList})
			}
		}
	}
	climb(events.ListMember{Name: user, Kind: events.KindUser})
	return out
}

// sooner is the earlier of two ends, of which zero is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// meets reports whether a user has what a list asks for, of their own: what
// lists and requests give does not count.
func meets(u *User, need events.ListRequires) bool {
	for _, r := range need.Roles {
		if !slices.Contains(u.Roles, r) {
			return false
		}
	}
	for name, values := range need.Traits {
		for _, v := range values {
			if !slices.Contains(u.Traits[name], v) {
				return false
			}
		}
	}
	return true
}

// owns reports whether a user may act as an owner of a list: one of its owners,
// or a member of an owning list, who meets its requirements.
func (s *State) owns(u *User, l *List, now time.Time) bool {
	if !meets(u, l.OwnershipRequires) {
		return false
	}
	var held map[string]hold
	for _, o := range l.Owners {
		switch {
		case o.Kind == events.KindUser && o.Name == u.Name && u.CreatedSeq <= l.named[o.Name]:
			return true
		case o.Kind == events.KindList:
			if held == nil {
				held = s.holds(u, now)
			}
			if _, ok := held[o.Name]; ok {
				return true
			}
		}
	}
	return false
}

// Owns reports whether a user may change the members of a list and review it.
func (s *State) Owns(user, list string, now time.Time) bool {
	u, l := s.Users[user], s.Lists[list]
	return u != nil && l != nil && s.owns(u, l, now)
}

// IsMember reports whether a user is in a list, by themselves or by way of
// others, so that it gives them what it grants.
func (s *State) IsMember(user, list string, now time.Time) bool {
	u := s.Users[user]
	if u == nil {
		return false
	}
	_, ok := s.holds(u, now)[list]
	return ok
}

// Counts reports whether a membership by name gives anything at a moment, and
// if not, why.
func (s *State) Counts(list string, m events.ListMember, now time.Time) (reason string, ok bool) {
	l, ship := s.Lists[list], s.members[list][m]
	switch {
	case l == nil:
		return "the list is gone", false
	case !ship.Active(now):
		return "the membership has expired", false
	case l.Suspended(now):
		return "the list is suspended", false
	case m.Kind == events.KindList:
		if s.Lists[m.Name] == nil {
			return "the list is gone", false
		}
		return "", true
	}
	u := s.Users[m.Name]
	switch {
	case u == nil:
		return "the user is gone", false
	case ship.Seq < u.CreatedSeq:
		return "it is of an earlier user of this name: add them again, or remove it", false
	case !meets(u, l.MembershipRequires):
		return "does not meet the requirements", false
	}
	return "", true
}

// sortedLists are the names of the lists.
func (s *State) sortedLists() []string { return slices.Sorted(maps.Keys(s.Lists)) }
