package access

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

// told is an event at an hour of a day; its id is "e" and its place.
type told struct {
	hour float64
	what events.Payload
}

func hour(h float64) time.Time { return at.Add(time.Duration(h * float64(time.Hour))) }

// aDay is a history in which alice reads, is granted more for two hours, is locked
// out of parts of it, and then loses what she had.
func aDay() []told {
	all := map[string][]string{"*": {"*"}}
	reader := events.Role{Name: "reader", Allow: events.RoleConditions{AppLabels: all, AWSRoleARNs: []string{readerARN}}}
	narrow := reader
	narrow.Allow.AWSActions = []string{"@Read"}
	engineer := events.Role{Name: "engineer", Allow: events.RoleConditions{AppLabels: all, AWSRoleARNs: []string{"*"}}, Deny: events.RoleConditions{AWSRegions: []string{"us-west-*"}}}
	alice := events.User{Name: "alice", Roles: []string{"reader"}}
	lockEnd := hour(6)
	q := asked("R1", nil)
	q.Roles = []string{"engineer"}
	return []told{
		{0, &events.RoleCreated{Role: reader, By: "admin"}},                                                          // e1
		{0, &events.RoleCreated{Role: engineer, By: "admin"}},                                                        // e2
		{0, &events.AppCreated{App: events.App{Name: "prod", RoleARNs: []string{readerARN, adminARN}}, By: "admin"}}, // e3
		{1, &events.UserCreated{User: alice, By: "admin"}},                                                           // e4
		{2, q}, // e5
		{2.5, &events.RequestReviewed{RequestID: "R1", Reviewer: "bob", Verdict: "approve"}},                                                              // e6
		{2.5, &events.RequestApproved{RequestID: "R1", User: "alice", Roles: []string{"engineer"}, Reviewers: []string{"bob"}, AccessExpiresAt: hour(8)}}, // e7
		{3, &events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "request", Name: "R1"}, By: "carol"}},                                        // e8
		{4, &events.LockLifted{LockID: "L1", By: "dave"}},                                                                                                 // e9
		{5, &events.LockPlaced{LockID: "L2", Target: events.LockTarget{Kind: "aws_role", Name: readerARN}, By: "carol", ExpiresAt: &lockEnd}},             // e10
		{7, &events.UserPasswordChanged{Name: "alice", By: "alice"}},                                                                                      // e11
		{9, &events.RoleUpdated{Role: narrow, By: "erin"}},                                                                                                // e12
		{10, &events.LockPlaced{LockID: "L3", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "carol"}},                                       // e13
		{11, &events.UserUpdated{User: events.User{Name: "alice"}, By: "frank"}},                                                                          // e14
		{12, &events.UserDeleted{Name: "alice", By: "frank"}},                                                                                             // e15
	}
}

func fold(day []told, until time.Time) *History {
	h := NewHistory(until)
	for i, e := range day {
		if t := hour(e.hour); !t.After(until) {
			h.Apply(events.Event{Meta: events.Meta{ID: fmt.Sprintf("e%d", i+1), Time: t}, Data: e.what}, uint64(i+1), t)
		}
	}
	return h
}

// say writes what somebody could do, for tests to compare.
func say(h *History, q Question, now time.Time) []string {
	var out []string
	for _, c := range h.State.Could(q, now) {
		name := c.ARN[strings.LastIndexByte(c.ARN, '/')+1:]
		if c.Refused != "" {
			out = append(out, name+" refused: "+c.Refused)
		}
		for _, w := range c.Ways {
			s := name + " by"
			for _, r := range w.Roles {
				s += " " + r.Name + r.RequestID
			}
			for _, p := range w.Permissions {
				s += fmt.Sprintf("; %s %s", p.Effect, strings.Join(append(p.Actions, p.Regions...), " "))
			}
			for _, l := range w.Locks {
				s += "; locked " + l.LockID
			}
			s += ":"
			for _, x := range h.Ground(c, w) {
				s += " " + x.EventID
			}
			out = append(out, s)
		}
	}
	return out
}

