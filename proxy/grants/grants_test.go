package grants_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func session(id, user string) *events.SessionStarted {
	return &events.SessionStarted{
		SessionID: id, User: user, App: "prod",
		Roles:      []events.RoleRef{{Name: "engineer", Revision: 3}},
		RequestIDs: []string{"req-1"},
		AWSRoleARN: "arn:aws:iam::111122223333:role/dev", Account: "111122223333", Partition: "aws", Region: "eu-west-1",
		RoleSessionName: user, StartedAt: t0, ExpiresAt: t0.Add(time.Hour), Certificate: "c1", Device: "laptop",
	}
}

// holding is alice's session s, who holds another role besides.
func holding(role string) *events.SessionStarted {
	s := session("s", "alice")
	s.OtherRoles = []string{role}
	return s
}

// fold applies events with the sequences 1, 2, ….
func fold(t testing.TB, g *grants.Grants, es ...events.Payload) {
	t.Helper()
	for _, e := range es {
		seq := g.Seq() + 1
		if err := g.Apply(seq, events.Event{Meta: events.Meta{ID: fmt.Sprint("event-", seq)}, Data: e}, t0); err != nil {
			t.Fatal(err)
		}
	}
}

func lock(id, kind, name string) *events.LockPlaced {
	return &events.LockPlaced{LockID: id, Target: events.LockTarget{Kind: kind, Name: name}, By: "admin", Message: "incident 7"}
}

