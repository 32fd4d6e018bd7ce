package access

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

const day = 24 * time.Hour

// oncall is a list of bob's that gives engineer, reviewed half-yearly.
func oncall(name string, change func(*events.AccessList)) *events.AccessListCreated {
	l := events.AccessList{
		Name: name, Owners: []events.ListOwner{{Name: "bob", Kind: events.KindUser}},
		Grants: events.ListGrants{Roles: []string{"engineer"}},
		Audit:  events.ListAudit{NextAuditDate: at.Add(100 * day), Months: 6, DayOfMonth: 1, NotifyBefore: int64(14 * day / time.Second), GracePeriod: int64(10 * day / time.Second)},
	}
	if change != nil {
		change(&l)
	}
	return &events.AccessListCreated{AccessList: l}
}

func joins(list, who string, change ...func(*events.AccessListMemberAdded)) *events.AccessListMemberAdded {
	e := &events.AccessListMemberAdded{List: list, Member: events.ListMember{Name: who, Kind: events.KindUser}, By: "bob"}
	for _, c := range change {
		c(e)
	}
	return e
}

func within(outer, inner string) *events.AccessListMemberAdded {
	return joins(outer, inner, func(e *events.AccessListMemberAdded) { e.Member.Kind = events.KindList })
}

func until(d time.Duration) func(*events.AccessListMemberAdded) {
	t := at.Add(d)
	return func(e *events.AccessListMemberAdded) { e.ExpiresAt = &t }
}

