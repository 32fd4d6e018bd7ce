package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// lastOf is when the stream took the last event of a type, and its id.
func lastOf[P events.Payload](t *testing.T, j *journal.Journal) (at, id string) {
	t.Helper()
	for _, e := range history(t, j) {
		if _, ok := e.Data.(P); ok {
			at, id = e.StoredAt.UTC().Format(time.RFC3339Nano), e.ID
		}
	}
	if id == "" {
		t.Fatal("no such event in the history")
	}
	return at, id
}

// couldUse writes what an answer says of one AWS role.
func couldUse(a api.Access, arn string) string {
	s := ""
	for _, u := range a.Users {
		s += u.User + " " + u.State
		for _, r := range u.AWSRoles {
			if r.ARN == arn {
				s += fmt.Sprintf(" %v", r.Usable)
				for _, w := range r.Ways {
					s += " by " + strings.Join(w.Roles, " ")
					for _, c := range w.Because {
						s += fmt.Sprintf(" [%s by %s]", c.EventID, c.By)
					}
				}
			}
		}
	}
	return s
}

func TestAccessAt(t *testing.T) {
	b, j, clk := demoBroker(t)
	alice, bob, admin := as(t, b, "alice"), as(t, b, "bob"), as(t, b, "admin")
	ctx := t.Context()
	q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, Reason: "incident 7", TTL: "2h"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Review(ctx, q.ID, api.CreateReview{Verdict: "approve"}); err != nil {
		t.Fatal(err)
	}
	x, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole", AWSRole: "Admin"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}, Message: "laptop lost"})
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.LiftLock(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	clk.advance(time.Minute) // past what the stream's own clock has noted
	if err := alice.DropRequest(ctx, q.ID); err != nil {
		t.Fatal(err)
	}
	waitSession(t, b, x.ID, "ended")

	made := map[string]string{} // the ids of events by thing
	for _, e := range history(t, j) {
		made[string(e.Data.Type())+" "+e.Data.Thing()] = e.ID
	}
	user, role, app := made["io.postern.user.created.v1 user/alice"], made["io.postern.role.created.v1 role/aws-engineer"], made["io.postern.app.created.v1 app/awsconsole"]
	approvedAt, approved := lastOf[*events.RequestApproved](t, j)
	lockedAt, placed := lastOf[*events.LockPlaced](t, j)
	liftedAt, lifted := lastOf[*events.LockLifted](t, j)
	startedAt, started := lastOf[*events.SessionStarted](t, j)
	droppedAt, dropped := lastOf[*events.RequestDropped](t, j)
	createdAt, _ := lastOf[*events.RequestCreated](t, j)
	by := fmt.Sprintf("by aws-engineer [%s by postern] [%s by postern] [%s by bob] [%s by postern]", user, role, approved, app)
	by = strings.ReplaceAll(by, "by postern", "by "+find[*events.RoleCreated](history(t, j))[0].By)
	of := client.AccessQuestion{User: "alice", AWSRole: "team/Admin"}
	for _, c := range []struct{ name, at, want string }{
		{"before all", "2020-01-01", "alice absent"},
		{"asked", createdAt, "alice active"},
		{"approved", approvedAt, "alice active true " + by},
		{"locked", lockedAt, "alice locked false " + by + " [" + placed + " by admin]"},
		{"lifted", liftedAt, "alice active true " + by},
		{"dropped", droppedAt, "alice active"},
		{"now", "now", "alice active"},
	} {
		a, err := admin.AccessAt(ctx, c.at, of)
		if err != nil {
			t.Fatal(err)
		}
		if got := couldUse(a, adminARN); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
		ran := c.at == startedAt || c.at == lockedAt || c.at == liftedAt || c.at == droppedAt
		if ran != (len(a.Sessions) == 1) {
			t.Errorf("%s: sessions %+v", c.name, a.Sessions)
		}
		if ran && (a.Sessions[0].Session.ID != x.ID || a.Sessions[0].Because[0].EventID != started || (len(a.Sessions[0].Locks) == 1) != (c.at == lockedAt)) {
			t.Errorf("%s: session %+v", c.name, a.Sessions[0])
		}
	}

	steps := func(from, to string) string {
		t.Helper()
		d, err := admin.AccessDiff(ctx, from, to, of)
		if err != nil {
			t.Fatal(err)
		}
		s := ""
		for _, ch := range d.Changes {
			s += ch.Effect + ":"
			for _, x := range ch.Steps {
				s += " " + x.Effect + " " + x.Cause.EventID
			}
		}
		return s
	}
	for _, c := range []struct{ from, to, want string }{
		{createdAt, approvedAt, "gained: gained " + approved},
		{createdAt, "now", ""},
		{approvedAt, lockedAt, "lost: lost " + placed},
		{createdAt, liftedAt, "gained: gained " + approved + " lost " + placed + " gained " + lifted},
		{liftedAt, "", "lost: lost " + dropped},
	} {
		if got := steps(c.from, c.to); got != c.want {
			t.Errorf("from %s to %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}

	// Who may ask what.
	if _, err := alice.AccessAt(ctx, "now", client.AccessQuestion{User: "alice"}); err != nil {
		t.Errorf("alice about herself: %v", err)
	}
	for _, other := range []string{"", "bob"} {
		if _, err := alice.AccessAt(ctx, "now", client.AccessQuestion{User: other}); code(err) != api.CodeDenied {
			t.Errorf("alice about %q: %v", other, err)
		}
		if _, err := alice.AccessDiff(ctx, "1h", "now", client.AccessQuestion{User: other}); code(err) != api.CodeDenied {
			t.Errorf("alice about changes of %q: %v", other, err)
		}
	}
	for at, want := range map[string]string{"tomorrow": "neither a time", "-2h": "neither a time", "2999-01-01": "still to come"} {
		if _, err := admin.AccessAt(ctx, at, of); code(err) != api.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("at %s: %v, want %q", at, err, want)
		}
	}
	if _, err := admin.AccessDiff(ctx, "now", "2h", of); code(err) != api.CodeInvalid || !strings.Contains(err.Error(), "is not before") {
		t.Errorf("backwards: %v", err)
	}
	if a, err := admin.AccessAt(ctx, "now", client.AccessQuestion{User: "ghost"}); err != nil || len(a.Warnings) != 1 || a.Users[0].State != "absent" {
		t.Errorf("a user that never was: %+v, %v", a, err)
	}
}

// No more replays run at once than there are places; a place comes back.
func TestReplaysThrottled(t *testing.T) {
	b, _, _ := demoBroker(t)
	admin := as(t, b, "admin")
	for range maxReplays {
		b.replays <- struct{}{}
	}
	if _, err := admin.AccessAt(t.Context(), "now", client.AccessQuestion{}); code(err) != api.CodeThrottled {
		t.Errorf("one too many: %v", err)
	}
	<-b.replays
	for range 3 {
		if _, err := admin.AccessAt(t.Context(), "now", client.AccessQuestion{}); err != nil {
			t.Error(err)
		}
		if _, err := admin.AccessAt(t.Context(), "never", client.AccessQuestion{}); code(err) != api.CodeInvalid {
			t.Error(err)
		}
	}
}

// An event that is not understood may have been a refusal: the answer says so.
func TestAccessAtUnknownEvent(t *testing.T) {
	nc := eventstest.Connect(t)
	b := start(t, eventstest.Open(t, nc), newClock())
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "access.future.x", future(b)); err != nil {
		t.Fatal(err)
	}
	a, err := as(t, b, "admin").AccessAt(t.Context(), "now", client.AccessQuestion{User: "alice"})
	if err != nil || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "io.postern.future.happened.v1") {
		t.Errorf("warnings %q, error %v", a.Warnings, err)
	}
}

// someHistory writes n events at random about a few users, roles, apps, requests
// and locks, beginning with the demo's resources.
func someHistory(t testing.TB, j *journal.Journal, n int, now time.Time) {
	t.Helper()
	w := newWriter(t, j)
	rng := rand.New(rand.NewPCG(7, 7))
	pick := func(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, rng.IntN(n)) }
	arn := func() string { return "arn:aws:iam::123456789012:role/" + pick("R", 6) }
	locks := 0
	var askers, open []string // of requests; locks that stand
	for range n {
		var p events.Payload
		switch rng.IntN(12) {
		case 0, 1:
			p = &events.UserUpdated{User: events.User{Name: pick("u", 12), Roles: []string{pick("r", 8), pick("r", 8)}, Disabled: rng.IntN(10) == 0}, By: "admin"}
		case 2:
			if rng.IntN(3) > 0 {
				continue
			}
			p = &events.UserDeleted{Name: pick("u", 12), By: "admin"}
		case 3, 4:
			r := events.Role{Name: pick("r", 8), Allow: events.RoleConditions{AppLabels: map[string][]string{"*": {"*"}}, AWSRoleARNs: []string{arn(), arn()}}}
			if rng.IntN(3) == 0 {
				r.Allow.AWSActions = []string{"@Read"}
			}
			if rng.IntN(4) == 0 {
				r.Deny.AWSRoleARNs = []string{arn()}
			}
			p = &events.RoleUpdated{Role: r, By: "admin"}
		case 5:
			p = &events.AppUpdated{App: events.App{Name: pick("a", 3), RoleARNs: []string{arn(), arn(), arn()}}, By: "admin"}
		case 6, 7:
			id := fmt.Sprintf("q%d", len(askers))
			askers = append(askers, pick("u", 12))
			p = &events.RequestCreated{RequestID: id, User: askers[len(askers)-1], Roles: []string{pick("r", 8)}, TTL: 3600, ExpiresAt: now.Add(time.Hour)}
		case 8:
			if len(askers) == 0 {
				continue
			}
			of := rng.IntN(len(askers))
			p = &events.RequestApproved{RequestID: fmt.Sprintf("q%d", of), User: askers[of], Reviewers: []string{"bob"}, AccessExpiresAt: now.Add(time.Duration(rng.IntN(240)-120) * time.Minute)}
		case 9:
			kind := []string{"user", "role", "app", "aws_role"}[rng.IntN(4)]
			name := map[string]string{"user": pick("u", 12), "role": pick("r", 8), "app": pick("a", 3), "aws_role": arn()}[kind]
			p = &events.LockPlaced{LockID: fmt.Sprintf("l%d", locks), Target: events.LockTarget{Kind: kind, Name: name}, By: "carol"}
			open = append(open, fmt.Sprintf("l%d", locks))
			locks++
		default:
			if len(open) < 4 {
				continue
			}
			k := rng.IntN(len(open))
			p = &events.LockLifted{LockID: open[k], By: "carol"}
			open = slices.Delete(open, k, k+1)
		}
		w.append(p)
	}
}