func TestFold(t *testing.T) {
	until := t0.Add(time.Minute)
	timed := lock("l", "user", "alice")
	timed.ExpiresAt = &until
	approved := &events.RequestApproved{RequestID: "req-1", User: "alice", AccessExpiresAt: t0.Add(time.Hour)}
	type when struct {
		events []events.Payload
		at     time.Time
	}
	for name, c := range map[string]struct {
		when
		want string // cause
	}{
		"nothing":                       {when{nil, t0}, grants.CauseNoSession},
		"session":                       {when{[]events.Payload{session("s", "alice")}, t0}, ""},
		"its last moment":               {when{[]events.Payload{session("s", "alice")}, t0.Add(time.Hour - 1)}, ""},
		"expired":                       {when{[]events.Payload{session("s", "alice")}, t0.Add(time.Hour)}, grants.CauseExpired},
		"of another user":               {when{[]events.Payload{session("s", "mallory")}, t0}, grants.CauseNoSession},
		"ended":                         {when{[]events.Payload{session("s", "alice"), &events.SessionEnded{SessionID: "s", By: "alice"}}, t0}, grants.CauseEnded},
		"started twice":                 {when{[]events.Payload{session("s", "alice"), session("s", "alice")}, t0}, grants.CauseEnded},
		"started again after its end":   {when{[]events.Payload{session("s", "alice"), &events.SessionEnded{SessionID: "s"}, session("s", "alice")}, t0}, grants.CauseEnded},
		"lock on user":                  {when{[]events.Payload{session("s", "alice"), lock("l", "user", "alice")}, t0}, grants.CauseLock},
		"lock before the session":       {when{[]events.Payload{lock("l", "user", "alice"), session("s", "alice")}, t0}, grants.CauseLock},
		"lock on another user":          {when{[]events.Payload{session("s", "alice"), lock("l", "user", "bob")}, t0}, ""},
		"lock on role":                  {when{[]events.Payload{session("s", "alice"), lock("l", "role", "engineer")}, t0}, grants.CauseLock},
		"lock on another role held":     {when{[]events.Payload{holding("requester"), lock("l", "role", "requester")}, t0}, grants.CauseLock},
		"lock before, on another role":  {when{[]events.Payload{lock("l", "role", "requester"), holding("requester")}, t0}, grants.CauseLock},
		"lock on a role not held":       {when{[]events.Payload{holding("requester"), lock("l", "role", "approver")}, t0}, ""},
		"lock on session":               {when{[]events.Payload{session("s", "alice"), lock("l", "session", "s")}, t0}, grants.CauseLock},
		"lock on session to come":       {when{[]events.Payload{lock("l", "session", "s"), session("s", "alice")}, t0}, grants.CauseLock},
		"lock on app":                   {when{[]events.Payload{session("s", "alice"), lock("l", "app", "prod")}, t0}, grants.CauseLock},
		"lock on AWS role":              {when{[]events.Payload{session("s", "alice"), lock("l", "aws_role", "arn:aws:iam::111122223333:role/dev")}, t0}, grants.CauseLock},
		"lock on account":               {when{[]events.Payload{session("s", "alice"), lock("l", "account", "111122223333")}, t0}, grants.CauseLock},
		"lock on the call's account":    {when{[]events.Payload{session("s", "alice"), lock("l", "account", "444455556666")}, t0}, grants.CauseLock},
		"lock on request":               {when{[]events.Payload{session("s", "alice"), lock("l", "request", "req-1")}, t0}, grants.CauseLock},
		"lock on this agent":            {when{[]events.Payload{session("s", "alice"), lock("l", "agent", "proxy-1")}, t0}, grants.CauseLock},
		"lock on another agent":         {when{[]events.Payload{session("s", "alice"), lock("l", "agent", "proxy-2")}, t0}, ""},
		"lock on device":                {when{[]events.Payload{session("s", "alice"), lock("l", "device", "laptop")}, t0}, grants.CauseLock},
		"lock on another device":        {when{[]events.Payload{session("s", "alice"), lock("l", "device", "phone")}, t0}, ""},
		"lock of a kind not known":      {when{[]events.Payload{session("s", "alice"), lock("l", "mfa_device", "yubi")}, t0}, grants.CauseLock},
		"and lifted":                    {when{[]events.Payload{session("s", "alice"), lock("l", "mfa_device", "yubi"), &events.LockLifted{LockID: "l"}}, t0}, ""},
		"lifted":                        {when{[]events.Payload{session("s", "alice"), lock("l", "user", "alice"), &events.LockLifted{LockID: "l"}}, t0}, ""},
		"one of two lifted":             {when{[]events.Payload{session("s", "alice"), lock("l", "user", "alice"), lock("m", "user", "alice"), &events.LockLifted{LockID: "l"}}, t0}, grants.CauseLock},
		"lock with a time":              {when{[]events.Payload{session("s", "alice"), timed}, until.Add(-1)}, grants.CauseLock},
		"lock after its time":           {when{[]events.Payload{session("s", "alice"), timed}, until}, ""},
		"user disabled":                 {when{[]events.Payload{session("s", "alice"), &events.UserUpdated{User: events.User{Name: "alice", Disabled: true}}}, t0}, grants.CauseEnded},
		"user enabled again":            {when{[]events.Payload{session("s", "alice"), &events.UserUpdated{User: events.User{Name: "alice", Disabled: true}}, &events.UserUpdated{User: events.User{Name: "alice"}}}, t0}, ""},
		"user deleted":                  {when{[]events.Payload{session("s", "alice"), &events.UserDeleted{Name: "alice"}}, t0}, grants.CauseEnded},
		"deleted before the start":      {when{[]events.Payload{&events.UserDeleted{Name: "alice"}, session("s", "alice")}, t0}, grants.CauseEnded},
		"another user of the same name": {when{[]events.Payload{session("s", "alice"), &events.UserDeleted{Name: "alice"}, &events.UserCreated{User: events.User{Name: "alice"}}}, t0}, grants.CauseEnded},
		"the new user's session":        {when{[]events.Payload{&events.UserDeleted{Name: "alice"}, &events.UserCreated{User: events.User{Name: "alice"}}, session("s", "alice")}, t0}, ""},
		"request dropped":               {when{[]events.Payload{approved, session("s", "alice"), &events.RequestDropped{RequestID: "req-1"}}, t0}, grants.CauseEnded},
		"dropped before the start":      {when{[]events.Payload{approved, &events.RequestDropped{RequestID: "req-1"}, session("s", "alice")}, t0}, grants.CauseEnded},
		"another request dropped":       {when{[]events.Payload{approved, session("s", "alice"), &events.RequestDropped{RequestID: "req-2"}}, t0}, ""},
		"role changed and deleted":      {when{[]events.Payload{session("s", "alice"), &events.RoleUpdated{Role: events.Role{Name: "engineer"}}, &events.RoleDeleted{Name: "engineer"}}, t0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := grants.New("proxy-1")
			g.Fresh()
			fold(t, g, c.events...)
			call := grants.Call{Action: "s3:GetObject", Account: "444455556666"}
			for range 2 { // the second answer may come from what the first remembered
				d := g.Check("s", "alice", call, c.at)
				if d.Cause() != c.want || d.Allowed != (c.want == "") || (d.Reason() == "") != d.Allowed {
					t.Fatalf("cause %q, want %q (%s)", d.Cause(), c.want, d.Reason())
				}
				if c.want == grants.CauseLock && d.LockID() == "" {
					t.Error("no lock is named")
				}
			}
		})
	}
}

