package grants

import (
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// Judge says what Check says of a session with the same permissions.
func TestJudgeAgreesWithCheck(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, perms := range map[string][]events.Permission{
		"none":   nil,
		"reads":  {{Role: "r", Effect: "Allow", Actions: []string{"@Read"}}},
		"denies": {{Role: "r", Effect: "Allow"}, {Role: "d", Effect: "Deny", Resources: []string{"arn:aws:s3:::b/*"}}},
		"holds":  {{Role: "r", Effect: "Allow"}, {Role: "r", Effect: "Deny", Actions: []string{"s3:PutObject"}, Approval: true}},
		"there":  {{Role: "r", Effect: "Allow", Regions: []string{"eu-*"}}},
	} {
		g := New("p")
		g.Heard(start)
		e := events.Event{Data: &events.SessionStarted{SessionID: "S", User: "u", Permissions: perms, StartedAt: start, ExpiresAt: start.Add(time.Hour)}}
		if err := g.Apply(1, e, start); err != nil {
			t.Fatal(err)
		}
		for _, call := range []Call{
			{Action: "s3:GetObject", AccessLevel: "Read", Resources: []string{"arn:aws:s3:::b/k"}, Region: "eu-west-1"},
			{Action: "s3:PutObject", AccessLevel: "Write", Resources: []string{"arn:aws:s3:::c/k"}, Region: "us-east-1"},
			{Action: "s3:PutObject", AccessLevel: "Write", Resources: []string{"arn:aws:s3:::c/k"}, Region: "us-east-1", Approved: true},
			{},
		} {
			want, got := g.Check("S", "u", call, start), Judge(perms, call)
			if got.Allowed != want.Allowed || got.Reason() != want.Reason() || got.Rule() != want.Rule() {
				t.Errorf("%s, %+v: %t %q, want %t %q", name, call, got.Allowed, got.Reason(), want.Allowed, want.Reason())
			}
		}
	}
}