func TestCould(t *testing.T) {
	const (
		readerOf = "Reader by reader: e4 e1 e3"
		adminOf  = "Admin by engineerR1; Allow ; Deny us-west-*: e4 e2 e7 e3"
		bothOf   = "Reader by reader engineerR1; Allow ; Deny us-west-*: e4 e1 e2 e7 e3"
		freeOf   = "Reader by reader; Allow ; Deny us-west-*: e4 e1 e2 e3"
	)
	for _, c := range []struct {
		name  string
		hour  float64
		state string
		want  []string
	}{
		{"before creation", 0.5, Absent, nil},
		{"at creation", 1, Active, []string{readerOf}},
		{"while the request waits", 2.4, Active, []string{readerOf}},
		{"granted", 2.6, Active, []string{adminOf, freeOf, bothOf}},
		{"the grant locked", 3, Active, []string{
			"Admin by engineerR1; Allow ; Deny us-west-*; locked L1: e4 e2 e7 e3 e8",
			readerOf,
			"Reader by reader engineerR1; Allow ; Deny us-west-*; locked L1: e4 e1 e2 e7 e3 e8",
		}},
		{"the lock lifted", 4, Active, []string{adminOf, freeOf, bothOf}},
		{"an AWS role locked", 5.9, Active, []string{adminOf,
			"Reader by reader; Allow ; Deny us-west-*; locked L2: e4 e1 e2 e3 e10",
			"Reader by reader engineerR1; Allow ; Deny us-west-*; locked L2: e4 e1 e2 e7 e3 e10"}},
		{"the lock over by time", 6, Active, []string{adminOf, freeOf, bothOf}},
		{"a new password is no cause", 7.9, Active, []string{adminOf, freeOf, bothOf}},
		{"the grant over", 8, Active, []string{readerOf}},
		{"the role narrowed", 9, Active, []string{"Reader by reader; Allow @Read: e4 e12 e3"}},
		{"the user locked", 10, Stopped, []string{"Reader by reader; Allow @Read; locked L3: e4 e12 e3 e13"}},
		{"the role taken", 11, Stopped, nil},
		{"deleted", 13, Absent, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fold(aDay(), hour(c.hour))
			got := say(h, Question{User: "alice"}, hour(c.hour))
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if s := h.State.UserState("alice", hour(c.hour)); s != c.state {
				t.Errorf("alice is %s, want %s", s, c.state)
			}
		})
	}
}

