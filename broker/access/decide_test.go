package access

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

// then checks what a decision came to: events or a refusal "code: words".
func then(t *testing.T, es []events.Event, err error, want []events.Payload, refused string) {
	t.Helper()
	if refused != "" {
		var e *Error
		code, words, _ := strings.Cut(refused, ": ")
		if !errors.As(err, &e) || string(e.Code) != code || !strings.Contains(e.Message, words) {
			t.Errorf("refusal %#v, want %q", err, refused)
		}
		return
	}
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	var got []events.Payload
	for _, e := range es {
		if e.ID == "" || !e.Time.Equal(at) {
			t.Errorf("event without id or time: %+v", e.Meta)
		}
		got = append(got, e.Data)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestCreateRequest(t *testing.T) {
	one := []events.Threshold{{Approve: 1, Deny: 1}}
	for _, c := range []struct {
		name    string
		given   []events.Payload
		cmd     CreateRequest
		want    *events.RequestCreated
		refused string
	}{
		{"a role", nil, CreateRequest{Roles: []string{"engineer", "engineer"}, Reason: "fix"},
			&events.RequestCreated{RequestID: "ID1", User: "alice", Roles: []string{"engineer"}, Reason: "fix", TTL: 3600, ExpiresAt: at.Add(24 * time.Hour), Thresholds: one}, ""},
		{"an AWS role", nil, CreateRequest{Resources: []string{adminARN}, TTL: 2 * time.Hour, PendingTTL: time.Hour},
			&events.RequestCreated{RequestID: "ID1", User: "alice", Roles: []string{"engineer"}, Resources: []string{adminARN}, TTL: 7200, ExpiresAt: at.Add(time.Hour), Thresholds: one}, ""},
		{"nothing", nil, CreateRequest{}, nil, "invalid: asks for roles, AWS role ARNs or AWS accounts"},
		{"what she holds", nil, CreateRequest{Roles: []string{"reader"}}, nil, "invalid: holds role reader already"},
		{"what no role lets her", nil, CreateRequest{Roles: []string{"admin"}}, nil, "denied: ask for role admin"},
		{"a long reason", nil, CreateRequest{Roles: []string{"engineer"}, Reason: strings.Repeat("x", 4097)}, nil, "invalid: 4097 bytes"},
		{"longer than the role allows", nil, CreateRequest{Roles: []string{"engineer"}, TTL: 5 * time.Hour}, nil, "invalid: 4h0m0s at most"},
		{"too short", nil, CreateRequest{Roles: []string{"engineer"}, TTL: time.Second}, nil, "invalid: at least"},
		{"waiting too long", nil, CreateRequest{Roles: []string{"engineer"}, PendingTTL: 8 * 24 * time.Hour}, nil, "invalid: waits between"},
		{"not an ARN", nil, CreateRequest{Resources: []string{"Admin"}}, nil, "invalid: is not an ARN"},
		{"as a locked user", []events.Payload{&events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "alice"}, Message: "stolen"}},
			CreateRequest{Roles: []string{"engineer"}}, nil, "locked: stolen"},
		{"as a disabled user", []events.Payload{&events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reader"}, Disabled: true}}},
			CreateRequest{Roles: []string{"engineer"}}, nil, "denied: disabled"},
		{"without the reason that is needed", []events.Payload{&events.RoleUpdated{Role: events.Role{Name: "reader", Allow: events.RoleConditions{
			Request: &events.RequestConditions{Roles: []string{"engineer"}, ReasonRequired: true}}}}},
			CreateRequest{Roles: []string{"engineer"}, Reason: " .\u00a0-\t"}, nil, "invalid: needs a reason"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			c.cmd.User = "alice"
			es, err := Create(s.state, s.env("alice"), c.cmd)
			var want []events.Payload
			if c.want != nil {
				want = []events.Payload{c.want}
			}
			then(t, es, err, want, c.refused)
		})
	}
}