// What alice gets from lists: the role, by which lists, until when.
func TestListsGive(t *testing.T) {
	suspends := at.Add(110 * day)
	needs := func(roles []string, traits map[string][]string) func(*events.AccessList) {
		return func(l *events.AccessList) {
			l.MembershipRequires = events.ListRequires{Roles: roles, Traits: traits}
		}
	}
	for _, c := range []struct {
		name  string
		given []events.Payload
		later time.Duration
		lists []string // of the role engineer; nil: she does not have it
		until time.Time
	}{
		{"nothing to strangers", []events.Payload{oncall("oncall", nil)}, 0, nil, time.Time{}},
		{"to a member", []events.Payload{oncall("oncall", nil), joins("oncall", "alice")}, 0, []string{"oncall"}, suspends},
		{"until the membership ends", []events.Payload{oncall("oncall", nil), joins("oncall", "alice", until(day))}, day - 1, []string{"oncall"}, at.Add(day)},
		{"not when it has ended", []events.Payload{oncall("oncall", nil), joins("oncall", "alice", until(day))}, day, nil, time.Time{}},
		{"prolonged", []events.Payload{oncall("oncall", nil), joins("oncall", "alice", until(day)), joins("oncall", "alice", until(3*day))}, 2 * day, []string{"oncall"}, at.Add(3 * day)},
		{"in the grace period", []events.Payload{oncall("oncall", nil), joins("oncall", "alice")}, 110*day - 1, []string{"oncall"}, suspends},
		{"not when suspended", []events.Payload{oncall("oncall", nil), joins("oncall", "alice")}, 110 * day, nil, time.Time{}},
		{"again once reviewed", []events.Payload{oncall("oncall", nil), joins("oncall", "alice"),
			&events.AccessListReviewed{List: "oncall", NextAuditDate: at.Add(200 * day)}}, 110 * day, []string{"oncall"}, at.Add(210 * day)},
		{"not when a review took her out", []events.Payload{oncall("oncall", nil), joins("oncall", "alice"),
			&events.AccessListReviewed{List: "oncall", NextAuditDate: at.Add(200 * day), Removed: []events.ListMember{{Name: "alice", Kind: events.KindUser}}}}, 0, nil, time.Time{}},
		{"not when she was taken out", []events.Payload{oncall("oncall", nil), joins("oncall", "alice"),
			&events.AccessListMemberRemoved{List: "oncall", Member: events.ListMember{Name: "alice", Kind: events.KindUser}}}, 0, nil, time.Time{}},
		{"not without the role it asks for", []events.Payload{oncall("oncall", needs([]string{"reader", "reviewer"}, nil)), joins("oncall", "alice")}, 0, nil, time.Time{}},
		{"with the role it asks for", []events.Payload{oncall("oncall", needs([]string{"reader"}, nil)), joins("oncall", "alice")}, 0, []string{"oncall"}, suspends},
		{"not without the trait it asks for", []events.Payload{oncall("oncall", needs(nil, map[string][]string{"team": {"ops"}})), joins("oncall", "alice")}, 0, nil, time.Time{}},
		{"a role by a request is no role to ask for", []events.Payload{oncall("oncall", needs([]string{"engineer"}, nil)), joins("oncall", "alice"),
			asked("R1", nil), &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"reviewer"}, AccessExpiresAt: at.Add(time.Hour)}}, 2 * time.Hour, nil, time.Time{}},
		{"not to a later user of the name", []events.Payload{oncall("oncall", nil), joins("oncall", "alice"),
			&events.UserDeleted{Name: "alice"}, user("alice", "reader")}, 0, nil, time.Time{}},
		{"by way of a list", []events.Payload{oncall("oncall", nil), oncall("team", gives("reader")), within("oncall", "team"), joins("team", "alice", until(day))}, 0, []string{"team", "oncall"}, at.Add(day)},
		{"not by way of a suspended list", []events.Payload{oncall("oncall", nil), within("oncall", "team"), joins("team", "alice"),
			oncall("team", func(l *events.AccessList) { l.Audit.NextAuditDate = at.Add(-10 * day) })}, 0, nil, time.Time{}},
		{"not without what the list around asks for", []events.Payload{oncall("oncall", needs([]string{"admin"}, nil)), oncall("team", gives("reader")), within("oncall", "team"), joins("team", "alice")}, 0, nil, time.Time{}},
		{"by the way that lasts longest", []events.Payload{oncall("oncall", nil), oncall("team", gives("reader")), within("oncall", "team"), joins("team", "alice"), joins("oncall", "alice", until(day))}, 0, []string{"team", "oncall"}, suspends},
		{"in a circle", []events.Payload{oncall("oncall", nil), oncall("team", gives("reader")), within("oncall", "team"), within("team", "oncall"), joins("team", "alice")}, 0, []string{"team", "oncall"}, suspends},
		{"not when the list is gone", []events.Payload{oncall("oncall", nil), joins("oncall", "alice"), &events.AccessListDeleted{Name: "oncall"}, oncall("oncall", nil)}, 0, nil, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			var lists []string
			var ends time.Time
			for _, h := range s.state.Subject(s.state.Users["alice"], at.Add(c.later)).Roles {
				if h.Name == "engineer" && h.Standing() {
					lists, ends = h.Lists, h.Until
				}
			}
			if !slices.Equal(lists, c.lists) || !ends.Equal(c.until) {
				t.Errorf("by lists %v until %v, want %v until %v", lists, ends, c.lists, c.until)
			}
		})
	}
}

func gives(role string) func(*events.AccessList) {
	return func(l *events.AccessList) { l.Grants.Roles = []string{role} }
}