func TestReasons(t *testing.T) {
	until := t0.Add(time.Minute)
	timed := lock("l1", "account", "111122223333")
	timed.ExpiresAt = &until
	for _, c := range []struct {
		events []events.Payload
		want   string
	}{
		{nil, "session s is not one of yours that this proxy knows"},
		{[]events.Payload{timed}, "lock l1 on AWS account 111122223333, placed by admin until 2026-03-01T12:01:00Z: incident 7"},
		{[]events.Payload{&events.SessionEnded{SessionID: "s", By: "bob", Reason: "shift over"}}, "session s was ended by bob: shift over"},
		{[]events.Payload{&events.UserDeleted{Name: "alice"}}, "user alice was deleted, which ended this session"},
	} {
		g := grants.New("proxy-1")
		g.Fresh()
		if c.events != nil {
			fold(t, g, append([]events.Payload{session("s", "alice")}, c.events...)...)
		}
		d := g.Check("s", "alice", grants.Call{}, t0)
		if diff := cmp.Diff(c.want, d.Reason()); diff != "" {
			t.Error(diff)
		}
	}
}

// A proxy that cannot know refuses, whatever it knew before.
func TestStaleRefuses(t *testing.T) {
	g := grants.New("proxy-1")
	fold(t, g, session("s", "alice"))
	stale := func(want string) {
		t.Helper()
		if d := g.Check("s", "alice", grants.Call{}, t0); d.Cause() != want {
			t.Errorf("cause %q, want %q: %s", d.Cause(), want, d.Reason())
		}
	}
	stale(grants.CauseStale) // never caught up
	g.Fresh()
	stale("")
	g.Silence(10*time.Second, true)
	g.Heard(t0.Add(-10*time.Second - 1))
	stale(grants.CauseStale)
	g.Heard(t0.Add(-10 * time.Second))
	stale("")
	g.Heard(t0.Add(-time.Hour)) // never backwards
	stale("")
	odd := errors.New("unknown event type")
	cut := ""
	if w, d := g.Watch("s", "alice", t0, func(d grants.Decision) { cut = d.Cause() }); w == nil {
		t.Fatal(d.Reason())
	}
	if err := g.Undecodable(g.Seq()+1, "access.lock.x", odd); err != nil {
		t.Fatal(err)
	}
	g.Fresh() // what cannot be read stays unread
	stale(grants.CauseStale)
	if cut != grants.CauseStale {
		t.Errorf("the running call was cut with %q", cut)
	}
}

// The roles of a session say how it goes on without word from the stream, and
// where they don't, the proxy's configuration does.
func TestLockMode(t *testing.T) {
	for _, c := range []struct {
		mode   string
		strict bool
		late   string // cause
	}{
		{"", true, grants.CauseStale}, {"", false, ""},
		{events.LockStrict, true, grants.CauseStale}, {events.LockStrict, false, grants.CauseStale},
		{events.LockBestEffort, true, ""}, {events.LockBestEffort, false, ""},
		{"a mode to come", false, grants.CauseStale},
	} {
		g := grants.New("proxy-1")
		g.Silence(10*time.Second, c.strict)
		s := session("s", "alice")
		s.LockMode = c.mode
		fold(t, g, s)
		for wait, want := range map[time.Duration]string{10 * time.Second: "", 10*time.Second + 1: c.late} {
			g.Heard(t0)
			d := g.Check("s", "alice", grants.Call{}, t0.Add(wait))
			w, _ := g.Watch("s", "alice", t0.Add(wait), func(grants.Decision) {})
			if d.Cause() != want || (w != nil) != (want == "") {
				t.Errorf("mode %q, strict %t, after %s: cause %q, want %q", c.mode, c.strict, wait, d.Cause(), want)
			}
		}
		unknown := grants.CauseNoSession
		if c.strict {
			unknown = grants.CauseStale // it may have started meanwhile
		}
		if d := g.Check("t", "alice", grants.Call{}, t0.Add(time.Minute)); d.Cause() != unknown {
			t.Errorf("strict %t: an unknown session: cause %q", c.strict, d.Cause())
		}
		// What was known of locks holds in every mode.
		fold(t, g, lock("l", "user", "alice"))
		if d := g.Check("s", "alice", grants.Call{}, t0.Add(time.Minute)); d.Allowed {
			t.Errorf("mode %q, strict %t: a lock that is known does not hold", c.mode, c.strict)
		}
	}
}

func TestSequenceNeverRepeats(t *testing.T) {
	g := grants.New("proxy-1")
	g.Fresh()
	fold(t, g, session("s", "alice"))
	if err := g.Apply(1, events.Event{Data: &events.SessionEnded{SessionID: "s"}}, t0); err == nil {
		t.Error("sequence 1 was applied twice")
	}
	if err := g.Undecodable(1, "access.lock.x", errors.New("odd")); err == nil {
		t.Error("sequence 1 was applied twice")
	}
	if d := g.Check("s", "alice", grants.Call{}, t0); !d.Allowed || g.Seq() != 1 {
		t.Errorf("a repeated event had an effect: %s", d.Reason())
	}
}