func TestReview(t *testing.T) {
	reviewed := func(who, verdict string) *events.RequestReviewed {
		return &events.RequestReviewed{RequestID: "R1", Reviewer: who, Verdict: verdict, Thresholds: []int{0}}
	}
	for _, c := range []struct {
		name    string
		given   []events.Payload
		by      string
		verdict string
		want    []events.Payload
		refused string
	}{
		{"approved", []events.Payload{asked("R1", nil)}, "bob", "approve", []events.Payload{reviewed("bob", "approve"),
			&events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(time.Hour), Reviewers: []string{"bob"}}}, ""},
		{"denied", []events.Payload{asked("R1", nil)}, "bob", "deny", []events.Payload{reviewed("bob", "deny"),
			&events.RequestDenied{RequestID: "R1", User: "alice", Reviewers: []string{"bob"}}}, ""},
		{"one of two", []events.Payload{asked("R1", twoEyes)}, "bob", "approve", []events.Payload{reviewed("bob", "approve")}, ""},
		{"two of two", []events.Payload{asked("R1", twoEyes), reviewed("bob", "approve")}, "carol", "approve", []events.Payload{reviewed("carol", "approve"),
			&events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(time.Hour), Reviewers: []string{"bob", "carol"}, Threshold: "two"}}, ""},
		{"one denial is enough", []events.Payload{asked("R1", twoEyes), reviewed("bob", "approve")}, "carol", "deny", []events.Payload{reviewed("carol", "deny"),
			&events.RequestDenied{RequestID: "R1", User: "alice", Reviewers: []string{"carol"}, Threshold: "two"}}, ""},
		{"twice", []events.Payload{asked("R1", twoEyes), reviewed("bob", "approve")}, "bob", "approve", nil, "conflict: has reviewed request R1 already"},
		{"her own", []events.Payload{asked("R1", nil), &events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"reviewer"}}}}, "alice", "approve", nil, "denied: their own"},
		{"by somebody who may not", []events.Payload{asked("R1", nil), user("dave", "reader")}, "dave", "approve", nil, "denied: no role of dave"},
		{"after it was decided", []events.Payload{asked("R1", nil), &events.RequestDenied{RequestID: "R1"}}, "bob", "approve", nil, "conflict: is denied already"},
		{"after its time", []events.Payload{asked("R1", func(q *events.RequestCreated) { q.ExpiresAt = at })}, "bob", "approve", nil, "conflict: is expired already"},
		{"another word", []events.Payload{asked("R1", nil)}, "bob", "maybe", nil, "invalid: approve or deny"},
		{"no such request", nil, "bob", "approve", nil, "not_found: R1"},
		{"whoever asked has gone", []events.Payload{asked("R1", nil), &events.UserDeleted{Name: "alice"}}, "bob", "approve", nil, "conflict: has left"},
		{"a later user of the name", []events.Payload{asked("R1", nil), &events.UserDeleted{Name: "alice"}, user("alice", "reader")}, "bob", "approve", nil, "conflict: has left"},
		{"whoever asked may ask no more", []events.Payload{asked("R1", nil), &events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"admin"}}}}, "bob", "approve", nil,
			"conflict: alice may not ask for role engineer any more"},
		{"and is denied", []events.Payload{asked("R1", nil), &events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"admin"}}}}, "bob", "deny",
			[]events.Payload{reviewed("bob", "deny"), &events.RequestDenied{RequestID: "R1", User: "alice", Reviewers: []string{"bob"}}}, ""},
		{"a filter that cannot be read counts nobody", []events.Payload{asked("R1", func(q *events.RequestCreated) {
			q.Thresholds = []events.Threshold{{Filter: "x", Approve: 1, Deny: 1}}
		})}, "bob", "approve", nil, "denied: counts for none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			es, err := Decide(s.state, s.env(c.by), SubmitReview{RequestID: "R1", Reviewer: c.by, Verdict: c.verdict})
			then(t, es, err, c.want, c.refused)
			if len(es) == 2 && (es[1].CausationID != es[0].ID || es[1].CorrelationID != "R1") {
				t.Errorf("the resolution does not name the review that caused it: %+v", es[1].Meta)
			}
		})
	}
}