func TestKeepLists(t *testing.T) {
	alice := events.ListMember{Name: "alice", Kind: events.KindUser}
	team := events.ListMember{Name: "team", Kind: events.KindList}
	soon := at.Add(day)
	deep := []events.Payload{oncall("oncall", nil)}
	for i := range maxNesting {
		deep = append(deep, oncall(fmt.Sprintf("l%d", i), nil))
		if i > 0 {
			deep = append(deep, within(fmt.Sprintf("l%d", i-1), fmt.Sprintf("l%d", i)))
		}
	}
	type decide func(*story) ([]events.Event, error)
	add := func(by string, c AddMember) decide {
		return func(s *story) ([]events.Event, error) { return Add(s.state, s.env(by), c) }
	}
	remove := func(by string, m events.ListMember) decide {
		return func(s *story) ([]events.Event, error) {
			return Remove(s.state, s.env(by), RemoveMember{List: "oncall", Member: m, Reason: "left"})
		}
	}
	review := func(by string, c ReviewList) decide {
		return func(s *story) ([]events.Event, error) { c.List = "oncall"; return Attest(s.state, s.env(by), c) }
	}
	base := []events.Payload{oncall("oncall", nil)}
	teamIn := append(base, oncall("team", nil), within("oncall", "team"))
	for _, c := range []struct {
		name    string
		given   []events.Payload
		when    decide
		want    []events.Payload
		refused string
	}{
		{"an owner adds", base, add("bob", AddMember{List: "oncall", Member: alice, ExpiresAt: &soon, Reason: "rota"}),
			[]events.Payload{&events.AccessListMemberAdded{List: "oncall", Member: alice, ExpiresAt: &soon, Reason: "rota", By: "bob"}}, ""},
		{"the same again", append(base, joins("oncall", "alice")), add("bob", AddMember{List: "oncall", Member: alice}), nil, ""},
		{"another end", append(base, joins("oncall", "alice")), add("bob", AddMember{List: "oncall", Member: alice, ExpiresAt: &soon}),
			[]events.Payload{&events.AccessListMemberAdded{List: "oncall", Member: alice, ExpiresAt: &soon, By: "bob"}}, ""},
		{"nobody else adds", base, add("carol", AddMember{List: "oncall", Member: alice}), nil, "denied: carol is not an owner"},
		{"not even a member", append(base, joins("oncall", "alice")), add("alice", AddMember{List: "oncall", Member: alice, Reason: "me"}), nil, "denied: not an owner"},
		{"an owner who lacks what is asked of owners", []events.Payload{oncall("oncall", func(l *events.AccessList) { l.OwnershipRequires.Roles = []string{"admin"} })},
			add("bob", AddMember{List: "oncall", Member: alice}), nil, "denied: does not meet"},
		{"a member of an owning list", append(base, oncall("team", gives("reader")), joins("team", "carol"),
			&events.AccessListUpdated{AccessList: oncall("oncall", func(l *events.AccessList) { l.Owners = []events.ListOwner{{Name: "team", Kind: events.KindList}} }).AccessList}),
			add("carol", AddMember{List: "oncall", Member: alice}), []events.Payload{&events.AccessListMemberAdded{List: "oncall", Member: alice, By: "carol"}}, ""},
		{"a user who is not there", base, add("bob", AddMember{List: "oncall", Member: events.ListMember{Name: "zoe", Kind: events.KindUser}}), nil, "not_found: no user zoe"},
		{"what is neither", base, add("bob", AddMember{List: "oncall", Member: events.ListMember{Name: "alice"}}), nil, "invalid: neither user nor list"},
		{"who does not meet the requirements", []events.Payload{oncall("oncall", func(l *events.AccessList) { l.MembershipRequires.Roles = []string{"admin"} })},
			add("bob", AddMember{List: "oncall", Member: alice}), nil, "conflict: does not meet"},
		{"in the past", base, add("bob", AddMember{List: "oncall", Member: alice, ExpiresAt: &at}), nil, "invalid: end before it begins"},
		{"no such list", nil, add("bob", AddMember{List: "oncall", Member: alice}), nil, "not_found: no access list"},
		{"a list", append(base, oncall("team", nil)), add("bob", AddMember{List: "oncall", Member: team}),
			[]events.Payload{&events.AccessListMemberAdded{List: "oncall", Member: team, By: "bob"}}, ""},
		{"a list in itself", base, add("bob", AddMember{List: "oncall", Member: events.ListMember{Name: "oncall", Kind: events.KindList}}), nil, "conflict: in oncall already"},
		{"a circle", teamIn, add("bob", AddMember{List: "team", Member: events.ListMember{Name: "oncall", Kind: events.KindList}}), nil, "conflict: cannot be in one another"},
		{"too deep", deep, add("bob", AddMember{List: "oncall", Member: events.ListMember{Name: "l0", Kind: events.KindList}}), nil, "conflict: 11 deep"},
		{"an owner removes", append(base, joins("oncall", "alice")), remove("bob", alice),
			[]events.Payload{&events.AccessListMemberRemoved{List: "oncall", Member: alice, Reason: "left", By: "bob"}}, ""},
		{"nobody else removes", append(base, joins("oncall", "alice")), remove("carol", alice), nil, "denied: not an owner"},
		{"who is not in it", base, remove("bob", alice), nil, "not_found: not a member"},
		{"a review", append(base, joins("oncall", "alice")), review("bob", ReviewList{Remove: []events.ListMember{alice, alice}, Notes: "gone"}),
			[]events.Payload{&events.AccessListReviewed{List: "oncall", Notes: "gone", Removed: []events.ListMember{alice}, NextAuditDate: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), By: "bob"}}, ""},
		{"a review by another", base, review("carol", ReviewList{}), nil, "denied: not an owner"},
		{"a review that takes out who is not in", base, review("bob", ReviewList{Remove: []events.ListMember{alice}}), nil, "not_found: not a member"},
		{"deletion of a list that another rests on", teamIn, func(s *story) ([]events.Event, error) { return DeleteAccessList(s.state, s.env("admin"), "team") }, nil, "conflict: member or an owner of oncall"},
		{"deletion of a role that a list gives", base, func(s *story) ([]events.Event, error) { return DeleteRole(s.state, s.env("admin"), "engineer") }, nil, "conflict: access list oncall"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			es, err := c.when(s)
			then(t, es, err, c.want, c.refused)
		})
	}
}

