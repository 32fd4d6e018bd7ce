package access

import (
	"testing"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

const callID = "01K0P5T3RN000001ABCDEFGHJK"

// calling has alice in a session whose role wants a kind of call approved.
func calling(t *testing.T) (*story, events.HeldCall) {
	s := company(t).given(
		role("careful", func(r *events.Role) {
			r.Allow.AppLabels, r.Allow.AWSRoleARNs = map[string][]string{"*": {"*"}}, []string{adminARN}
			r.Allow.ApproveActions = []string{"ec2:TerminateInstances"}
			r.Allow.Request = &events.RequestConditions{Thresholds: []events.Threshold{{Approve: 2, Deny: 1}}}
		}),
		&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader", "careful"}}},
	)
	x := s.when(Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: at.Add(10 * time.Minute)}))[0].(*events.SessionStarted)
	return s, events.HeldCall{SessionID: x.SessionID, Roles: []string{"careful"}, Digest: "d", Action: "ec2:TerminateInstances"}
}

func TestHold(t *testing.T) {
	for _, c := range []struct {
		name    string
		id      string
		user    string
		change  func(*story, *events.HeldCall)
		refused string
	}{
		{"a call", callID, "alice", nil, ""},
		{"of somebody else's session", callID, "bob", nil, "not_found: no running session"},
		{"of a session that is over", callID, "alice", func(s *story, _ *events.HeldCall) { s.now = at.Add(10 * time.Minute) }, "not_found: no running session"},
		{"for a role that wants nothing approved", callID, "alice", func(_ *story, h *events.HeldCall) { h.Roles = []string{"reader"} }, "invalid: role reader does not want"},
		{"for no role", callID, "alice", func(_ *story, h *events.HeldCall) { h.Roles = nil }, "invalid: no role wants"},
		{"under an odd name", "R1 >", "alice", nil, "invalid: is not an id"},
		{"of a locked user", callID, "alice", func(s *story, _ *events.HeldCall) {
			s.given(&events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "alice"}})
		}, "locked: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, call := calling(t)
			if c.change != nil {
				c.change(s, &call)
			}
			es, err := Hold(s.state, s.env("postern"), c.id, c.user, call)
			then(t, es, err, []events.Payload{&events.RequestCreated{
				RequestID: c.id, User: "alice", TTL: 900, ExpiresAt: at.Add(10 * time.Minute), // with the session
				Thresholds: []events.Threshold{{Approve: 2, Deny: 1}}, Call: &call,
			}}, c.refused)
		})
	}
	s, call := calling(t)
	s.when(Hold(s.state, s.env("postern"), callID, "alice", call))
	if es, err := Hold(s.state, s.env("postern"), callID, "alice", call); err != nil || len(es) != 0 {
		t.Errorf("a second broker makes it again: %v, %v", es, err)
	}
}

func TestCallIsApprovedAlone(t *testing.T) {
	s, call := calling(t)
	before := len(s.state.Subject(s.state.Users["alice"], at).Roles)
	s.when(Hold(s.state, s.env("postern"), callID, "alice", call))
	_, err := Decide(s.state, s.env("alice"), SubmitReview{RequestID: callID, Reviewer: "alice", Verdict: approves})
	then(t, nil, err, nil, "denied: their own")
	s.when(Decide(s.state, s.env("bob"), SubmitReview{RequestID: callID, Reviewer: "bob", Verdict: approves}))
	got := s.when(Decide(s.state, s.env("carol"), SubmitReview{RequestID: callID, Reviewer: "carol", Verdict: approves}))
	approval, ok := got[1].(*events.RequestApproved)
	if !ok || len(approval.Roles) != 0 || !approval.AccessExpiresAt.Equal(at.Add(10*time.Minute)) {
		t.Errorf("%+v", got[1])
	}
	if n := len(s.state.Subject(s.state.Users["alice"], at).Roles); n != before {
		t.Errorf("the approval of a call gives %d roles", n-before)
	}
	if _, err := s.state.Subject(s.state.Users["alice"], at).Grant(s.state.Apps["prod"].App, adminARN, callID); err == nil {
		t.Error("a session can rest on the approval of a call")
	}
	_, err = DecidePromotion(s.state, s.env("bob"), Promote{RequestID: callID, List: "l"})
	then(t, nil, err, nil, "conflict: approved already")
}

// The request for a call ends with its session.
func TestCallOfAnEndedSession(t *testing.T) {
	s, call := calling(t)
	s.when(Hold(s.state, s.env("postern"), callID, "alice", call))
	if ids, _ := s.state.Lapsing(at); len(ids) != 0 {
		t.Fatalf("lapses at once: %v", ids)
	}
	s.when(End(s.state, s.env("alice"), call.SessionID, "done"))
	_, err := Decide(s.state, s.env("bob"), SubmitReview{RequestID: callID, Reviewer: "bob", Verdict: approves})
	then(t, nil, err, nil, "conflict: session of this call is over")
	if ids, _ := s.state.Lapsing(at); len(ids) != 1 {
		t.Fatalf("does not lapse: %v", ids)
	}
	if got := s.when(Expire(s.state, s.env("postern"), callID)); len(got) != 1 || s.state.Requests[callID].State(at) != Lapsed {
		t.Errorf("%+v", got)
	}
}

// A role that begins to want approvals ends the sessions that were started without.
func TestApproveActionsEndSessions(t *testing.T) {
	s := company(t).given(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"engineer"}}})
	id := s.when(Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, NotAfter: at.Add(time.Hour)}))[0].(*events.SessionStarted).SessionID
	engineer := s.state.Roles["engineer"].Role
	engineer.Allow.ApproveActions = []string{"iam:*"}
	s.given(&events.RoleUpdated{Role: engineer})
	if got := s.when(EndUnfounded(s.state, s.env("postern"), id)); len(got) != 1 {
		t.Error("the session goes on without approvals")
	}
	if _, faults := policy.Compile(events.Role{Name: "r", Deny: events.RoleConditions{ApproveActions: []string{"iam:*"}}}, 1); len(faults) != 1 {
		t.Error("approve_actions on the deny side are taken")
	}
}