func TestDropAndExpire(t *testing.T) {
	approved := &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: at.Add(time.Hour)}
	past := *approved
	past.AccessExpiresAt = at
	dropped := []events.Payload{&events.RequestDropped{RequestID: "R1", By: "alice"}}
	for _, c := range []struct {
		name    string
		given   []events.Payload
		want    []events.Payload
		refused string
	}{
		{"pending", []events.Payload{asked("R1", nil)}, dropped, ""},
		{"approved", []events.Payload{asked("R1", nil), approved}, dropped, ""},
		{"approved and over", []events.Payload{asked("R1", nil), &past}, nil, "conflict: ended already"},
		{"dropped", []events.Payload{asked("R1", nil), dropped[0]}, nil, "conflict: is dropped already"},
		{"none", nil, nil, "not_found: R1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := company(t).given(c.given...)
			es, err := Drop(s.state, s.env("alice"), "R1", "")
			then(t, es, err, c.want, c.refused)
		})
	}

	s := company(t).given(asked("R1", nil))
	if es, err := Expire(s.state, s.env(""), "R1"); err != nil || len(es) != 0 {
		t.Errorf("expired before its time: %v, %v", es, err)
	}
	s.now = at.Add(24 * time.Hour)
	if ids, _ := s.state.Lapsing(s.now); !cmp.Equal(ids, []string{"R1"}) {
		t.Errorf("lapsing: %v", ids)
	}
	if got := s.when(Expire(s.state, s.env(""), "R1")); !cmp.Equal(got, []events.Payload{&events.RequestExpired{RequestID: "R1", User: "alice"}}) {
		t.Errorf("expiry: %v", got)
	}
	if es, err := Expire(s.state, s.env(""), "R1"); err != nil || len(es) != 0 {
		t.Errorf("expired twice: %v, %v", es, err)
	}
}

func TestPut(t *testing.T) {
	s := company(t)
	env := s.env("root")
	alice := events.User{Name: "alice", Roles: []string{"reader"}}
	es, err := PutUser(s.state, env, alice, Put{})
	then(t, es, err, nil, "") // as it is already
	changed := alice
	changed.Traits = map[string][]string{"team": {"x"}}
	es, err = PutUser(s.state, env, changed, Put{})
	then(t, es, err, nil, "already_exists: user alice exists already")
	es, err = PutUser(s.state, env, changed, Put{Replace: true, Revision: 9})
	then(t, es, err, nil, "conflict: it is at revision 1, the change was made from 9")
	es, err = PutUser(s.state, env, changed, Put{Replace: true, Revision: 1})
	then(t, es, err, []events.Payload{&events.UserUpdated{User: changed, By: "root"}}, "")
	es, err = PutUser(s.state, env, events.User{Name: "dave", Roles: []string{"ghost"}}, Put{})
	then(t, es, err, nil, "invalid: there is no role ghost")
	es, err = PutUser(s.state, env, events.User{Name: "a b"}, Put{})
	then(t, es, err, nil, "invalid: metadata.name")
	es, err = DeleteRole(s.state, env, "reader")
	then(t, es, err, nil, "conflict: still held by alice, carol")
	es, err = DeleteRole(s.state, env, "admin")
	then(t, es, err, []events.Payload{&events.RoleDeleted{Name: "admin", By: "root"}}, "")
	es, err = PutApp(s.state, env, events.App{Name: "x", RoleARNs: []string{"nope"}}, Put{})
	then(t, es, err, nil, "invalid: spec.aws.role_arns[0]")
	es, err = DeleteApp(s.state, env, "ghost")
	then(t, es, err, nil, "not_found: app ghost")
}

// What was read can be written again, and changes nothing.
func TestPutWhatIsThere(t *testing.T) {
	s := company(t)
	for _, before := range []events.Payload{nil, &events.ClusterSettingsUpdated{}, &events.ClusterSettingsUpdated{ClusterSettings: events.ClusterSettings{SecondFactor: FactorOptional}}} {
		if before != nil {
			s.given(before)
		}
		for _, said := range []string{"", FactorOptional} {
			es, err := PutSettings(s.state, s.env("root"), events.ClusterSettings{SecondFactor: said}, Put{})
			then(t, es, err, nil, "")
		}
	}
	app := events.App{Name: "configured", AccountID: "123456789012"}
	mine := app
	mine.Origin = events.OriginConfigFile
	s.given(&events.AppCreated{App: mine})
	es, err := PutApp(s.state, s.env("root"), app, Put{})
	then(t, es, err, nil, "")
	es, err = PutApp(s.state, s.env("root"), app, Put{Replace: true}) // it is root's from now on
	then(t, es, err, []events.Payload{&events.AppUpdated{App: app, By: "root"}}, "")
	app.AccountID = "111122223333"
	es, err = PutApp(s.state, s.env("root"), app, Put{})
	then(t, es, err, nil, "already_exists: app configured")
}

