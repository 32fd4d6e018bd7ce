package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

const (
	readOnly = "arn:aws:iam::123456789012:role/ReadOnly"
	adminARN = "arn:aws:iam::123456789012:role/team/Admin"
)

// The way of the demo: alice is refused, asks, bob approves, alice works, a
// lock stops her, dropping the access ends the session.
func TestFromDenialToSession(t *testing.T) {
	b, j, clk := demoBroker(t)
	alice, bob, admin := as(t, b, "alice"), as(t, b, "bob"), as(t, b, "admin")
	ctx := t.Context()

	apps, err := alice.Apps(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := []api.App{{
		Name: "awsconsole", Labels: map[string]string{"env": "dev"}, AccountID: "123456789012", Partition: "aws", Region: "us-east-1",
		AWSRoles:    []api.AWSRole{{ARN: readOnly, Name: "ReadOnly", Roles: []string{"aws-reader"}}},
		Requestable: []api.Requestable{{ARN: adminARN, Roles: []string{"aws-engineer"}}},
		ProxyAddrs:  []string{},
	}}
	if d := cmp.Diff(want, apps); d != "" {
		t.Errorf("apps (-want +got):\n%s", d)
	}

	_, err = alice.StartSession(ctx, api.StartSession{App: "awsconsole", AWSRole: "Admin"})
	if code(err) != api.CodeDenied {
		t.Fatalf("session on a role that is not hers: %v", err)
	}
	if next := "postern request create --roles aws-engineer"; !strings.Contains(err.Error(), next) {
		t.Errorf("the refusal %q does not offer %q", err, next)
	}

	q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, Reason: "incident 7", TTL: "2h"})
	if err != nil {
		t.Fatal(err)
	}
	if q.State != "pending" || q.TTLSeconds != 7200 || q.CanReview {
		t.Errorf("new request: %+v", q)
	}
	_, err = alice.StartSession(ctx, api.StartSession{App: "awsconsole", AWSRole: "team/Admin"})
	if next := "postern request show " + q.ID; err == nil || !strings.Contains(err.Error(), next) {
		t.Errorf("with a request pending, the refusal %v does not say %q", err, next)
	}
	if _, err := alice.Review(ctx, q.ID, api.CreateReview{Verdict: "approve"}); code(err) != api.CodeDenied {
		t.Errorf("alice reviewed her own request: %v", err)
	}
	mine, err := bob.Requests(ctx, "pending")
	if err != nil || len(mine) != 1 || !mine[0].CanReview {
		t.Fatalf("what bob may review: %+v, %v", mine, err)
	}
	if q, err = bob.Review(ctx, q.ID, api.CreateReview{Verdict: "approve", Reason: "go"}); err != nil || q.State != "approved" {
		t.Fatalf("approval: %+v, %v", q, err)
	}
	if _, err := bob.Review(ctx, q.ID, api.CreateReview{Verdict: "deny"}); code(err) != api.CodeConflict {
		t.Errorf("second review: %v", err)
	}

	s, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole", AWSRole: "Admin"})
	if err != nil {
		t.Fatal(err)
	}
	started := find[*events.SessionStarted](history(t, j))
	if len(started) != 1 {
		t.Fatalf("%d sessions in the stream", len(started))
	}
	now := clk.now()
	wantStarted := &events.SessionStarted{
		SessionID: s.ID, User: "alice", App: "awsconsole", AppLabels: map[string]string{"env": "dev"},
		Roles:      []events.RoleRef{{Name: "aws-engineer", Revision: 1}},
		RequestIDs: []string{q.ID}, AWSRoleARN: adminARN, Account: "123456789012", Partition: "aws", Region: "us-east-1",
		RoleSessionName: "alice", SourceIdentity: "alice", ExternalID: "postern-1",
		SessionTags: map[string]string{"PosternUser": "alice", "PosternSession": s.ID, "PosternRequest": q.ID},
		StartedAt:   now, ExpiresAt: now.Add(2 * time.Hour), ClientAddr: "127.0.0.1", Certificate: started[0].Certificate, OtherRoles: []string{"aws-reader"},
	}
	if d := cmp.Diff(wantStarted, started[0]); d != "" {
		t.Errorf("session.started (-want +got):\n%s", d)
	}

	lock, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}, Message: "laptop lost", TTL: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Status(ctx); code(err) != api.CodeLocked || !strings.Contains(err.Error(), "laptop lost") {
		t.Errorf("a locked user's status: %v", err)
	}
	if err := admin.LiftLock(ctx, lock.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Status(ctx); err != nil {
		t.Errorf("after the lock: %v", err)
	}

	if err := alice.DropRequest(ctx, q.ID); err != nil {
		t.Fatal(err)
	}
	got := waitSession(t, b, s.ID, "ended")
	if !strings.Contains(got.EndReason, q.ID) {
		t.Errorf("the session ended because %q", got.EndReason)
	}
}

// waitSession follows the stream until a session is in a state.
func waitSession(t *testing.T, b *Broker, id, state string) api.Session {
	t.Helper()
	admin := as(t, b, "admin")
	for e, err := range b.cfg.Journal.Follow(t.Context(), events.Access, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := e.Data.(*events.SessionEnded); !ok || x.SessionID != id {
			continue
		}
		if err := b.ledger.reach(t.Context(), e.Seq); err != nil {
			t.Fatal(err)
		}
		break
	}
	s, err := admin.Session(t.Context(), id)
	if err != nil || s.State != state {
		t.Fatalf("session %s: %+v, %v", id, s, err)
	}
	return s
}

// Who starts a session is told which proxies serve the app, in order.
func TestProxiesOfApp(t *testing.T) {
	b, _, _ := demoBroker(t)
	in := func(env string) func(map[string]string) bool {
		return func(labels map[string]string) bool { return labels["env"] == env }
	}
	b.cfg.Proxies = []ProxyPlace{{"p1:3081", in("prod")}, {"p2:3081", in("dev")}, {"p3:3081", in("dev")}}
	s, err := as(t, b, "alice").StartSession(t.Context(), api.StartSession{App: "awsconsole"})
	if d := cmp.Diff([]string{"p2:3081", "p3:3081"}, s.ProxyAddrs); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
