package access

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

func TestStart(t *testing.T) {
	granted := func(id string, hours int) []events.Payload {
		return []events.Payload{asked(id, nil), &events.RequestApproved{RequestID: id, User: "alice", Roles: []string{"engineer"},
			AccessExpiresAt: at.Add(time.Duration(hours) * time.Hour)}}
	}
	asksOnly := &events.RoleUpdated{Role: events.Role{Name: "reader", Allow: events.RoleConditions{Request: &events.RequestConditions{Roles: []string{"engineer"}}}}}
	later := func(id, arn string) []events.Payload {
		begin := at.Add(time.Hour)
		return []events.Payload{asked(id, func(q *events.RequestCreated) { q.Resources, q.StartsAt = []string{arn}, &begin }),
			&events.RequestApproved{RequestID: id, User: "alice", Roles: []string{"engineer"}, AccessStartsAt: &begin, AccessExpiresAt: begin.Add(time.Hour)}}
	}
	lock := func(kind, name string) events.Payload {
		return &events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: kind, Name: name}}
	}
	base := events.SessionStarted{
		SessionID: "ID1", User: "alice", App: "prod", Roles: []events.RoleRef{{Name: "reader", Revision: 1}}, AWSRoleARN: readerARN,
		Account: "123456789012", Partition: "aws", Region: "us-east-1", RoleSessionName: "alice", Requestable: []string{"engineer"},
		StartedAt: at, ExpiresAt: at.Add(10 * time.Hour), ClientAddr: "10.0.0.1",
	}
	started := func(change func(*events.SessionStarted)) *events.SessionStarted {
		x := base
		if change != nil {
			change(&x)
		}
		return &x
	}
	engineer := func(x *events.SessionStarted, id string, hours int) {
		x.AWSRoleARN, x.Roles, x.RequestIDs, x.Requestable = adminARN, []events.RoleRef{{Name: "engineer", Revision: 1}}, []string{id}, nil
		x.OtherRoles = []string{"reader"}
		x.ExpiresAt = at.Add(time.Duration(hours) * time.Hour)
	}
	for _, c := range []struct {
		name    string
		given   []events.Payload
		cmd     StartSession
		want    *events.SessionStarted
		refused string
		next    string
	}{
		{"the one role there is", nil, StartSession{}, started(nil), "", ""},
		{"by name", nil, StartSession{AWSRole: "Reader"}, started(nil), "", ""},
		{"by ARN", nil, StartSession{AWSRole: readerARN}, started(nil), "", ""},
		{"not hers", nil, StartSession{AWSRole: "Admin"}, nil, "denied: no role of alice allows " + adminARN, `postern request create --roles engineer --reason "…"`},
		{"not hers, asked already", []events.Payload{asked("R1", nil)}, StartSession{AWSRole: adminARN}, nil, "denied: no role", "postern request show R1"},
		{"not hers, asked for another", []events.Payload{asked("R1", func(q *events.RequestCreated) { q.Resources = []string{readerARN} })}, StartSession{AWSRole: adminARN}, nil,
			"denied: no role", `postern request create --roles engineer --reason "…"`},
		{"not hers, asked for with others", []events.Payload{asked("R1", func(q *events.RequestCreated) { q.Resources = []string{readerARN, "123456789012"} })}, StartSession{AWSRole: adminARN}, nil,
			"denied: no role", "postern request show R1"},
		{"not hers, asked for another, to begin later", later("R1", readerARN), StartSession{AWSRole: adminARN}, nil,
			"denied: no role", `postern request create --roles engineer --reason "…"`},
		{"not hers, to begin later", later("R1", adminARN), StartSession{AWSRole: adminARN}, nil, "denied: no role", ""},
		{"not hers, an earlier alice asked", []events.Payload{asked("R1", nil), &events.UserDeleted{Name: "alice"}, user("alice", "reader")}, StartSession{AWSRole: adminARN}, nil,
			"denied: no role", `postern request create --roles engineer --reason "…"`},
		{"not hers, asked for an earlier role", []events.Payload{asked("R1", nil), &events.RoleDeleted{Name: "engineer"}, role("engineer", func(r *events.Role) {
			r.Allow.AppLabels, r.Allow.AWSRoleARNs = map[string][]string{"*": {"*"}}, []string{"*"}
		})}, StartSession{AWSRole: adminARN}, nil, "denied: no role", `postern request create --roles engineer --reason "…"`},
		{"no such role", nil, StartSession{AWSRole: "Root"}, nil, "not_found: no AWS role Root", "postern apps ls"},
		{"no such app", nil, StartSession{App: "ghost"}, nil, "not_found: no app ghost", "postern apps ls"},
		{"none of hers, several to ask for", []events.Payload{&events.RoleUpdated{Role: events.Role{Name: "reader", Allow: events.RoleConditions{
			Request: &events.RequestConditions{SearchAsRoles: []string{"engineer"}, Roles: []string{"engineer"}}}}}}, StartSession{}, nil,
			"denied: no role of alice gives an AWS role of app prod", `postern request create --roles engineer --reason "…"`},
		{"none of hers, several to ask for, asked already", []events.Payload{asksOnly, asked("R1", nil)}, StartSession{}, nil,
			"denied: no role of alice gives an AWS role of app prod", "postern request show R1"},
		{"none of hers, several to ask for, to begin later", append(later("R1", adminARN), asksOnly), StartSession{}, nil,
			"denied: no role of alice gives an AWS role of app prod", ""},
		{"granted, several to choose from", granted("R1", 2), StartSession{}, nil, "invalid: several AWS roles", "postern apps login --aws-role " + adminARN + " prod"},
		{"granted", granted("R1", 2), StartSession{AWSRole: "Admin"}, started(func(x *events.SessionStarted) { engineer(x, "R1", 2) }), "", ""},
		{"the latest grant", append(granted("R1", 2), granted("R2", 3)...), StartSession{AWSRole: "Admin"}, started(func(x *events.SessionStarted) { engineer(x, "R2", 3) }), "", ""},
		{"a grant that is over", granted("R1", 0), StartSession{AWSRole: "Admin"}, nil, "denied: no role of alice", `postern request create --roles engineer --reason "…"`},
		{"a grant that is locked", append(granted("R1", 2), lock("request", "R1")), StartSession{AWSRole: "Admin"}, nil, "denied: no role of alice", `postern request create --roles engineer --reason "…"`},
		{"a grant given up", append(granted("R1", 2), &events.RequestDropped{RequestID: "R1", By: "alice"}), StartSession{AWSRole: "Admin"}, nil, "denied: no role", `postern request create --roles engineer --reason "…"`},
		{"shortened by the role", []events.Payload{&events.RoleUpdated{Role: events.Role{Name: "reviewer", Options: events.RoleOptions{MaxSessionTTL: 900}}},
			&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader", "reviewer"}}}}, StartSession{},
			started(func(x *events.SessionStarted) {
				x.ExpiresAt, x.OtherRoles = at.Add(15*time.Minute), []string{"reviewer"}
			}), "", ""},
		{"certificate over", nil, StartSession{NotAfter: at}, nil, "denied: certificate has expired", "postern login"},
		{"user locked", []events.Payload{lock("user", "alice")}, StartSession{}, nil, "locked: user alice", ""},
		{"role locked", []events.Payload{lock("role", "reader")}, StartSession{}, nil, "locked: role reader", ""},
		{"another role of hers", []events.Payload{user("alice", "reader", "reviewer")}, StartSession{},
			started(func(x *events.SessionStarted) { x.OtherRoles = []string{"reviewer"} }), "", ""},
		{"another role of hers locked", []events.Payload{user("alice", "reader", "reviewer"), lock("role", "reviewer")}, StartSession{}, nil, "locked: role reviewer", ""},
		{"app locked", []events.Payload{lock("app", "prod")}, StartSession{}, nil, "locked: app prod", ""},
		{"AWS role locked", []events.Payload{lock("aws_role", readerARN)}, StartSession{}, nil, "locked: aws_role", ""},
		{"account locked", []events.Payload{lock("account", "123456789012")}, StartSession{}, nil, "locked: account", ""},
		{"another AWS role locked", []events.Payload{lock("aws_role", adminARN)}, StartSession{}, started(nil), "", ""},
		{"region and external id of the app", []events.Payload{&events.AppUpdated{App: events.App{Name: "prod", RoleARNs: []string{readerARN}, Region: "eu-central-1", ExternalID: "x1",
			SourceIdentity: true, SessionTags: true, Labels: map[string]string{"env": "p"}}}}, StartSession{},
			started(func(x *events.SessionStarted) {
				x.Region, x.ExternalID, x.SourceIdentity, x.AppLabels = "eu-central-1", "x1", "alice", map[string]string{"env": "p"}
				x.SessionTags = map[string]string{"PosternUser": "alice", "PosternSession": "ID1"}
			}), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			cmd := c.cmd
			cmd.User, cmd.ClientAddr = "alice", "10.0.0.1"
			if cmd.App == "" {
				cmd.App = "prod"
			}
			if cmd.NotAfter.IsZero() {
				cmd.NotAfter = at.Add(10 * time.Hour)
			}
			es, err := Start(s.state, s.env("alice"), cmd)
			var want []events.Payload
			if c.want != nil {
				want = []events.Payload{c.want}
			}
			then(t, es, err, want, c.refused)
			if e, ok := err.(*Error); ok && e.Next != c.next {
				t.Errorf("offers %q, want %q", e.Next, c.next)
			}
			if len(es) == 1 && c.want != nil && len(c.want.RequestIDs) == 1 {
				if decision := s.state.Requests[c.want.RequestIDs[0]].DecisionID; es[0].CausationID != decision || decision == "" {
					t.Errorf("caused by %q, want the approval %q", es[0].CausationID, decision)
				}
			}
		})
	}
}

