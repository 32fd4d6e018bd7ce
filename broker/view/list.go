package view

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

// AccessList is an access list as a user sees it; full shows its members.
func AccessList(s *access.State, l *access.List, user string, full bool, now time.Time) api.AccessList {
	out := api.AccessList{
		Name: l.Name, Title: l.Title, Description: l.Description, State: l.State(now),
		NextAuditDate: l.Audit.NextAuditDate.UTC(), SuspendsAt: l.Audit.SuspendsAt().UTC(), ReviewedBy: l.ReviewedBy,
		Owners: []api.ListMember{}, Roles: l.Grants.Roles, Traits: l.Grants.Traits,
		Member: s.IsMember(user, l.Name, now), Owner: s.Owns(user, l.Name, now),
	}
	if !l.ReviewedAt.IsZero() {
		out.ReviewedAt = &l.ReviewedAt
	}
	for _, o := range l.Owners {
		out.Owners = append(out.Owners, api.ListMember{Name: o.Name, Kind: o.Kind})
	}
	if !full {
		return out
	}
	for m, ship := range s.Members(l.Name) {
		v := api.Membership{Name: m.Name, Kind: m.Kind, Reason: ship.Reason, AddedBy: ship.By, AddedAt: ship.AddedAt, RequestID: ship.RequestID}
		if !ship.ExpiresAt.IsZero() {
			v.ExpiresAt = &ship.ExpiresAt
		}
		v.Without, _ = s.Counts(l.Name, m, now)
		out.Members = append(out.Members, v)
	}
	slices.SortFunc(out.Members, func(a, b api.Membership) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// reviewsDue are the lists whose review a user should know of: as an owner, or
// as a member who will lose what the list gives.
func reviewsDue(s *access.State, user string, now time.Time) []api.AccessList {
	var out []api.AccessList
	for _, name := range slices.Sorted(maps.Keys(s.Lists)) {
		l := s.Lists[name]
		ship, member := s.Members(name)[events.ListMember{Name: user, Kind: events.KindUser}]
		if u := s.Users[user]; u == nil || ship.Seq < u.CreatedSeq {
			member = false // of an earlier user of the name
		}
		if l.State(now) != access.Current && (member || s.Owns(user, name, now)) {
			out = append(out, AccessList(s, l, user, false, now))
		}
	}
	return out
}