func TestCouldQuestions(t *testing.T) {
	h := fold(aDay(), hour(1))
	now := hour(1)
	for _, c := range []struct {
		name string
		q    Question
		want []string
	}{
		{"by name", Question{User: "alice", AWSRole: "Reader"}, []string{"Reader by reader: e4 e1 e3"}},
		{"by ARN", Question{User: "alice", AWSRole: readerARN}, []string{"Reader by reader: e4 e1 e3"}},
		{"why not", Question{User: "alice", AWSRole: adminARN}, []string{"Admin refused: no role of alice allows " + adminARN + " on app prod"}},
		{"no AWS role of an app", Question{User: "alice", AWSRole: "arn:aws:iam::123456789012:role/Other"}, nil},
		{"another app", Question{User: "alice", App: "test"}, nil},
		{"another user", Question{User: "bob"}, nil},
	} {
		if d := cmp.Diff(c.want, say(h, c.q, now)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// An app without a list of AWS roles and a role with a wildcard: nothing can be
// listed, and an ARN that is named can be judged.
func TestCouldWildcards(t *testing.T) {
	const arn = "arn:aws:iam::123456789012:role/Spelled"
	day := []told{
		{0, &events.RoleCreated{Role: events.Role{Name: "any", Allow: events.RoleConditions{AppLabels: map[string][]string{"*": {"*"}}, AWSRoleARNs: []string{"arn:aws:iam::*:role/S*"}}}}},
		{0, &events.AppCreated{App: events.App{Name: "open"}}},
		{0, user("alice", "any")},
	}
	h := fold(day, hour(1))
	if got := say(h, Question{User: "alice"}, hour(1)); got != nil {
		t.Errorf("listed %v", got)
	}
	if got := h.State.Wildcards(Question{User: "alice"}, hour(1)); !cmp.Equal(got, map[string][]string{"open": {"arn:aws:iam::*:role/S*"}}) {
		t.Errorf("wildcards %v", got)
	}
	end := hour(2)
	over := fold(append(day, told{1, &events.UserUpdated{User: events.User{Name: "alice", Roles: []string{"any"}, Connector: "okta", ExpiresAt: &end}}}), hour(2))
	if got := over.State.Wildcards(Question{User: "alice"}, hour(2)); got != nil {
		t.Errorf("wildcards of somebody whose connector's word is over: %v", got)
	}
	if got := say(h, Question{User: "alice", AWSRole: arn}, hour(1)); !cmp.Equal(got, []string{"Spelled by any: e3 e1 e2"}) {
		t.Errorf("by ARN %v", got)
	}
}

// What Could calls usable, Start starts, and nothing else: at every half hour.
func TestCouldAgreesWithStart(t *testing.T) {
	usable, not := 0, 0
	for i := range 28 {
		now := hour(float64(i) / 2)
		h := fold(aDay(), now)
		for _, arn := range []string{readerARN, adminARN} {
			for _, id := range []string{"", "R1"} {
				want := false
				for _, c := range h.State.Could(Question{User: "alice", AWSRole: arn}, now) {
					for k, w := range c.Ways {
						// Without an id, Start takes the first way, or none.
						if len(w.Locks) == 0 && (id == "" && k == 0 || id != "" && len(w.RequestIDs()) == 1) {
							want = true
						}
					}
				}
				env := Env{Now: now, By: "alice", NewID: func() string { return "N" }}
				_, err := Start(h.State, env, StartSession{User: "alice", App: "prod", AWSRole: arn, RequestID: id, NotAfter: now.Add(time.Hour)})
				if (err == nil) != want {
					t.Errorf("hour %v, %s, request %q: usable %v, start: %v", float64(i)/2, arn, id, want, err)
				}
				if want {
					usable++
				} else {
					not++
				}
			}
		}
	}
	if usable < 20 || not < 20 {
		t.Errorf("%d usable, %d not: that tests little", usable, not)
	}
}

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to float64
		arn      string
		effect   string
		want     []string
	}{
		{"created", 0.5, 1.5, readerARN, "gained", []string{flip(1, "gained", "e4", false)}},
		{"granted", 1.5, 2.7, adminARN, "gained", []string{flip(2.5, "gained", "e7", false)}},
		{"locked and lifted", 2.7, 4.5, adminARN, "", []string{flip(3, "lost", "e8", false), flip(4, "gained", "e9", false)}},
		{"locked for a while", 4.5, 6.5, readerARN, "", []string{flip(5, "lost", "e10", false), flip(6, "gained", "e10", true)}},
		{"granted for a while", 6.5, 8.5, adminARN, "lost", []string{flip(8, "lost", "e7", true)}},
		{"the denial of a granted role ends with it", 6.5, 8.5, readerARN, "changed", []string{flip(8, "changed", "e7", true)}},
		{"narrowed", 8.5, 9.5, readerARN, "changed", []string{flip(9, "changed", "e12", false)}},
		{"user locked", 9.5, 13, readerARN, "lost", []string{flip(10, "lost", "e13", false)}},
		{"nothing", 0, 0.9, readerARN, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			watch(t, aDay(), c.from, c.to, c.arn, c.effect, c.want)
		})
	}
}

func flip(h float64, effect, event string, expired bool) string {
	return fmt.Sprintf("%v %s %s %v", h, effect, event, expired)
}