// Of thousands of events: what could be used now is what GET /v1/apps serves to
// every user, and what is said to have changed since some time is the
// difference of two answers.
func TestAccessOfALongHistory(t *testing.T) {
	j, clk := eventstest.Journal(t), newClock()
	b := start(t, j, clk)
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	someHistory(t, j, 4000, clk.now())
	// Certificates are of users as they are now, however long that took.
	clk.advance(time.Since(clk.now()))
	ctx := t.Context()
	last, err := j.Last(ctx, events.Access)
	if err == nil {
		err = b.ledger.reach(ctx, last)
	}
	if err != nil {
		t.Fatal(err)
	}
	admin := as(t, b, "admin")
	a, err := admin.AccessAt(ctx, "now", client.AccessQuestion{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Sequence < last { // the janitor may have added to it
		t.Errorf("up to event %d, the stream has %d", a.Sequence, last)
	}
	compared, reaches := 0, 0
	for _, u := range a.Users {
		if u.State != access.Active {
			continue
		}
		apps, err := as(t, b, u.User).Apps(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []api.AWSRole
		for _, app := range apps {
			want = append(want, app.AWSRoles...)
		}
		for _, r := range u.AWSRoles {
			if len(r.Roles) > 0 {
				got = append(got, api.AWSRole{ARN: r.ARN, Name: r.Name, Roles: r.Roles, RequestIDs: r.RequestIDs, ExpiresAt: r.ExpiresAt})
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-apps +access at now):\n%s", u.User, d)
		}
		compared, reaches = compared+1, reaches+len(got)
	}
	if compared < 5 || reaches < 10 {
		t.Errorf("%d users with %d AWS roles were compared: that tests little", compared, reaches)
	}

	// A time in the middle of the stream.
	es := history(t, j)
	clk.advance(time.Minute)
	for _, part := range []int{10, 3, 2} {
		from := es[len(es)-len(es)/part].StoredAt.UTC().Format(time.RFC3339Nano)
		past, err := admin.AccessAt(ctx, from, client.AccessQuestion{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := admin.AccessDiff(ctx, from, "now", client.AccessQuestion{})
		if err != nil {
			t.Fatal(err)
		}
		present, err := admin.AccessAt(ctx, "now", client.AccessQuestion{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for k := range usable(past) {
			want[k] = "lost"
		}
		for k := range usable(present) {
			if want[k] != "" {
				delete(want, k)
			} else {
				want[k] = "gained"
			}
		}
		got := map[string]string{}
		for _, ch := range d.Changes {
			if ch.Effect != "changed" {
				got[ch.User+" "+ch.App+" "+ch.ARN] = ch.Effect
			}
			if n := len(ch.Steps); n == 0 || ch.Effect != "changed" && ch.Steps[n-1].Effect != ch.Effect && ch.Steps[n-1].Effect != "changed" {
				t.Errorf("%+v ends in steps %+v", ch, ch.Steps)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %s (-two answers +diff):\n%s", from, diff)
		}
		if len(want) == 0 {
			t.Error("nothing changed: that tests nothing")
		}
	}
}

func usable(a api.Access) map[string]bool {
	out := map[string]bool{}
	for _, u := range a.Users {
		for _, r := range u.AWSRoles {
			if r.Usable {
				out[u.User+" "+r.App+" "+r.ARN] = true
			}
		}
	}
	return out
}

// BenchmarkAccessAt measures a replay of 20,000 events with its answer for one
// user beside the journal's bare Replay of the same stream.
func BenchmarkAccessAt(b *testing.B) {
	j := eventstest.Journal(b)
	someHistory(b, j, 20_000, time.Now())
	broker, err := New(Config{Listen: "127.0.0.1:0", Journal: j, Secrets: secrets(b, j)})
	if err != nil {
		b.Fatal(err)
	}
	broker.ledger.seq = 1 << 62 // it is not running, so it follows nothing
	rate := func(b *testing.B, read func() int) {
		n := 0
		for b.Loop() {
			n += read()
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	}
	b.Run("journal", func(b *testing.B) {
		rate(b, func() (n int) {
			for _, err := range j.Replay(b.Context(), events.Access) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			return n
		})
	})
	b.Run("fold", func(b *testing.B) {
		now := time.Now()
		rate(b, func() (n int) {
			h := access.NewHistory(now)
			_, err := broker.replay(b.Context(), time.Time{}, func(e journal.Entry) bool {
				h.Apply(e.Event, e.Seq, e.StoredAt)
				n++
				return true
			})
			if err != nil {
				b.Fatal(err)
			}
			for _, q := range each(h, access.Question{}) {
				_ = h.State.Could(q, now)
			}
			return n
		})
	})
}

// Time alone takes access away: no event says so, and the answer names the
// approval that had set the end.
func TestAccessDiffByTime(t *testing.T) {
	b, j, clk := demoBroker(t)
	alice, bob, ctx := as(t, b, "alice"), as(t, b, "bob"), t.Context()
	q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, TTL: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Review(ctx, q.ID, api.CreateReview{Verdict: "approve"}); err != nil {
		t.Fatal(err)
	}
	end := clk.now().Add(time.Hour)
	clk.advance(2 * time.Hour)
	at, id := lastOf[*events.RequestApproved](t, j)
	d, err := alice.AccessDiff(ctx, at, "now", client.AccessQuestion{User: "alice", AWSRole: adminARN})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Changes) != 1 || d.Changes[0].Effect != "lost" || len(d.Changes[0].Steps) != 1 {
		t.Fatalf("changes %+v", d.Changes)
	}
	if s := d.Changes[0].Steps[0]; !s.Expired || !s.At.Equal(end) || s.Cause.EventID != id || s.Cause.By != "bob" {
		t.Errorf("step %+v, want the end at %s of approval %s", s, end, id)
	}
	if after := d.Changes[0].After; after == nil || after.Refused == "" || len(after.Because) == 0 {
		t.Errorf("after: %+v", after)
	}
}