// A change that was made from something which is gone does not bring it back.
func TestPutRemoved(t *testing.T) {
	s := company(t)
	engineer := s.state.Roles["engineer"].Role
	s.given(&events.RoleUpdated{Role: engineer}, &events.RoleDeleted{Name: "engineer"})
	for revision, refused := range map[uint64]string{0: "", 2: "conflict: role engineer was removed since it was read at revision 2", 9: ""} {
		es, err := PutRole(s.state, s.env("root"), engineer, Put{Replace: true, Revision: revision})
		then(t, es, err, []events.Payload{&events.RoleCreated{Role: engineer, By: "root"}}, refused)
	}
}

// Names that stand for something else are for no new user; who has one can be changed.
func TestReservedNames(t *testing.T) {
	for _, name := range []string{".", "..", "*", "postern"} {
		s := company(t)
		es, err := PutUser(s.state, s.env("root"), events.User{Name: name}, Put{})
		then(t, es, err, nil, "invalid: is not for users")
		s.given(user(name, "reader"))
		es, err = PutUser(s.state, s.env("root"), events.User{Name: name}, Put{Replace: true})
		then(t, es, err, []events.Payload{&events.UserUpdated{User: events.User{Name: name}, By: "root"}}, "")
		es, err = DeleteUser(s.state, s.env("root"), name)
		then(t, es, err, []events.Payload{&events.UserDeleted{Name: name, By: "root"}}, "")
	}
}

func TestLocks(t *testing.T) {
	s := company(t)
	for _, c := range []struct {
		target  events.LockTarget
		refused string
	}{
		{events.LockTarget{Kind: "user", Name: "alcie"}, "not_found: no user alcie to lock"},
		{events.LockTarget{Kind: "planet", Name: "x"}, "invalid: not a kind of target"},
		{events.LockTarget{Kind: "account", Name: "123"}, "invalid: 12 digits"},
		{events.LockTarget{Kind: "aws_role", Name: "Admin"}, "invalid: is not an ARN"},
		{events.LockTarget{Kind: "session", Name: "S9"}, "not_found: session S9"},
		{events.LockTarget{Kind: "user"}, "invalid: has no name"},
	} {
		es, err := Place(s.state, s.env("root"), PlaceLock{Target: c.target})
		then(t, es, err, nil, c.refused)
	}
	early := at.Add(-time.Second)
	es, err := Place(s.state, s.env("root"), PlaceLock{Target: events.LockTarget{Kind: "account", Name: "123456789012"}, ExpiresAt: &early})
	then(t, es, err, nil, "invalid: end before it begins")

	end := at.Add(time.Hour)
	s.when(Place(s.state, s.env("root"), PlaceLock{ID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, ExpiresAt: &end}))
	es, err = Place(s.state, s.env("root"), PlaceLock{ID: "L1", Target: events.LockTarget{Kind: "user", Name: "bob"}})
	then(t, es, err, nil, "conflict: lock L1 is in force on user alice")
	es, err = Place(s.state, s.env("root"), PlaceLock{ID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, ExpiresAt: &end})
	then(t, es, err, nil, "") // the same file again
	es, err = Place(s.state, s.env("root"), PlaceLock{ID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}})
	then(t, es, err, nil, "conflict: what a lock says does not change")
	es, err = Place(s.state, s.env("root"), PlaceLock{Target: events.LockTarget{Kind: "user", Name: "alice"}, Message: "\x1b[2J"})
	then(t, es, err, nil, "invalid: control characters")
	if _, err := Admit(s.state, at, "alice"); err == nil {
		t.Error("a locked user is admitted")
	}
	if _, err := Admit(s.state, end, "alice"); err != nil {
		t.Errorf("after the lock's time: %v", err)
	}
	s.when(Lift(s.state, s.env("root"), "L1"))
	if _, err := Admit(s.state, at, "alice"); err != nil {
		t.Errorf("after the lock was lifted: %v", err)
	}
	es, err = Lift(s.state, s.env("root"), "L1")
	then(t, es, err, nil, "not_found: L1")
}
