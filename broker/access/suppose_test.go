package access

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

// What a session of alice's on Admin would have been allowed, had something
// always been so.
func TestSuppose(t *testing.T) {
	granted := []events.Payload{asked("R1", nil), &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(day)}}
	engineer := func(change func(*events.Role)) *events.RoleCreated {
		return role("engineer", func(r *events.Role) {
			r.Allow.AppLabels, r.Allow.AWSRoleARNs = map[string][]string{"*": {"*"}}, []string{"*"}
			if change != nil {
				change(r)
			}
		})
	}
	reads := func(r *events.Role) { r.Allow.AWSActions = []string{"@Read"} }
	alice := events.ListMember{Name: "alice", Kind: events.KindUser}
	for _, c := range []struct {
		name    string
		fixed   []events.Payload
		given   []events.Payload
		want    []events.Permission
		refused string
	}{
		{"nothing else", nil, granted, nil, ""},
		{"a narrower role", []events.Payload{engineer(reads)}, granted, []events.Permission{{Role: "engineer", Effect: "Allow", Actions: []string{"@Read"}}}, ""},
		{"a role that history changes later", []events.Payload{engineer(reads)}, append(granted, &events.RoleUpdated{Role: engineer(nil).Role}, &events.RoleDeleted{Name: "engineer"}),
			[]events.Permission{{Role: "engineer", Effect: "Allow", Actions: []string{"@Read"}}}, ""},
		{"a role that denies", []events.Payload{engineer(func(r *events.Role) { r.Deny.AWSRoleARNs = []string{adminARN} })}, granted, nil, "denies the AWS role"},
		{"a user with more", []events.Payload{user("alice", "engineer")}, nil, nil, ""},
		{"a user with less", []events.Payload{user("alice")}, nil, nil, "no role of alice"},
		{"a list that she is in", []events.Payload{oncall("oncall", nil)}, []events.Payload{joins("oncall", "alice")}, nil, ""},
		{"a list that a review took her out of", []events.Payload{oncall("oncall", nil)},
			[]events.Payload{joins("oncall", "alice"), &events.AccessListReviewed{List: "oncall", Removed: []events.ListMember{alice}}}, nil, "no role of alice"},
		{"no such app any more", nil, append(granted, &events.AppDeleted{Name: "prod"}), nil, "no app prod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Suppose(c.fixed...)
			for _, p := range append([]events.Payload{
				role("reader", func(r *events.Role) {
					r.Allow.AppLabels, r.Allow.AWSRoleARNs = map[string][]string{"*": {"*"}}, []string{readerARN}
				}),
				engineer(nil), user("alice", "reader"), &events.AppCreated{App: events.App{Name: "prod", RoleARNs: []string{readerARN, adminARN}}},
			}, c.given...) {
				s.Apply(events.Event{Meta: events.Meta{Time: at}, Data: p})
			}
			g, err := s.Session(&events.SessionStarted{User: "alice", App: "prod", AWSRoleARN: adminARN, RequestIDs: []string{"R1"}}, at)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("refused: %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, g.Permissions); d != "" {
				t.Errorf("permissions (-want +got):\n%s", d)
			}
		})
	}
}

// Of a session that rests on several requests nothing would have been different, whichever
// of them was the one that it was started by.
func TestSupposeSeveralRequests(t *testing.T) {
	anywhere := func(actions ...string) func(*events.Role) {
		return func(r *events.Role) {
			r.Allow.AppLabels, r.Allow.AWSRoleARNs, r.Allow.AWSActions = map[string][]string{"*": {"*"}}, []string{"*"}, actions
		}
	}
	s := company(t).given(role("reads", anywhere("@Read")), role("writes", anywhere("@Write")))
	grant := func(id, role string, ends time.Duration) {
		s.given(asked(id, func(q *events.RequestCreated) { q.Roles = []string{role} }),
			&events.RequestApproved{RequestID: id, User: "alice", Roles: []string{role}, AccessExpiresAt: at.Add(ends)})
	}
	grant("A", "reads", 2*time.Hour)
	grant("B", "writes", time.Hour)
	grant("C", "reads", 3*time.Hour)
	for _, id := range []string{"A", "B", "C", ""} {
		started := s.when(Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: adminARN, RequestID: id, NotAfter: at.Add(day)}))
		x := started[0].(*events.SessionStarted)
		supposed := Suppose()
		for _, e := range s.log {
			supposed.Apply(e)
		}
		g, err := supposed.Session(x, at)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(x.Permissions, g.Permissions); d != "" {
			t.Errorf("by request %q, which rests on %v (-was +would be):\n%s", id, x.RequestIDs, d)
		}
	}
}
