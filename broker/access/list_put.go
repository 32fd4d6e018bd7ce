package access

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Where a list does not say: Teleport's values, and a grace period of ours.
const (
	defaultAuditMonths = 6
	defaultNotify      = 14 * 24 * time.Hour
	defaultGrace       = 14 * 24 * time.Hour
	maxGrace           = 90 * 24 * time.Hour
)

// CheckAccessList returns what is wrong with an access list, by the paths of its YAML.
func CheckAccessList(l events.AccessList) []policy.Fault {
	var c check
	c.that("metadata.name", checkName(l.Name))
	if len(l.Owners) == 0 {
		c.that("spec.owners", errors.New("a list needs an owner: nobody could review it"))
	}
	for i, o := range l.Owners {
		at := fmt.Sprintf("spec.owners[%d]", i)
		c.that(at+".name", CheckUserName(o.Name))
		if slices.ContainsFunc(l.Owners[:i], func(other events.ListOwner) bool { return other.Name == o.Name && other.Kind == o.Kind }) {
			c.that(at, fmt.Errorf("%s stands there twice", o.Name))
		}
		if o.Kind == events.KindList && o.Name == l.Name {
			c.that(at, errors.New("a list cannot own itself"))
		}
	}
	if len(l.Grants.Roles)+len(l.Grants.Traits) == 0 {
		c.that("spec.grants", errors.New("a list that grants neither roles nor traits gives nothing"))
	}
	c.roles("spec.grants.roles", l.Grants.Roles)
	c.roles("spec.membership_requires.roles", l.MembershipRequires.Roles)
	c.roles("spec.ownership_requires.roles", l.OwnershipRequires.Roles)
	c.traits("spec.grants.traits", l.Grants.Traits)
	c.traits("spec.membership_requires.traits", l.MembershipRequires.Traits)
	c.traits("spec.ownership_requires.traits", l.OwnershipRequires.Traits)
	a := l.Audit
	if a.Months != 0 && !slices.Contains([]int{1, 3, 6, 12}, a.Months) {
		c.that("spec.audit.recurrence.frequency", errors.New("want 1month, 3months, 6months or 1year"))
	}
	if a.DayOfMonth != 0 && !slices.Contains([]int{1, 15, 31}, a.DayOfMonth) {
		c.that("spec.audit.recurrence.day_of_month", errors.New("want 1, 15 or 31 (the last)"))
	}
	if a.GracePeriod > int64(maxGrace/time.Second) {
		c.that("spec.audit.grace_period", fmt.Errorf("longer than %s: an overdue review would hardly matter", maxGrace))
	}
	return c
}

func (c *check) roles(path string, names []string) {
	for i, r := range names {
		c.that(fmt.Sprintf("%s[%d]", path, i), checkName(r))
	}
}

// complete fills in what a file leaves out: from the list as it was, or by default.
func complete(l events.AccessList, old *List, now time.Time) events.AccessList {
	a := &l.Audit
	if a.Months == 0 {
		a.Months = defaultAuditMonths
	}
	if a.DayOfMonth == 0 {
		a.DayOfMonth = 1
	}
	if a.NotifyBefore == 0 {
		a.NotifyBefore = int64(defaultNotify / time.Second)
	}
	if a.GracePeriod == 0 {
		a.GracePeriod = int64(defaultGrace / time.Second)
	}
	switch {
	case !a.NextAuditDate.IsZero():
	case old != nil:
		a.NextAuditDate = old.Audit.NextAuditDate
	default:
		a.NextAuditDate = nextAudit(*a, now)
	}
	return l
}

// nextAudit is the date of the review that follows one at a moment.
func nextAudit(a events.ListAudit, now time.Time) time.Time {
	y, m, _ := now.UTC().Date()
	first := time.Date(y, m+time.Month(a.Months), 1, 0, 0, 0, 0, time.UTC)
	if last := first.AddDate(0, 1, -1).Day(); a.DayOfMonth > last {
		return first.AddDate(0, 0, last-1)
	}
	return first.AddDate(0, 0, a.DayOfMonth-1)
}

// PutAccessList creates or replaces an access list; its members stay.
func PutAccessList(s *State, env Env, l events.AccessList, p Put) ([]events.Event, error) {
	old := s.Lists[l.Name]
	faults := CheckAccessList(l)
	l = complete(l, old, env.Now)
	revision := s.Head(listOf(l.Name)).Revision
	same := false
	if old != nil {
		revision, same = old.Revision, alike(old.AccessList, l)
	}
	write, err := p.decide("access_list", l.Name, revision, old != nil, same, faults)
	if !write || err != nil {
		return nil, err
	}
	for _, r := range slices.Concat(l.Grants.Roles, l.MembershipRequires.Roles, l.OwnershipRequires.Roles) {
		if s.Roles[r] == nil {
			return nil, refuse(Invalid, "access list %s: there is no role %s", l.Name, r)
		}
	}
	for _, o := range l.Owners {
		if !s.knows(events.ListMember{Name: o.Name, Kind: o.Kind}) {
			return nil, refuse(Invalid, "access list %s: there is no %s %s to own it", l.Name, o.Kind, o.Name)
		}
		if seq, ok := old.namedAt(o); ok && !s.still(o.Name, seq) {
			return nil, refuse(Conflict, "access list %s: its owner %s was an earlier user of that name: write it without them first, and name them after that", l.Name, o.Name)
		}
	}
	if old == nil {
		return env.one("", "", &events.AccessListCreated{AccessList: l, By: env.By}), nil
	}
	return env.one("", "", &events.AccessListUpdated{AccessList: l, By: env.By}), nil
}

// namedAt is where a user became an owner of the list, which may be nil.
func (l *List) namedAt(o events.ListOwner) (seq uint64, ok bool) {
	if l != nil && o.Kind == events.KindUser {
		seq, ok = l.named[o.Name]
	}
	return seq, ok
}

func (s *State) knows(m events.ListMember) bool {
	if m.Kind == events.KindList {
		return s.Lists[m.Name] != nil
	}
	return s.Users[m.Name] != nil
}

// DeleteAccessList ends a list that no other list rests on.
func DeleteAccessList(s *State, env Env, name string) ([]events.Event, error) {
	if s.Lists[name] == nil {
		return nil, refuse(NotFound, "there is no access list %s", name)
	}
	users := slices.Clone(s.memberOf[events.ListMember{Name: name, Kind: events.KindList}])
	for _, other := range s.Lists {
		if slices.ContainsFunc(other.Owners, func(o events.ListOwner) bool { return o.Kind == events.KindList && o.Name == name }) {
			users = append(users, other.Name)
		}
	}
	if len(users) > 0 {
		return nil, refuse(Conflict, "access list %s is a member or an owner of %s: take it from there first", name, few(distinct(users)))
	}
	return env.one("", "", &events.AccessListDeleted{Name: name, By: env.By}), nil
}
