package access

import (
	"fmt"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

var at = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

const (
	readerARN = "arn:aws:iam::123456789012:role/Reader"
	adminARN  = "arn:aws:iam::123456789012:role/Admin"
)

// story is a history that grows: given events, when a command, then events.
type story struct {
	t     *testing.T
	state *State
	now   time.Time
	seq   uint64
	ids   int
	log   []events.Event
}

func (s *story) env(by string) Env {
	return Env{Now: s.now, By: by, NewID: func() string { s.ids++; return fmt.Sprintf("ID%d", s.ids) }}
}

func (s *story) given(ps ...events.Payload) *story {
	s.t.Helper()
	for _, p := range ps {
		s.apply(events.Event{Meta: events.Meta{ID: fmt.Sprintf("given%d", s.seq+1), Time: s.now}, Data: p})
	}
	return s
}

func (s *story) apply(e events.Event) {
	s.seq++
	s.log = append(s.log, e)
	s.state.Apply(e, s.seq)
}

// when carries a decision out and returns its payloads.
func (s *story) when(es []events.Event, err error) []events.Payload {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("refused: %v", err)
	}
	var out []events.Payload
	for _, e := range es {
		s.apply(e)
		out = append(out, e.Data)
	}
	return out
}

func newStory(t *testing.T) *story { return &story{t: t, state: NewState(), now: at} }

func role(name string, change func(*events.Role)) *events.RoleCreated {
	r := events.Role{Name: name}
	change(&r)
	return &events.RoleCreated{Role: r}
}

func user(name string, roles ...string) *events.UserCreated {
	return &events.UserCreated{User: events.User{Name: name, Roles: roles}}
}

// company has alice, who reads and may ask for more, and bob and carol, who review.
func company(t *testing.T) *story {
	all := map[string][]string{"*": {"*"}}
	return newStory(t).given(
		role("reader", func(r *events.Role) {
			r.Allow.AppLabels, r.Allow.AWSRoleARNs = all, []string{readerARN}
			r.Allow.Request = &events.RequestConditions{Roles: []string{"engineer"}, SearchAsRoles: []string{"engineer"}, MaxDuration: 4 * 3600}
		}),
		role("engineer", func(r *events.Role) { r.Allow.AppLabels, r.Allow.AWSRoleARNs = all, []string{"*"} }),
		role("reviewer", func(r *events.Role) { r.Allow.ReviewRequests = &events.ReviewConditions{Roles: []string{"*"}} }),
		role("admin", func(r *events.Role) {}),
		&events.AppCreated{App: events.App{Name: "prod", RoleARNs: []string{readerARN, adminARN}}},
		user("alice", "reader"), user("bob", "reviewer"), user("carol", "reviewer", "reader"),
	)
}

// asked is an open request of alice's.
func asked(id string, change func(*events.RequestCreated)) *events.RequestCreated {
	q := &events.RequestCreated{
		RequestID: id, User: "alice", Roles: []string{"engineer"}, TTL: 3600,
		ExpiresAt: at.Add(24 * time.Hour), Thresholds: []events.Threshold{{Approve: 1, Deny: 1}},
	}
	if change != nil {
		change(q)
	}
	return q
}

func twoEyes(q *events.RequestCreated) {
	q.Thresholds = []events.Threshold{{Name: "two", Approve: 2, Deny: 1}}
}