func TestWatchIsCut(t *testing.T) {
	for name, c := range map[string]struct {
		event events.Payload
		cause string
	}{
		"lock":            {lock("l", "app", "prod"), grants.CauseLock},
		"lock on all":     {lock("l", "agent", "proxy-1"), grants.CauseLock},
		"lock on session": {lock("l", "session", "s"), grants.CauseLock},
		"lock elsewhere":  {lock("l", "session", "other"), ""},
		"end":             {&events.SessionEnded{SessionID: "s", By: "bob"}, grants.CauseEnded},
		"user deleted":    {&events.UserDeleted{Name: "alice"}, grants.CauseEnded},
		"user disabled":   {&events.UserUpdated{User: events.User{Name: "alice", Disabled: true}}, grants.CauseEnded},
		"request dropped": {&events.RequestDropped{RequestID: "req-1"}, grants.CauseEnded},
		"sign-in revoked": {&events.SigninRevoked{CertificateSerial: "c1", ExpiresAt: t0.Add(time.Hour)}, grants.CauseLock},
		"another revoked": {&events.SigninRevoked{CertificateSerial: "c2", ExpiresAt: t0.Add(time.Hour)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := grants.New("proxy-1")
			g.Fresh()
			fold(t, g, &events.RequestApproved{RequestID: "req-1", AccessExpiresAt: t0.Add(time.Hour)}, session("s", "alice"))
			var got []string
			w, d := g.Watch("s", "alice", t0, func(d grants.Decision) { got = append(got, d.Cause()) })
			if w == nil {
				t.Fatal(d.Reason())
			}
			stopped, d := g.Watch("s", "alice", t0, func(grants.Decision) { t.Error("cut after Stop") })
			if stopped == nil {
				t.Fatal(d.Reason())
			}
			stopped.Stop()
			fold(t, g, c.event, c.event)
			var want []string
			if c.cause != "" {
				want = []string{c.cause}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("cuts (-want +got):\n%s", diff)
			}
			if w, _ := g.Watch("s", "alice", t0, nil); (w == nil) != (c.cause != "") {
				t.Error("what cuts a running call must refuse the next, and only that")
			}
		})
	}
}

// Memory follows what is live.
func TestForget(t *testing.T) {
	g := grants.New("proxy-1")
	g.Fresh()
	for i := range 500 {
		end := t0.Add(time.Duration((i*37)%500+1) * time.Second)
		s := session(fmt.Sprint("s", i), fmt.Sprint("u", i))
		s.ExpiresAt = end
		l := lock(fmt.Sprint("l", i), "user", fmt.Sprint("u", i))
		l.ExpiresAt = &end
		fold(t, g, s, l, &events.RequestApproved{RequestID: fmt.Sprint("r", i), AccessExpiresAt: end})
		if i%3 == 0 {
			fold(t, g, &events.LockLifted{LockID: l.LockID})
		}
	}
	g.Forget(t0.Add(250 * time.Second))
	if s := g.Stats(); s.Sessions != 500 || s.Locks < 150 || s.Locks > 180 {
		t.Errorf("half way: %+v, want all sessions (in their time of grace) and the unexpired third of the locks", s)
	}
	g.Forget(t0.Add(time.Hour))
	if diff := cmp.Diff(grants.Stats{}, g.Stats()); diff != "" {
		t.Errorf("all has expired, and left (-want +got):\n%s", diff)
	}
	// What had expired long ago when it was read is never kept.
	late := t0.Add(24 * time.Hour)
	end := t0
	old := lock("l", "user", "alice")
	old.ExpiresAt = &end
	for _, p := range []events.Payload{session("s", "alice"), old, &events.RequestApproved{RequestID: "r", AccessExpiresAt: end}, &events.UserCreated{User: events.User{Name: "alice"}}} {
		if err := g.Apply(g.Seq()+1, events.Event{Data: p}, late); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(grants.Stats{}, g.Stats()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	g := grants.New("proxy-1")
	g.Fresh()
	s := session("s", "alice")
	s.Permissions = []events.Permission{
		{Role: "a", Effect: "Deny", Actions: []string{"s3:Delete*"}},
		{Role: "b", Effect: "Allow", Actions: []string{"@Read"}, Resources: []string{"arn:aws:s3:::b/*"}},
	}
	fold(t, g, s, lock("l", "user", "bob"))
	call := grants.Call{Action: "s3:GetObject", AccessLevel: "Read", Resources: []string{"arn:aws:s3:::b/k"}, Region: "eu-west-1"}
	if n := testing.AllocsPerRun(100, func() {
		if d := g.Check("s", "alice", call, t0); !d.Allowed {
			t.Fatal(d.Reason())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
