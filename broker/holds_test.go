package broker

import (
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// A call that a proxy holds becomes one request, however many brokers see it, and
// its approval reaches the stream that proxies follow.
func TestHeldCallBecomesARequest(t *testing.T) {
	b, j, clk := demoBroker(t)
	start(t, j, clk) // another broker on the same stream
	if _, err := b.Apply(t.Context(), "test", []byte(`
kind: role
version: v7
metadata: {name: aws-careful}
spec:
  allow:
    app_labels: {"*": "*"}
    aws_role_arns: ["*"]
    approve_actions: ["ec2:TerminateInstances"]
---
kind: user
metadata: {name: dora}
spec: {roles: [aws-careful]}
`)); err != nil {
		t.Fatal(err)
	}
	dora, bob := as(t, b, "dora"), as(t, b, "bob")
	s, err := dora.StartSession(t.Context(), api.StartSession{App: "awsconsole", AWSRole: "ReadOnly"})
	if err != nil {
		t.Fatal(err)
	}
	held := func(session string) *events.AWSCallHeld {
		h := &events.AWSCallHeld{
			AWSRequest: events.AWSRequest{
				RequestID: journal.NewID(), ReceivedAt: clk.now(), User: "dora", SessionID: session, Service: "ec2", Operation: "TerminateInstances",
				Action: "ec2:TerminateInstances", Method: "POST", Host: "ec2.us-east-1.amazonaws.com", Path: "/", Proxy: "p1",
			},
			AccessRequestID: journal.NewID(), Digest: "d", Roles: []string{"aws-careful"}, Parameters: `{"InstanceId":"i-1"}`,
		}
		if _, err := j.Append(t.Context(), events.Event{Data: h}); err != nil {
			t.Fatal(err)
		}
		return h
	}
	held(journal.NewID()) // of no session: refused, and in nobody's way
	h := held(s.ID)
	for e, err := range j.Follow(t.Context(), events.Access, 0, "access.request."+h.AccessRequestID) {
		if err != nil {
			t.Fatal(err)
		}
		if err := b.ledger.reach(t.Context(), e.Seq); err != nil {
			t.Fatal(err)
		}
		break
	}
	q, err := bob.Request(t.Context(), h.AccessRequestID)
	if err != nil || q.State != "pending" || !q.CanReview || q.Call == nil || q.Call.Operation != "TerminateInstances" || q.Call.Parameters != h.Parameters || q.Call.SessionID != s.ID {
		t.Fatalf("what bob sees: %+v, %v", q, err)
	}
	if q, err = bob.Review(t.Context(), q.ID, api.CreateReview{Verdict: "approve"}); err != nil || q.State != "approved" {
		t.Fatalf("%+v, %v", q, err)
	}
	es := history(t, j)
	if n := len(find[*events.RequestCreated](es)); n != 1 {
		t.Errorf("%d requests", n)
	}
	if a := find[*events.RequestApproved](es); len(a) != 1 || len(a[0].Roles) != 0 || !a[0].AccessExpiresAt.Equal(clk.now().Add(15*time.Minute)) {
		t.Errorf("approval: %+v", a)
	}
	status, err := dora.Status(t.Context())
	if err != nil || len(status.Granted) != 0 {
		t.Errorf("the approval grants %+v, %v", status.Granted, err)
	}
}

// The whole way of breaking the glass over the API.
func TestBreakGlass(t *testing.T) {
	b, _, _ := demoBroker(t)
	if _, err := b.Apply(t.Context(), "test", []byte(`
kind: role
version: v7
metadata: {name: glass}
spec:
  allow:
    request: {break_glass_roles: [aws-engineer]}
---
kind: user
metadata: {name: gail}
spec: {roles: [glass]}
`)); err != nil {
		t.Fatal(err)
	}
	gail, alice, bob := as(t, b, "gail"), as(t, b, "alice"), as(t, b, "bob")
	q, err := gail.CreateRequest(t.Context(), api.CreateRequest{Roles: []string{"aws-engineer"}, Reason: "fire", BreakGlass: true})
	if err != nil || q.State != "approved" || !q.ReviewOwed || q.CanReview {
		t.Fatalf("%+v, %v", q, err)
	}
	s, err := gail.StartSession(t.Context(), api.StartSession{App: "awsconsole", AWSRole: "ReadOnly"})
	if err != nil {
		t.Fatal(err)
	}
	if status, err := bob.Status(t.Context()); err != nil || len(status.ReviewsOwed) != 1 || status.ReviewsOwed[0].ID != q.ID {
		t.Errorf("bob is told %+v, %v", status.ReviewsOwed, err)
	}
	if status, err := alice.Status(t.Context()); err != nil || len(status.ReviewsOwed) != 0 {
		t.Errorf("alice, who may not review, is told %+v, %v", status.ReviewsOwed, err)
	}
	if q, err = bob.Review(t.Context(), q.ID, api.CreateReview{Verdict: "deny", Reason: "no fire"}); err != nil || q.State != "revoked" || q.ReviewOwed || q.DropReason != "no fire" {
		t.Fatalf("%+v, %v", q, err)
	}
	if x := waitSession(t, b, s.ID, "ended"); x.EndReason != "the access of request "+q.ID+" was revoked by bob" {
		t.Errorf("the session ended because %q", x.EndReason)
	}
}