func TestFold(t *testing.T) {
	s := company(t)
	head := func(p events.Payload) Head { return s.state.Head(p.Channel()) }
	first := head(user("alice"))
	if first.Revision != 1 || first.Seq != 6 {
		t.Errorf("head of a new user: %+v", first)
	}
	s.given(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader"}, Disabled: true}})
	if u := s.state.Users["alice"]; u.Revision != 2 || !u.Disabled || u.CreatedSeq != first.Seq {
		t.Errorf("updated user: %+v", u)
	}
	s.given(&events.UserDeleted{Name: "alice"})
	if s.state.Users["alice"] != nil || head(user("alice")).Revision != 3 {
		t.Errorf("deleted user: %+v, %+v", s.state.Users["alice"], head(user("alice")))
	}
	s.given(user("alice"))
	if u := s.state.Users["alice"]; u.Revision != 4 || u.CreatedSeq == first.Seq {
		t.Errorf("user of the same name later: %+v", u)
	}
	before := s.seq
	s.given(&events.SigninFailed{User: "whoever"})
	if got := s.state.Head((&events.SigninFailed{User: "whoever"}).Channel()); got.Seq != 0 || s.seq != before+1 {
		t.Errorf("failed sign-ins of anybody are remembered: %+v", got)
	}
}

// What readers hold stays as it was when the state moves on.
func TestFoldLeavesPointersAlone(t *testing.T) {
	s := company(t).given(asked("R1", nil))
	q := s.state.Requests["R1"]
	s.given(&events.RequestReviewed{RequestID: "R1", Reviewer: "bob", Verdict: "approve"},
		&events.RequestApproved{RequestID: "R1", User: "alice", AccessExpiresAt: at.Add(time.Hour)})
	if q.State(at) != Pending || len(q.Reviews) != 0 {
		t.Errorf("the request that was read before changed: %+v", q)
	}
	if got := s.state.Requests["R1"]; got.State(at) != Approved || len(got.Reviews) != 1 {
		t.Errorf("the request now: %+v", got)
	}
}

func TestForget(t *testing.T) {
	end := at.Add(time.Hour)
	s := company(t).given(
		&events.SessionStarted{SessionID: "S1", User: "alice", ExpiresAt: end},
		&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "bob"}, ExpiresAt: &end},
		&events.LockPlaced{LockID: "L2", Target: events.LockTarget{Kind: "user", Name: "bob"}},
	)
	s.state.Forget(at)
	if len(s.state.Sessions) != 1 || len(s.state.Locks) != 2 {
		t.Fatal("forgot what runs")
	}
	s.state.Forget(end)
	if len(s.state.Sessions) != 0 || len(s.state.running) != 0 || len(s.state.Locks) != 1 {
		t.Errorf("kept %v, %v", s.state.Sessions, s.state.Locks)
	}
	if l := s.state.LockOn(end, events.LockTarget{Kind: "user", Name: "bob"}); l == nil || l.LockID != "L2" {
		t.Errorf("the lock without an end: %+v", l)
	}
	if s.state.Head((&events.LockPlaced{LockID: "L1"}).Channel()).Seq == 0 {
		t.Error("the head of a forgotten lock is gone: its id could be used again")
	}
}

// A draft takes changes and the state does not see them.
func TestDraft(t *testing.T) {
	s := company(t).given(&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "bob"}})
	d := s.state.Draft()
	for i, p := range []events.Payload{
		user("dave"), &events.UserDeleted{Name: "alice"}, &events.RoleDeleted{Name: "admin"}, &events.AppDeleted{Name: "prod"},
		&events.LockPlaced{LockID: "L2", Target: events.LockTarget{Kind: "user", Name: "bob"}}, &events.LockLifted{LockID: "L1"},
	} {
		d.Apply(events.Event{Meta: events.Meta{ID: fmt.Sprint(i), Time: at}, Data: p}, 100)
	}
	if d.Users["dave"] == nil || d.Users["alice"] != nil || d.Head(user("alice").Channel()).Revision != 2 {
		t.Error("the draft did not take the changes")
	}
	s.state.dropLock("L2") // not there
	st := s.state
	if st.Users["dave"] != nil || st.Users["alice"] == nil || st.Roles["admin"] == nil || st.Apps["prod"] == nil ||
		len(st.Locks) != 1 || len(st.targets[events.LockTarget{Kind: "user", Name: "bob"}]) != 1 || st.Head(user("alice").Channel()).Revision != 1 {
		t.Error("the state changed with its draft")
	}
}