// What a session rests on can go: then it ends, and not otherwise.
func TestUnfounded(t *testing.T) {
	approved := &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(9 * time.Hour)}
	reader := func(c events.RoleConditions) *events.RoleUpdated {
		return &events.RoleUpdated{Role: events.Role{Name: "reader", Allow: c}}
	}
	all := map[string][]string{"*": {"*"}}
	for _, c := range []struct {
		name string
		arn  string
		then []events.Payload
		want string // why it ends, "" where it goes on
	}{
		{"nothing happened", readerARN, nil, ""},
		{"user deleted", readerARN, []events.Payload{&events.UserDeleted{Name: "alice"}}, "user alice was deleted"},
		{"user deleted and made again", readerARN, []events.Payload{&events.UserDeleted{Name: "alice"}, user("alice", "reader")}, "user alice was deleted"},
		{"user disabled", readerARN, []events.Payload{&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader"}, Disabled: true}}}, "disabled"},
		{"role taken away", readerARN, []events.Payload{&events.UserUpdated{User: events.User{Name: "alice"}}}, "role reader does not give"},
		{"role added", readerARN, []events.Payload{&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader", "admin"}}}}, ""},
		{"role lost the ARN", readerARN, []events.Payload{reader(events.RoleConditions{AppLabels: all})}, "role reader does not give"},
		{"role narrowed", readerARN, []events.Payload{reader(events.RoleConditions{AppLabels: all, AWSRoleARNs: []string{readerARN}, AWSActions: []string{"s3:*"}})}, "fewer AWS calls"},
		{"role widened", readerARN, []events.Payload{reader(events.RoleConditions{AppLabels: all, AWSRoleARNs: []string{"*"}})}, ""},
		{"app deleted", readerARN, []events.Payload{&events.AppDeleted{Name: "prod"}}, "app prod was deleted"},
		{"app lost the ARN", readerARN, []events.Payload{&events.AppUpdated{App: events.App{Name: "prod", RoleARNs: []string{adminARN}}}}, "no AWS role of app prod any more"},
		{"another role of hers denies now", readerARN, []events.Payload{
			&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader", "admin"}}},
			&events.RoleUpdated{Role: events.Role{Name: "admin", Deny: events.RoleConditions{AWSRoleARNs: []string{readerARN}}}},
		}, "role admin denies"},
		{"a role that a request gave besides denies now", readerARN, []events.Payload{&events.RoleUpdated{Role: events.Role{Name: "engineer",
			Allow: events.RoleConditions{AppLabels: all, AWSRoleARNs: []string{"*"}}, Deny: events.RoleConditions{AWSRoleARNs: []string{readerARN}}}}}, "role engineer denies"},
		{"another request gives a role that denies", readerARN, []events.Payload{
			&events.RoleUpdated{Role: events.Role{Name: "admin", Deny: events.RoleConditions{AWSRoleARNs: []string{readerARN}}}},
			asked("R2", func(q *events.RequestCreated) { q.Roles = []string{"admin"} }),
			&events.RequestApproved{RequestID: "R2", User: "alice", Roles: []string{"admin"}, AccessExpiresAt: at.Add(time.Hour)},
		}, "role admin denies"},
		{"another request gives one that does not", readerARN, []events.Payload{
			asked("R2", func(q *events.RequestCreated) { q.Roles = []string{"admin"} }),
			&events.RequestApproved{RequestID: "R2", User: "alice", Roles: []string{"admin"}, AccessExpiresAt: at.Add(time.Hour)},
		}, ""},
		{"access given up", adminARN, []events.Payload{&events.RequestDropped{RequestID: "R1", By: "alice"}}, "request R1 was given up"},
		{"the granted role went", adminARN, []events.Payload{&events.RoleDeleted{Name: "engineer"}}, "role engineer does not give"},
		{"a lock ends nothing by itself", adminARN, []events.Payload{
			&events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "request", Name: "R1"}},
			&events.RoleUpdated{Role: events.Role{Name: "engineer", Description: "x", Allow: events.RoleConditions{AppLabels: all, AWSRoleARNs: []string{"*"}}}},
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(asked("R1", nil), approved)
			s.when(Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: c.arn, NotAfter: at.Add(8 * time.Hour)}))
			id := "ID1"
			var touched Touched
			for _, p := range c.then {
				touched.Add(p)
			}
			s.given(c.then...)
			ids := Unfounded(s.state, at, touched)
			if want := c.want != ""; (len(ids) == 1) != want {
				t.Fatalf("unfounded: %v, want %v", ids, want)
			}
			if all := Unfounded(s.state, at, Touched{All: true}); len(all) != len(ids) {
				t.Errorf("a look at all finds %v, at what was touched %v", all, ids)
			}
			got := s.when(EndUnfounded(s.state, s.env("postern"), id))
			if c.want == "" {
				if len(got) != 0 {
					t.Errorf("ended: %+v", got[0])
				}
				return
			}
			if e, ok := got[0].(*events.SessionEnded); !ok || !strings.Contains(e.Reason, c.want) || e.By != "postern" {
				t.Errorf("ended: %+v, want %q", got[0], c.want)
			}
			if s.state.Sessions[id].State(at) != Ended {
				t.Error("the session is not over")
			}
			if es, err := EndUnfounded(s.state, s.env("postern"), id); err != nil || len(es) != 0 {
				t.Errorf("ended twice: %v, %v", es, err)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	s := company(t)
	s.when(Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", NotAfter: at.Add(time.Hour)}))
	if st := s.state.Sessions["ID1"].State(at.Add(time.Hour)); st != Expired {
		t.Errorf("at its end: %s", st)
	}
	got := s.when(End(s.state, s.env("alice"), "ID1", "done"))
	if !cmp.Equal(got, []events.Payload{&events.SessionEnded{SessionID: "ID1", User: "alice", By: "alice", Reason: "done"}}) {
		t.Errorf("%+v", got)
	}
	if again := s.when(End(s.state, s.env("alice"), "ID1", "done")); len(again) != 0 {
		t.Errorf("ended twice: %+v", again)
	}
	es, err := End(s.state, s.env("alice"), "S9", "")
	then(t, es, err, nil, "not_found: session S9")
}

// Every user has a name of their own at AWS, which AWS takes.
func TestRoleSessionName(t *testing.T) {
	for user, want := range map[string]string{
		"alice":             "alice",
		"alice@example.com": "alice@example.com",
	} {
		if got := RoleSessionName(user); got != want {
			t.Errorf("%s: %s, want %s", user, got, want)
		}
	}
	seen := map[string]string{}
	users := []string{"a", "b", "zoë", "zo-", "zo--", "zo|", "alice", "Alice", "aws:alice", strings.Repeat("x", 65), strings.Repeat("x", 66), strings.Repeat("é", 40),
		"alice smith", "alice\u00a0smith", "alice\tsmith", "山田太郎", "山田花子", "أليس", "e\u0301", "\u00e9", "🙂🙂", "🙂🙃", "\xff\xfe", "a\nb", strings.Repeat("ü", 64), "alice/prod", "ALICE@EXAMPLE.COM "}
	for i := range 50 {
		users = append(users, fmt.Sprintf("user|%d", i), fmt.Sprintf("user-%d", i), strings.Repeat("y", 60)+fmt.Sprint(i, "/"))
	}
	for _, u := range append([]string(nil), users...) {
		users = append(users, RoleSessionName(u)) // who calls themselves what another is made into
	}
	for _, u := range users {
		n := RoleSessionName(u)
		if !sessionNameForm.MatchString(n) {
			t.Errorf("%q becomes %q, which STS does not take", u, n)
		}
		if prev, taken := seen[n]; taken && prev != u {
			t.Errorf("%q and %q are both %q", prev, u, n)
		}
		seen[n] = u
		if tag := tagValue(u); !tagValueForm.MatchString(tag) {
			t.Errorf("%q becomes the tag %q", u, tag)
		}
	}
}

// A role that its holders have had in name alone, since it was removed while it was given
// to them, may deny when it is made again.
func TestUnfoundedByRoleMadeAgain(t *testing.T) {
	s := company(t).given(&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader", "guard"}}})
	s.when(Start(s.state, s.env("alice"), StartSession{User: "alice", App: "prod", AWSRole: readerARN, NotAfter: at.Add(8 * time.Hour)}))
	guard := role("guard", func(r *events.Role) { r.Deny.AWSRoleARNs = []string{readerARN} })
	var touched Touched
	touched.Add(guard)
	s.given(guard)
	if ids := Unfounded(s.state, at, touched); len(ids) != 1 {
		t.Errorf("unfounded: %v", ids)
	}
}