func TestPutAccessList(t *testing.T) {
	bare := events.AccessList{Name: "oncall", Owners: []events.ListOwner{{Name: "bob", Kind: events.KindUser}}, Grants: events.ListGrants{Roles: []string{"engineer"}}}
	s := company(t)
	put := func(l events.AccessList) ([]events.Event, error) {
		return PutAccessList(s.state, s.env("admin"), l, Put{Replace: true})
	}
	made := s.when(put(bare))
	got := made[0].(*events.AccessListCreated).Audit
	want := events.ListAudit{NextAuditDate: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Months: 6, DayOfMonth: 1, NotifyBefore: 14 * 86400, GracePeriod: 14 * 86400}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("a bare list (-want +got):\n%s", d)
	}
	s.given(&events.AccessListReviewed{List: "oncall", NextAuditDate: at.Add(300 * day)})
	if again := s.when(put(bare)); again != nil {
		t.Errorf("the same file after a review: %v", again)
	}
	titled := bare
	titled.Title = "On call"
	if l := s.when(put(titled))[0].(*events.AccessListUpdated); !l.Audit.NextAuditDate.Equal(at.Add(300 * day)) {
		t.Errorf("an edit moved the review to %v", l.Audit.NextAuditDate)
	}
	for words, change := range map[string]func(*events.AccessList){
		"needs an owner":             func(l *events.AccessList) { l.Owners = nil },
		"no user zoe":                func(l *events.AccessList) { l.Owners[0].Name = "zoe" },
		"no list team":               func(l *events.AccessList) { l.Owners[0] = events.ListOwner{Name: "team", Kind: events.KindList} },
		"no role ghost":              func(l *events.AccessList) { l.Grants.Roles = []string{"ghost"} },
		"gives nothing":              func(l *events.AccessList) { l.Grants = events.ListGrants{} },
		"longer than 2160h":          func(l *events.AccessList) { l.Audit.GracePeriod = 91 * 86400 },
		"want 1month, 3months":       func(l *events.AccessList) { l.Audit.Months = 5 },
		"is not an ARN":              func(l *events.AccessList) { l.Grants.Traits = map[string][]string{"aws_role_arns": {"x"}} },
		"membership_requires.traits": func(l *events.AccessList) { l.MembershipRequires.Traits = map[string][]string{"a b": {"x"}} },
	} {
		l := bare
		l.Owners = slices.Clone(bare.Owners)
		change(&l)
		if _, err := put(l); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
}

func TestNextAudit(t *testing.T) {
	for _, c := range []struct {
		months, day int
		from, want  string
	}{
		{1, 31, "2026-01-31", "2026-02-28"}, {1, 31, "2027-12-02", "2028-01-31"}, {3, 15, "2026-11-30", "2027-02-15"},
		{12, 1, "2026-02-28", "2027-02-01"}, {1, 31, "2028-01-01", "2028-02-29"},
	} {
		from, _ := time.Parse(time.DateOnly, c.from)
		if got := nextAudit(events.ListAudit{Months: c.months, DayOfMonth: c.day}, from).Format(time.DateOnly); got != c.want {
			t.Errorf("%d months after %s, day %d: %s, want %s", c.months, c.from, c.day, got, c.want)
		}
	}
}

