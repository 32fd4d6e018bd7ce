package access

import (
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// Nothing that an earlier user of a name was given, or gave, is a later one's:
// in whatever order the events of the request and of the user come, because
// nothing but the request's own history is a condition of its events.
func TestNamesake(t *testing.T) {
	approved := &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(time.Hour)}
	broken := &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(time.Hour), BreakGlass: true}
	promoted := &events.RequestPromoted{RequestID: "R1", User: "alice", List: "oncall", By: "owner"}
	joined := &events.AccessListMemberAdded{List: "oncall", Member: events.ListMember{Name: "alice", Kind: events.KindUser}, RequestID: "R1", By: "owner"}
	again := []events.Payload{&events.UserDeleted{Name: "alice"}, user("alice", "reader")}
	engineer := company(t).state.Roles["engineer"].Role
	anew := []events.Payload{&events.RoleDeleted{Name: "engineer"}, &events.RoleCreated{Role: engineer}, &events.RoleUpdated{Role: engineer}}
	for name, given := range map[string][][]events.Payload{
		"approved before":                   {{approved}, again},
		"approved across the end":           {again, {approved}},
		"the glass was broken and reviewed": {{broken}, again, {review("bob", approves, 0)}},
		"a denial that is not enough":       {{broken}, again, {review("bob", denies, 0)}},
		"promoted before":                   {{promoted}, again},
		"promoted, told across the end":     {{promoted}, again, {joined}},
		"promoted across the end":           {again, {promoted}},
		"a member before":                   {{promoted, joined}, again},
		"the role was made anew":            {{approved}, anew},
		"approved across the role's end":    {anew, {approved}},
	} {
		t.Run(name, func(t *testing.T) {
			s := company(t).given(
				&events.AccessListCreated{AccessList: events.AccessList{Name: "oncall", Owners: []events.ListOwner{{Name: "bob", Kind: events.KindUser}},
					Grants: events.ListGrants{Roles: []string{"engineer"}}, Audit: events.ListAudit{NextAuditDate: at.Add(90 * 24 * time.Hour)}}},
				asked("R1", twoEyes))
			for _, g := range given {
				s.given(g...)
			}
			for due, _ := s.state.ListsDue(at.Add(time.Second)); len(due) > 0; due, _ = s.state.ListsDue(at.Add(time.Second)) {
				s.when(TellList(s.state, s.env("postern"), due[0]))
			}
			if got := s.state.Subject(s.state.Users["alice"], at).Roles; len(got) != 1 {
				t.Errorf("she has %d roles, and was given one", len(got))
			}
			_, err := Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: at.Add(time.Hour)})
			if err == nil {
				t.Error("she has a session on what an earlier alice was allowed")
			}
		})
	}

	t.Run("a reviewer", func(t *testing.T) {
		s := company(t).given(asked("R1", twoEyes), review("bob", approves, 0), &events.UserDeleted{Name: "bob"}, user("bob", "reviewer"))
		if got := s.when(Decide(s.state, s.env("carol"), SubmitReview{RequestID: "R1", Reviewer: "carol", Verdict: approves})); len(got) != 1 {
			t.Fatalf("an earlier bob's approval counts: %+v", got)
		}
		if got := s.when(Decide(s.state, s.env("bob"), SubmitReview{RequestID: "R1", Reviewer: "bob", Verdict: approves})); len(got) != 2 {
			t.Errorf("bob may not approve for himself: %+v", got)
		}
	})

	t.Run("a role that was asked for", func(t *testing.T) {
		s := company(t).given(asked("R1", nil)).given(anew...)
		_, err := Decide(s.state, s.env("bob"), SubmitReview{RequestID: "R1", Reviewer: "bob", Verdict: approves})
		then(t, nil, err, nil, "conflict: role engineer, which request R1 asks for, was removed")
	})

	t.Run("a member who is added again", func(t *testing.T) {
		s := company(t).given(oncall("l", nil), joins("l", "alice"), &events.UserDeleted{Name: "alice"}, user("alice", "reader"))
		if why, ok := s.state.Counts("l", events.ListMember{Name: "alice", Kind: events.KindUser}, at); ok || why != "it is of an earlier user of this name: add them again, or remove it" {
			t.Errorf("the membership of before: %v, %q", ok, why)
		}
		add := AddMember{List: "l", Member: events.ListMember{Name: "alice", Kind: events.KindUser}}
		if got := s.when(Add(s.state, s.env("bob"), add)); len(got) != 1 || !s.state.IsMember("alice", "l", at) {
			t.Errorf("she is no member, as if she were one already: %+v", got)
		}
		if got := s.when(Add(s.state, s.env("bob"), add)); len(got) != 0 {
			t.Errorf("the same again: %+v", got)
		}
	})

	t.Run("a list", func(t *testing.T) {
		promoted := &events.RequestPromoted{RequestID: "R1", User: "alice", List: "l", By: "bob"}
		for name, given := range map[string][]events.Payload{
			"promoted before":         {promoted, &events.AccessListDeleted{Name: "l"}},
			"promoted across the end": {&events.AccessListDeleted{Name: "l"}, promoted},
		} {
			s := company(t).given(oncall("l", nil), asked("R1", nil)).given(given...).given(oncall("l", nil))
			if due, _ := s.state.ListsDue(at); len(due) > 0 {
				t.Errorf("%s: the later list is to be told something: %v", name, due)
			}
			if es, err := TellList(s.state, s.env("postern"), "l"); err != nil || len(es) > 0 {
				t.Errorf("%s: the later list is told %+v, %v", name, es, err)
			}
		}
	})

	t.Run("an owner", func(t *testing.T) {
		s := company(t).given(oncall("l", nil), &events.UserDeleted{Name: "bob"}, user("bob", "reviewer"))
		owns := func(want bool) {
			t.Helper()
			if _, err := Attest(s.state, s.env("bob"), ReviewList{List: "l"}); (err == nil) != want || s.state.Owns("bob", "l", at) != want {
				t.Errorf("bob owns the list: %v, want %v", err, want)
			}
		}
		owns(false)
		list := s.state.Lists["l"].AccessList
		list.Title = "another"
		_, err := PutAccessList(s.state, s.env("admin"), list, Put{Replace: true})
		then(t, nil, err, nil, "conflict: its owner bob was an earlier user of that name")
		list.Owners = []events.ListOwner{{Name: "carol", Kind: events.KindUser}}
		s.when(PutAccessList(s.state, s.env("admin"), list, Put{Replace: true}))
		owns(false)
		list.Owners = append(list.Owners, events.ListOwner{Name: "bob", Kind: events.KindUser})
		s.when(PutAccessList(s.state, s.env("admin"), list, Put{Replace: true}))
		owns(true)
		list.Title = "a third"
		s.when(PutAccessList(s.state, s.env("admin"), list, Put{Replace: true}))
		owns(true)
		_, err = DeleteUser(s.state, s.env("admin"), "bob")
		then(t, nil, err, nil, "conflict: user bob still owns access list l")
		_, err = EndUser(s.state, s.env("admin"), "bob")
		then(t, nil, err, nil, "conflict: user bob still owns access list l")
		_, err = ForgetUser(s.state, s.env("admin"), "bob", true)
		then(t, nil, err, nil, "conflict: user bob still owns access list l")
	})
}
