package grants

import (
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

func TestApprovers(t *testing.T) {
	perms := []events.Permission{
		{Role: "dev", Effect: "Allow", Actions: []string{"ec2:*", "s3:Get*", "iam:*"}},
		{Role: "dev", Effect: "Deny", Actions: []string{"ec2:TerminateInstances"}, Approval: true},
		{Role: "ops", Effect: "Deny", Actions: []string{"ec2:Terminate*", "s3:*"}, Approval: true},
		{Role: "public", Effect: "Deny", Actions: []string{"iam:@Permissions management"}, Approval: true},
		{Role: "try", Effect: "Deny", Actions: []string{"*"}, Approval: true, DryRun: true},
		{Role: "guard", Effect: "Deny", Actions: []string{"ec2:*Vpc"}},
	}
	for _, c := range []struct {
		name    string
		call    Call
		allowed bool
		roles   []string
	}{
		{"both want it", Call{Action: "ec2:TerminateInstances"}, false, []string{"dev", "ops"}},
		{"one does", Call{Action: "s3:GetObject"}, false, []string{"ops"}},
		{"nobody does", Call{Action: "ec2:DescribeInstances"}, true, nil},
		{"approved", Call{Action: "ec2:TerminateInstances", Approved: true}, true, nil},
		{"what else it needs", Call{Action: "ec2:RunInstances", Also: []Action{{Name: "ec2:TerminateInstances"}}}, false, []string{"dev", "ops"}},
		{"the level of what else it needs", Call{Action: "ec2:RunInstances", AccessLevel: "Write", Also: []Action{{Name: "iam:AttachRolePolicy", Level: "Permissions management"}}}, false, []string{"public"}},
		{"an action that is not known", Call{}, false, nil},
		{"nobody allows it", Call{Action: "s3:PutObject"}, false, nil},
		{"an approval lifts no denial", Call{Action: "ec2:DeleteVpc", Approved: true}, false, nil},
		{"a denial comes first", Call{Action: "ec2:TerminateInstances", Also: []Action{{Name: "ec2:DeleteVpc"}}}, false, nil},
	} {
		g := New("test")
		g.Fresh()
		now := time.Now()
		if err := g.Apply(1, events.Event{Data: &events.SessionStarted{SessionID: "S", User: "alice", Permissions: perms, ExpiresAt: now.Add(time.Hour)}}, now); err != nil {
			t.Fatal(err)
		}
		d := g.Check("S", "alice", c.call, now)
		if got := d.Approvers(&c.call); d.Allowed != c.allowed || !slices.Equal(got, c.roles) {
			t.Errorf("%s: allowed %v, approvers %v: %s", c.name, d.Allowed, got, d.Reason())
		}
	}
}

func TestOffer(t *testing.T) {
	s := &events.SessionStarted{SessionID: "S", User: "alice", ExpiresAt: time.Now().Add(time.Hour),
		Permissions: []events.Permission{
			{Role: "reader", Effect: "Allow", Actions: []string{"s3:Get*"}},
			{Role: "guard", Effect: "Deny", Actions: []string{"iam:*"}},
		},
		Requestable: []string{"all", "writer", "odd"},
		Offers: []events.Permission{
			{Role: "writer", Effect: "Allow", Actions: []string{"s3:Put*", "iam:Put*"}},
			{Role: "odd", Effect: "Allow", Actions: []string{"s3:*"}}, {Role: "odd", Effect: "Deny", Actions: []string{"s3:PutObject"}},
		},
	}
	for action, want := range map[string][]string{
		"s3:PutObject": {"all", "writer"}, "s3:DeleteObject": {"all", "odd"}, "ec2:RunInstances": {"all"}, "iam:PutRolePolicy": nil,
	} {
		g := New("test")
		g.Fresh()
		if err := g.Apply(1, events.Event{Data: s}, time.Now()); err != nil {
			t.Fatal(err)
		}
		call := Call{Action: action}
		d := g.Check("S", "alice", call, time.Now())
		if got := d.Offer(&call); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", action, got, want)
		}
	}
}

func TestCalls(t *testing.T) {
	g, now, seq := New("test"), time.Now(), uint64(0)
	apply := func(p events.Payload) {
		t.Helper()
		seq++
		if err := g.Apply(seq, events.Event{Data: p}, now); err != nil {
			t.Fatal(err)
		}
	}
	verdict := func(id string, want Verdict) {
		t.Helper()
		if v, _, _ := g.CallVerdict(id, now); v != want {
			t.Errorf("%s is %q, want %q", id, v, want)
		}
	}
	_, _, changed := g.CallVerdict("R1", now)
	verdict("R1", "")
	apply(&events.RequestCreated{RequestID: "R0", ExpiresAt: now.Add(time.Hour)}) // for roles
	apply(&events.RequestCreated{RequestID: "R1", ExpiresAt: now.Add(time.Hour), Call: &events.HeldCall{SessionID: "S", Digest: "d"}})
	verdict("R0", "")
	verdict("R1", CallPending)
	select {
	case <-changed:
	default:
		t.Error("nobody was woken")
	}
	if g.FindCall("S", "d", now) != "R1" || g.FindCall("S", "e", now) != "" || g.FindCall("T", "d", now) != "" {
		t.Error("not found by session and digest alone")
	}
	apply(&events.RequestApproved{RequestID: "R1", AccessExpiresAt: now.Add(time.Minute), Reviewers: []string{"bob"}})
	verdict("R1", CallApproved)
	g.CallMade("R1")
	verdict("R1", CallUsed)
	apply(&events.RequestApproved{RequestID: "R1", AccessExpiresAt: now.Add(time.Hour)})
	verdict("R1", CallUsed)
	if g.FindCall("S", "d", now) != "" {
		t.Error("a used approval is found")
	}
	apply(&events.RequestCreated{RequestID: "R2", ExpiresAt: now.Add(time.Hour), Call: &events.HeldCall{SessionID: "S", Digest: "d"}})
	apply(&events.RequestApproved{RequestID: "R2", AccessExpiresAt: now.Add(time.Minute)})
	now = now.Add(time.Minute)
	verdict("R2", CallExpired)
	g.Forget(now.Add(2 * time.Hour))
	if len(g.calls.byID)+len(g.calls.byKey) != 0 {
		t.Errorf("kept %v, %v", g.calls.byID, g.calls.byKey)
	}
}

// A proxy that is started while an approval may be used knows of it, although the wait for
// it is long over.
func TestCallsOfLateApproval(t *testing.T) {
	made := time.Now()
	created := &events.RequestCreated{RequestID: "R1", TTL: 900, ExpiresAt: made.Add(time.Hour), Call: &events.HeldCall{SessionID: "S", Digest: "d"}}
	approved := &events.RequestApproved{RequestID: "R1", AccessExpiresAt: made.Add(59*time.Minute + 15*time.Minute)}
	for after, want := range map[time.Duration]Verdict{70 * time.Minute: CallApproved, 73 * time.Minute: CallApproved, 74 * time.Minute: CallExpired, 2 * time.Hour: ""} {
		g, now := New("test"), made.Add(after)
		for i, p := range []events.Payload{created, approved} {
			e := events.Event{Data: p}
			if !g.Matters(e, now) {
				continue
			}
			if err := g.Apply(uint64(i+1), e, now); err != nil {
				t.Fatal(err)
			}
		}
		if v, _, _ := g.CallVerdict("R1", now); v != want {
			t.Errorf("after %v it is %q, want %q", after, v, want)
		}
	}
}
