package auditor_test

import (
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/events"
)

// Why a call was possible names all that it rests on: what its session does, and what the
// call itself was approved by. Where nobody approved, it says so.
func TestWhyNamesEachApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quick)
	now := time.Now().UTC().Truncate(time.Second)
	for _, r := range []struct {
		id       string
		approved events.RequestApproved
	}{
		{"A1", events.RequestApproved{Rule: "daytime"}},
		{"A2", events.RequestApproved{BreakGlass: true}},
		{"H1", events.RequestApproved{Reviewers: []string{"bob", "carol"}}},
	} {
		w.say("", "", &events.RequestCreated{RequestID: r.id, User: "alice", Roles: []string{"engineer"}, Reason: "a ticket", ExpiresAt: now.Add(time.Hour)})
		r.approved.RequestID, r.approved.User, r.approved.AccessExpiresAt = r.id, "alice", now.Add(time.Hour)
		w.say("", "", &r.approved)
	}
	w.say("", "", &events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account, RequestIDs: []string{"A1", "A2"},
		RoleSessionName: "alice", StartedAt: now, ExpiresAt: now.Add(time.Hour)})
	made := awsRequest("R1", "alice", now)
	made.AccessRequestIDs = []string{"A1", "A2", "H1"}
	w.say("", "", &events.AWSRequestAdmitted{AWSRequest: made})
	w.settle(events.Access, events.Audit)
	c, err := query.New(w.conn, nil).Why(t.Context(), "R1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range c.Steps {
		if s.Kind == "approval" {
			got = append(got, s.ID+": "+s.Summary)
		}
	}
	if want := []string{"A1: approved by rule daytime", "A2: alice broke the glass: nobody approved it", "H1: approved by bob, carol"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
