package access

import (
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// A lock on a role stops its holders at the broker, however they hold it, and nobody else.
func TestRoleLock(t *testing.T) {
	lock := &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "role", Name: "reviewer"}, Message: "looked into"}
	for _, c := range []struct {
		name    string
		given   []events.Payload
		refused string
	}{
		{"held", []events.Payload{lock}, "locked: role reviewer is locked: looked into"},
		{"and lifted", []events.Payload{lock, &events.LockLifted{LockID: "L"}}, ""},
		{"of a list", []events.Payload{user("bob", "reader"), oncall("l", func(l *events.AccessList) {
			l.Owners[0].Name, l.Grants.Roles = "carol", []string{"reviewer"}
		}), joins("l", "bob"), lock}, "locked: role reviewer"},
		{"of a list that they left", []events.Payload{user("bob", "reader"), oncall("l", func(l *events.AccessList) {
			l.Owners[0].Name, l.Grants.Roles = "carol", []string{"reviewer"}
		}), joins("l", "bob"), lock, &events.AccessListMemberRemoved{List: "l", Member: events.ListMember{Name: "bob", Kind: events.KindUser}}}, ""},
		{"not held", []events.Payload{user("bob", "reader"), lock}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(asked("R1", nil)).given(c.given...)
			_, err := Admit(s.state, at, "bob")
			if then(t, nil, err, nil, c.refused); c.refused == "" {
				return
			}
			if MayReview(s.state, s.env("bob"), "bob", s.state.Requests["R1"]) == nil {
				t.Error("he may review")
			}
			if got := s.state.UserState("bob", at); got != Stopped {
				t.Errorf("he is %s", got)
			}
		})
	}

	t.Run("what a request gave", func(t *testing.T) {
		s := company(t).given(
			&events.RoleCreated{Role: events.Role{Name: "ops", Allow: events.RoleConditions{Rules: []events.ResourceRule{{Resources: []string{"role"}, Verbs: []string{"*"}}}}}},
			asked("R1", func(q *events.RequestCreated) { q.Roles = []string{"ops"} }),
			&events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"ops"}, AccessExpiresAt: at.Add(time.Hour)})
		may := func() bool { return s.state.Subject(s.state.Users["alice"], at).May("create", "role") }
		if !may() {
			t.Fatal("the role gives her nothing")
		}
		s.given(&events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "role", Name: "ops"}})
		if may() {
			t.Error("a locked role that a request gave allows its rules")
		}
		if _, err := Admit(s.state, at, "alice"); err != nil {
			t.Errorf("it stops all of what she does: %v", err)
		}
	})
}

// What a lock stops is what ran when it was placed, whatever became of it since.
func TestStopped(t *testing.T) {
	session := func(id string, edit func(*events.SessionStarted)) *events.SessionStarted {
		x := &events.SessionStarted{SessionID: id, User: "alice", App: "app", StartedAt: at, ExpiresAt: at.Add(time.Hour)}
		edit(x)
		return x
	}
	s := company(t).given(
		session("other", func(*events.SessionStarted) {}),
		session("held", func(x *events.SessionStarted) { x.OtherRoles = []string{"reviewer"} }),
		session("rests", func(x *events.SessionStarted) { x.Roles = []events.RoleRef{{Name: "reviewer", Revision: 1}} }),
		session("expired", func(x *events.SessionStarted) { x.OtherRoles, x.ExpiresAt = []string{"reviewer"}, at.Add(-time.Hour) }),
		session("ended", func(x *events.SessionStarted) { x.OtherRoles = []string{"reviewer"} }),
		session("machine", func(x *events.SessionStarted) { x.Device = "m1" }),
		&events.SessionEnded{SessionID: "ended", User: "alice"},
		&events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "role", Name: "reviewer"}},
		&events.SessionEnded{SessionID: "rests", User: "alice"},
		session("later", func(x *events.SessionStarted) { x.OtherRoles = []string{"reviewer"} }))
	seq := s.state.Locks["L"].PlacedSeq
	for target, want := range map[events.LockTarget][]string{
		{Kind: "role", Name: "reviewer"}: {"held", "rests"},
		{Kind: "device", Name: "m1"}:     {"machine"},
		{Kind: "device"}:                 nil,
		{Kind: "app", Name: "app"}:       {"other", "held", "rests", "machine"},
	} {
		var got []string
		for _, x := range s.state.Stopped(target, seq, at) {
			got = append(got, x.SessionID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v stops %v, want %v", target, got, want)
		}
	}
}