// watch follows what alice may do from one hour of a day to another.
func watch(t *testing.T, day []told, from, to float64, arn, wantEffect string, want []string) {
	t.Helper()
	h := NewHistory(hour(to))
	var w *Watch
	for i, e := range day {
		at := hour(e.hour)
		if at.After(hour(to)) {
			break
		}
		x := events.Event{Meta: events.Meta{ID: fmt.Sprintf("e%d", i+1), Time: at}, Data: e.what}
		if !at.After(hour(from)) {
			h.Apply(x, uint64(i+1), at)
			continue
		}
		if w == nil {
			w = h.NewWatch("alice", "prod", arn, hour(from))
		}
		h.Step(x, uint64(i+1), at, hour(to), []*Watch{w})
	}
	if w == nil {
		w = h.NewWatch("alice", "prod", arn, hour(from))
	}
	h.Settle(w, hour(to))
	var got []string
	for _, f := range w.Flips {
		got = append(got, flip(f.At.Sub(at).Hours(), f.Effect, f.Cause.EventID, f.Expired))
	}
	if d := cmp.Diff(want, got); d != "" || w.Effect() != wantEffect {
		t.Errorf("effect %q, want %q; flips (-want +got):\n%s", w.Effect(), wantEffect, d)
	}
	before, after := fold(day, hour(from)), fold(day, hour(to))
	if e := effect(rightsAt(before, arn, hour(from)), rightsAt(after, arn, hour(to))); e != wantEffect {
		t.Errorf("comparing both ends says %q, the watch %q", e, wantEffect)
	}
}

// Of who signs in at an identity provider, the end of its word is a step, too.
func TestWatchConnector(t *testing.T) {
	signedIn := func(until float64) events.User {
		end := hour(until)
		return events.User{Name: "alice", Roles: []string{"reader"}, Connector: "okta", ExpiresAt: &end}
	}
	day := append(aDay()[:3:3], // reader, engineer and prod
		told{1, &events.UserCreated{User: signedIn(4), By: "connector/okta"}},                                       // e4
		told{3, &events.UserUpdated{User: signedIn(5), By: "connector/okta"}},                                       // e5
		told{7, &events.UserUpdated{User: signedIn(9), By: "connector/okta"}},                                       // e6
		told{8, &events.RoleUpdated{Role: events.Role{Name: "engineer"}, By: "admin"}},                              // e7
		told{9.5, &events.AppUpdated{App: events.App{Name: "prod", RoleARNs: []string{readerARN}}, By: "somebody"}}) // e8
	watch(t, day, 0.5, 4.5, readerARN, "gained", []string{flip(1, "gained", "e4", false)})
	watch(t, day, 4, 6, readerARN, "lost", []string{flip(5, "lost", "e5", true)})
	watch(t, day, 6, 8.5, readerARN, "gained", []string{flip(7, "gained", "e6", false)})
	watch(t, day, 4, 8.5, readerARN, "", []string{flip(5, "lost", "e5", true), flip(7, "gained", "e6", false)})
	watch(t, day, 8.5, 10, readerARN, "lost", []string{flip(9, "lost", "e6", true)})
}

func rightsAt(h *History, arn string, now time.Time) string {
	for _, c := range h.State.Could(Question{User: "alice", AWSRole: arn}, now) {
		return c.rights()
	}
	return ""
}

// A history for a moment holds the sessions of that moment and no others.
func TestHistorySessions(t *testing.T) {
	started := func(id string, from, to float64) *events.SessionStarted {
		return &events.SessionStarted{SessionID: id, User: "alice", App: "prod", AWSRoleARN: readerARN, StartedAt: hour(from), ExpiresAt: hour(to)}
	}
	day := []told{
		{0, started("S1", 0, 4)}, {1, started("S2", 1, 2)}, {1, started("S3", 1, 9)},
		{2, &events.SessionEnded{SessionID: "S3", User: "alice", By: "alice"}}, {3, started("S4", 3, 9)},
		{3, &events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "session", Name: "S4"}}},
	}
	for h, want := range map[float64]string{0.5: "S1", 1: "S1 S2 S3", 2.5: "S1", 3: "S1 S4(L1)", 4: "S4(L1)", 9: ""} {
		x := fold(day, hour(h))
		var got []string
		for _, id := range []string{"S1", "S2", "S3", "S4"} {
			if s := x.State.Sessions[id]; s != nil && s.State(hour(h)) == Running {
				for _, l := range x.State.SessionLocks(s, hour(h)) {
					id += "(" + l.LockID + ")"
				}
				got = append(got, id)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("hour %v: %v, want %s", h, got, want)
		}
		if n := len(x.State.Sessions); n != len(got) {
			t.Errorf("hour %v: %d sessions are held for %d that run", h, n, len(got))
		}
	}
}