// A review that is made as soon as it is announced does for its date, and the next is due
// a whole recurrence later.
func TestReviewAnnounced(t *testing.T) {
	for _, c := range []struct {
		months, day         int
		due, reviewed, want string
	}{
		{1, 1, "2026-07-01", "2026-06-20", "2026-08-01"}, {6, 1, "2026-07-01", "2026-06-20", "2027-01-01"}, {1, 31, "2026-06-30", "2026-06-20", "2026-07-31"},
		{1, 1, "2026-07-01", "2026-07-05", "2026-08-01"}, // in its grace period
		{6, 1, "2026-12-01", "2026-06-20", "2026-12-01"}, // not announced yet
	} {
		due, _ := time.Parse(time.DateOnly, c.due)
		s := company(t).given(oncall("oncall", func(l *events.AccessList) {
			l.Audit.NextAuditDate, l.Audit.Months, l.Audit.DayOfMonth, l.Audit.NotifyBefore = due, c.months, c.day, 14*86400
		}))
		s.now, _ = time.Parse(time.DateOnly, c.reviewed)
		got := s.when(Attest(s.state, s.env("bob"), ReviewList{List: "oncall"}))[0].(*events.AccessListReviewed).NextAuditDate.Format(time.DateOnly)
		if got != c.want {
			t.Errorf("%d months, day %d, due %s, reviewed %s: next on %s, want %s", c.months, c.day, c.due, c.reviewed, got, c.want)
		}
		for range 5 { // however often, and however early it is announced
			l := s.state.Lists["oncall"].AccessList
			l.Audit.NotifyBefore = 400 * 86400
			s.given(&events.AccessListUpdated{AccessList: l})
			again := s.when(Attest(s.state, s.env("bob"), ReviewList{List: "oncall"}))[0].(*events.AccessListReviewed).NextAuditDate
			if again.After(s.now.AddDate(0, 2*c.months+1, 0)) {
				t.Errorf("reviewed once more: next on %s", again.Format(time.DateOnly))
			}
		}
	}
}

// What time has to say about a list: once each, and when the next is due.
func TestListsDue(t *testing.T) {
	gone := at.Add(50 * day)
	s := company(t).given(oncall("oncall", nil), joins("oncall", "alice", until(50*day)), joins("oncall", "carol"))
	audit := at.Add(100 * day)
	for _, step := range []struct {
		at   time.Duration
		want events.Payload
		next time.Time
	}{
		{0, nil, gone},
		{50 * day, &events.AccessListMemberRemoved{List: "oncall", Member: events.ListMember{Name: "alice", Kind: events.KindUser}, Reason: "the membership expired", By: "postern"}, audit.Add(-14 * day)},
		{86 * day, &events.AccessListReviewDue{List: "oncall", Owners: []string{"bob"}, DueAt: audit, SuspendsAt: audit.Add(10 * day)}, audit.Add(10 * day)},
		{105 * day, nil, audit.Add(10 * day)},
		{110 * day, &events.AccessListSuspended{List: "oncall", DueAt: audit}, time.Time{}},
	} {
		s.now = at.Add(step.at)
		var got events.Payload
		if ps := s.when(TellList(s.state, s.env("postern"), "oncall")); len(ps) > 0 {
			got = ps[0]
		}
		if d := cmp.Diff(step.want, got); d != "" {
			t.Fatalf("after %s (-want +got):\n%s", step.at, d)
		}
		if names, next := s.state.ListsDue(s.now); len(names) > 0 || !next.Equal(step.next) {
			t.Errorf("after %s: %v still due, next at %v, want %v", step.at, names, next, step.next)
		}
	}
	if got := s.state.Lists["oncall"].State(s.now); got != Suspended {
		t.Errorf("the list is %s", got)
	}
}

