package broker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
)

const oncallList = `
kind: access_list
version: v1
metadata: {name: oncall}
spec:
  title: On call
  owners: [{name: bob, description: keeps the rota}]
  membership_requires: {roles: [aws-reader]}
  grants: {roles: [aws-engineer]}
  audit: {recurrence: {frequency: 3months, day_of_month: 1}, grace_period: 7d}
`

func user(name string) api.ListMember { return api.ListMember{Name: name, Kind: "user"} }

// A member works by what the list gives until an owner takes them out.
func TestAccessListOfOwner(t *testing.T) {
	b, _, _ := demoBroker(t)
	alice, bob, admin := as(t, b, "alice"), as(t, b, "bob"), as(t, b, "admin")
	ctx := t.Context()
	if _, err := admin.Apply(ctx, "list.yaml", []byte(oncallList), false); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.AddMember(ctx, "oncall", api.AddMember{Name: "alice", Kind: "user"}); code(err) != api.CodeDenied {
		t.Errorf("an admin who is no owner added a member: %v", err)
	}
	if ls, err := alice.AccessLists(ctx); err != nil || len(ls) != 0 {
		t.Errorf("alice sees %v, %v", ls, err)
	}
	l, err := bob.AddMember(ctx, "oncall", api.AddMember{Name: "alice", Kind: "user", TTL: "90d", Reason: "rota"})
	if err != nil || len(l.Members) != 1 || l.Members[0].Reason != "rota" || !l.Owner {
		t.Fatalf("added: %+v, %v", l, err)
	}
	ls, err := alice.AccessLists(ctx)
	if err != nil || len(ls) != 1 || !ls[0].Member || ls[0].Members != nil {
		t.Errorf("what alice sees: %+v, %v", ls, err)
	}
	s, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole", AWSRole: "Admin"})
	if err != nil || !slices.Equal(s.AccessLists, []string{"oncall"}) {
		t.Fatalf("session: %+v, %v", s, err)
	}
	a, err := alice.AccessAt(ctx, "now", client.AccessQuestion{User: "alice", AWSRole: "Admin"})
	if err != nil {
		t.Fatal(err)
	}
	var because []string
	for _, c := range a.Users[0].AWSRoles[0].Ways[0].Because {
		because = append(because, c.Type)
	}
	if got := strings.Join(because, " "); !strings.Contains(got, "access_list.created") || !strings.Contains(got, "access_list.member_added") {
		t.Errorf("access at now names %s", got)
	}
	if err := bob.RemoveMember(ctx, "oncall", user("alice"), "left"); err != nil {
		t.Fatal(err)
	}
	if got := waitSession(t, b, s.ID, "ended"); !strings.Contains(got.EndReason, "aws-engineer") {
		t.Errorf("the session ended because %q", got.EndReason)
	}
}

// A review that nobody makes is announced, and then costs everybody the grant.
func TestAccessListLapses(t *testing.T) {
	b, j, clk := demoBroker(t)
	bob, admin := as(t, b, "bob"), as(t, b, "admin")
	ctx := t.Context()
	due := clk.now().Add(10 * 24 * time.Hour).UTC()
	text := strings.Replace(oncallList, "audit: {", "audit: {next_audit_date: "+due.Format(time.RFC3339)+", notifications: {start: 5d}, ", 1)
	if _, err := admin.Apply(ctx, "list.yaml", []byte(text), false); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.AddMember(ctx, "oncall", api.AddMember{Name: "alice", Kind: "user"}); err != nil {
		t.Fatal(err)
	}
	reach := func(d time.Duration) (state string) {
		clk.advance(d)
		b.ledger.changed <- struct{}{} // the janitor sleeps by the real clock
		id, err := b.IssueIdentity(ctx, "bob", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		cfg, _ := id.TLSConfig()
		l, err := dial(t, b, cfg).AccessList(ctx, "oncall")
		if err != nil {
			t.Fatal(err)
		}
		return l.State
	}
	type step struct {
		after time.Duration
		state string
	}
	const day = 24 * time.Hour
	for _, s := range []step{{4 * day, "current"}, {day + time.Second, "review_due"}, {5 * day, "overdue"}, {7 * day, "suspended"}} {
		if got := reach(s.after); got != s.state {
			t.Errorf("after %s more it is %s, want %s", s.after, got, s.state)
		}
	}
	var told, stopped int
	for e, err := range j.Follow(ctx, events.Access, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch d := e.Data.(type) {
		case *events.AccessListReviewDue:
			if told++; !d.DueAt.Equal(due.Truncate(time.Second)) || !d.SuspendsAt.Equal(d.DueAt.Add(7*day)) {
				t.Errorf("announced %+v", d)
			}
		case *events.AccessListSuspended:
			stopped++
		}
		if stopped > 0 {
			break
		}
	}
	if told != 1 || stopped != 1 {
		t.Errorf("announced %d times, suspended %d times", told, stopped)
	}
}

// What a role denies that a request gives, it denies sessions that run, once the access
// begins.
func TestDenialBegins(t *testing.T) {
	b, _, clk := demoBroker(t)
	alice, bob, admin := as(t, b, "alice"), as(t, b, "bob"), as(t, b, "admin")
	ctx := t.Context()
	if _, err := admin.Apply(ctx, "f", []byte(`
kind: role
metadata: {name: aws-strict}
spec:
  deny: {aws_role_arns: ["arn:aws:iam::123456789012:role/ReadOnly"]}
---
kind: role
metadata: {name: asks}
spec:
  allow: {request: {roles: [aws-strict]}}
---
kind: user
metadata: {name: alice}
spec: {roles: [aws-reader, asks]}
`), true); err != nil {
		t.Fatal(err)
	}
	s, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole"})
	if err != nil {
		t.Fatal(err)
	}
	begins := clk.now().Add(time.Hour)
	q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-strict"}, StartsAt: &begins})
	if err == nil {
		_, err = bob.Review(ctx, q.ID, api.CreateReview{Verdict: "approve"})
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := alice.Session(ctx, s.ID); err != nil || got.State != "running" {
		t.Errorf("before it begins: %+v, %v", got, err)
	}
	clk.advance(time.Hour)
	b.ledger.changed <- struct{}{} // the janitor sleeps by the real clock
	if got := waitSession(t, b, s.ID, "ended"); !strings.Contains(got.EndReason, "role aws-strict denies") {
		t.Errorf("the session ended because %q", got.EndReason)
	}
}

// A review that is due concerns members, and no later user of a member's name.
func TestAccessListOfANamesake(t *testing.T) {
	b, _, clk := demoBroker(t)
	bob, admin := as(t, b, "bob"), as(t, b, "admin")
	ctx := t.Context()
	text := strings.Replace(oncallList, "audit: {", "audit: {next_audit_date: "+clk.now().Add(-time.Hour).UTC().Format(time.RFC3339)+", ", 1)
	if _, err := admin.Apply(ctx, "list.yaml", []byte(text), false); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.AddMember(ctx, "oncall", api.AddMember{Name: "alice", Kind: "user"}); err != nil {
		t.Fatal(err)
	}
	due := func(want int) {
		t.Helper()
		if s, err := as(t, b, "alice").Status(ctx); err != nil || len(s.ReviewsDue) != want {
			t.Errorf("reviews due: %+v, %v; want %d", s.ReviewsDue, err, want)
		}
	}
	due(1)
	if err := admin.DeleteResource(ctx, "user", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Apply(ctx, "f", []byte("kind: user\nmetadata: {name: alice}\nspec: {roles: [aws-reader]}\n"), false); err != nil {
		t.Fatal(err)
	}
	due(0)
	if _, err := bob.AddMember(ctx, "oncall", api.AddMember{Name: "alice", Kind: "user"}); err != nil {
		t.Fatal(err)
	}
	due(1)
}

// A reviewer who owns a list answers a request with a membership.
func TestPromoteRequest(t *testing.T) {
	b, j, _ := demoBroker(t)
	alice, bob, admin := as(t, b, "alice"), as(t, b, "bob"), as(t, b, "admin")
	ctx := t.Context()
	if _, err := admin.Apply(ctx, "list.yaml", []byte(oncallList), false); err != nil {
		t.Fatal(err)
	}
	q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, Reason: "every week"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Promote(ctx, q.ID, api.PromoteRequest{AccessList: "oncall"}); code(err) != api.CodeDenied {
		t.Errorf("promoted by who may not review: %v", err)
	}
	if q, err = bob.Promote(ctx, q.ID, api.PromoteRequest{AccessList: "oncall", TTL: "4w", Reason: "rota"}); err != nil || q.State != "promoted" {
		t.Fatalf("promotion: %+v, %v", q, err)
	}
	added := find[*events.AccessListMemberAdded](history(t, j))
	if len(added) != 1 || added[0].RequestID != q.ID || added[0].By != "bob" || added[0].ExpiresAt == nil {
		t.Errorf("memberships: %+v", added)
	}
	if s, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole", AWSRole: "Admin"}); err != nil || len(s.AccessLists) != 1 {
		t.Errorf("session after the promotion: %+v, %v", s, err)
	}
}