func TestPromotion(t *testing.T) {
	promote := func(by string) func(*story) ([]events.Event, error) {
		return func(s *story) ([]events.Event, error) {
			return DecidePromotion(s.state, s.env(by), Promote{RequestID: "R1", List: "oncall", Reason: "on the rota"})
		}
	}
	base := []events.Payload{oncall("oncall", nil), asked("R1", nil)}
	promoted := &events.RequestPromoted{RequestID: "R1", User: "alice", List: "oncall", Reason: "on the rota", By: "bob"}
	for _, c := range []struct {
		name    string
		given   []events.Payload
		by      string
		want    []events.Payload
		refused string
	}{
		{"by an owner who may review", base, "bob", []events.Payload{promoted}, ""},
		{"by a reviewer who does not own the list", base, "carol", nil, "denied: not an owner"},
		{"by the asker", base, "alice", nil, "denied: own request"},
		{"twice", append(base, promoted), "bob", nil, "conflict: is promoted already"},
		{"to a list that gives something else", []events.Payload{oncall("oncall", gives("reader")), asked("R1", nil)}, "bob", nil, "conflict: does not grant role engineer"},
		{"of a user who does not meet the requirements", []events.Payload{oncall("oncall", func(l *events.AccessList) { l.MembershipRequires.Roles = []string{"admin"} }), asked("R1", nil)}, "bob", nil, "conflict: does not meet"},
		{"of a lapsed request", append(base, &events.RequestExpired{RequestID: "R1"}), "bob", nil, "conflict: expired already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			es, err := promote(c.by)(s)
			then(t, es, err, c.want, c.refused)
		})
	}
	// The list hears of it once, whoever tells it.
	s := company(t).given(append(base, promoted)...)
	if names, _ := s.state.ListsDue(at); !slices.Equal(names, []string{"oncall"}) {
		t.Fatalf("due: %v", names)
	}
	es, err := TellList(s.state, s.env("postern"), "oncall")
	then(t, es, err, []events.Payload{&events.AccessListMemberAdded{List: "oncall", Member: events.ListMember{Name: "alice", Kind: events.KindUser}, Reason: "on the rota", RequestID: "R1", By: "bob"}}, "")
	if es[0].CausationID != s.state.Head((&events.RequestPromoted{RequestID: "R1"}).Channel()).EventID {
		t.Error("the membership does not name the promotion as its cause")
	}
	s.apply(es[0])
	if names, _ := s.state.ListsDue(at); len(names) > 0 || !s.state.IsMember("alice", "oncall", at) {
		t.Errorf("still due %v, member %t", names, s.state.IsMember("alice", "oncall", at))
	}
}

// A session that rests on a list says so, ends with it at the latest, and is
// ended when the list gives less.
func TestSessionOfList(t *testing.T) {
	team := oncall("team", func(l *events.AccessList) {
		l.Grants = events.ListGrants{Traits: map[string][]string{"stage": {"prod"}}}
	})
	tagged := role("tagged", func(r *events.Role) {
		r.Allow.AppLabels, r.Allow.AWSRoleARNs = map[string][]string{"stage": {"{{external.stage}}"}}, []string{adminARN}
	})
	for _, c := range []struct {
		name  string
		given []events.Payload
		lists []string
		ends  time.Time
		then  events.Payload
		why   string
	}{
		{"a role", []events.Payload{oncall("oncall", nil), joins("oncall", "alice", until(2*time.Hour))}, []string{"oncall"}, at.Add(2 * time.Hour),
			&events.AccessListMemberRemoved{List: "oncall", Member: events.ListMember{Name: "alice", Kind: events.KindUser}}, "role engineer does not give"},
		{"a list within", []events.Payload{oncall("oncall", nil), oncall("within", gives("reviewer")), joins("within", "alice"), within("oncall", "within")}, []string{"oncall", "within"}, at.Add(10 * time.Hour),
			&events.AccessListDeleted{Name: "oncall"}, "role engineer does not give"},
		{"a trait", []events.Payload{team, tagged, joins("team", "alice", until(time.Hour)), &events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"tagged"}}},
			&events.AppUpdated{App: events.App{Name: "prod", Labels: map[string]string{"stage": "prod"}, RoleARNs: []string{adminARN}}}}, []string{"team"}, at.Add(time.Hour),
			&events.AccessListReviewed{List: "team", NextAuditDate: at.Add(day), Removed: []events.ListMember{{Name: "alice", Kind: events.KindUser}}}, "role tagged does not give"},
		{"a lapsed requirement", []events.Payload{oncall("oncall", func(l *events.AccessList) { l.MembershipRequires.Roles = []string{"reader"} }), joins("oncall", "alice")}, []string{"oncall"}, at.Add(10 * time.Hour),
			&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reviewer"}}}, "role engineer does not give"},
		{"a new list that denies", []events.Payload{oncall("oncall", nil), joins("oncall", "alice"),
			role("no-admin", func(r *events.Role) { r.Deny.AWSRoleARNs = []string{adminARN} }), oncall("careful", gives("no-admin"))}, []string{"oncall"}, at.Add(10 * time.Hour),
			joins("careful", "alice"), "denies the AWS role"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			es, err := Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: at.Add(10 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			x := es[0].Data.(*events.SessionStarted)
			if !slices.Equal(x.AccessLists, c.lists) || !x.ExpiresAt.Equal(c.ends) {
				t.Errorf("rests on %v until %v, want %v until %v", x.AccessLists, x.ExpiresAt, c.lists, c.ends)
			}
			if es[0].CausationID == "" {
				t.Error("it names no cause")
			}
			s.apply(es[0])
			var touched Touched
			touched.Add(c.then)
			s.given(c.then)
			if got := Unfounded(s.state, at, touched); !slices.Equal(got, []string{x.SessionID}) {
				t.Fatalf("unfounded: %v", got)
			}
			ended, err := EndUnfounded(s.state, s.env("postern"), x.SessionID)
			if err != nil || len(ended) != 1 || !strings.Contains(ended[0].Data.(*events.SessionEnded).Reason, c.why) {
				t.Errorf("ended: %v, %v, want because %q", ended, err, c.why)
			}
		})
	}
}

// A session that comes to rest on a list, because its user lost the role that it was
// started by and holds it by a list, ends with what the list gives.
func TestSessionComesToRestOnList(t *testing.T) {
	alice := events.ListMember{Name: "alice", Kind: events.KindUser}
	inner := events.ListMember{Name: "within", Kind: events.KindList}
	nested := []events.Payload{oncall("oncall", nil), oncall("within", gives("reviewer")), within("oncall", "within"), joins("within", "alice")}
	direct := []events.Payload{oncall("oncall", nil), joins("oncall", "alice")}
	for _, c := range []struct {
		name  string
		given []events.Payload
		then  events.Payload
		now   time.Time
	}{
		{"a member goes", direct, &events.AccessListMemberRemoved{List: "oncall", Member: alice}, at},
		{"a review has a member go", direct, &events.AccessListReviewed{List: "oncall", NextAuditDate: at.Add(day), Removed: []events.ListMember{alice}}, at},
		{"the list goes", direct, &events.AccessListDeleted{Name: "oncall"}, at},
		{"the list is suspended", direct, &events.AccessListSuspended{List: "oncall", DueAt: at.Add(100 * day)}, at.Add(110 * day)},
		{"it asks for more", direct, &events.AccessListUpdated{AccessList: oncall("oncall", func(l *events.AccessList) { l.MembershipRequires.Roles = []string{"admin"} }).AccessList}, at},
		{"a member of a list within goes", nested, &events.AccessListMemberRemoved{List: "within", Member: alice}, at},
		{"a list within goes", nested, &events.AccessListMemberRemoved{List: "oncall", Member: inner}, at},
		{"a review has a list within go", nested, &events.AccessListReviewed{List: "oncall", NextAuditDate: at.Add(day), Removed: []events.ListMember{inner}}, at},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"engineer"}}}).given(c.given...)
			s.now = c.now.Add(-time.Hour)
			es, err := Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: s.now.Add(10 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			s.apply(es[0])
			id := es[0].Data.(*events.SessionStarted).SessionID
			sweep := func(p events.Payload) []string {
				var touched Touched
				touched.Add(p)
				s.given(p)
				return Unfounded(s.state, c.now, touched)
			}
			if got := sweep(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader"}}}); c.now == at && len(got) > 0 {
				t.Fatalf("what a list gives is taken for nothing: %v", got)
			}
			if got := sweep(c.then); !slices.Equal(got, []string{id}) {
				t.Errorf("unfounded: %v, want %s", got, id)
			}
		})
	}
}
