package broker

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

// That a lock ended by its time is recorded once, however many brokers there are, and
// told to receivers once nothing else keeps the user out.
func TestLockExpiry(t *testing.T) {
	b, _, j, c := pushingDemo(t)
	other, _ := startIn(t, j, c, t.TempDir())
	admin, ctx := as(t, b, "admin"), t.Context()
	p := newPoller(t, b, receiverIn(t, b, func(r *api.Receiver) { r.Subject = "iss_sub" }))
	stream := p.json("POST", p.at("configuration_endpoint"), map[string]any{"events_requested": []string{risc + "account-enabled"}}, http.StatusCreated)
	place := func(kind, name, ttl string) string {
		t.Helper()
		l, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: kind, Name: name}, TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		return l.ID
	}
	first, last, role, lifted := place("user", "alice", "1h"), place("user", "alice", "2h"), place("role", "aws-reader", "90m"), place("user", "bob", "3h")
	if err := admin.LiftLock(ctx, lifted); err != nil {
		t.Fatal(err)
	}
	start := c.now()
	ended := func() (out []events.LockExpired) {
		t.Helper()
		for e, err := range j.Replay(ctx, events.Access, "access.lock.>") {
			if err != nil {
				t.Fatal(err)
			}
			if d, ok := e.Data.(*events.LockExpired); ok {
				out = append(out, *d)
			}
		}
		return out
	}
	until := func(n int) []events.LockExpired {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			for _, x := range []*Broker{b, other} { // the clock of the test wakes nobody
				select {
				case x.ledger.changed <- struct{}{}:
				default:
				}
			}
			if got := ended(); len(got) >= n {
				return got
			}
			if time.Now().After(deadline) {
				t.Fatal("a lock's end was not recorded")
			}
		}
	}
	c.advance(time.Hour)
	until(1)
	c.advance(time.Hour)
	until(3)
	for range 5 {
		until(3)
	}
	at := func(d time.Duration) time.Time { return start.Add(d).UTC() }
	want := map[string]events.LockExpired{
		first: {LockID: first, Target: events.LockTarget{Kind: "user", Name: "alice"}, ExpiredAt: at(time.Hour), By: itself},
		last:  {LockID: last, Target: events.LockTarget{Kind: "user", Name: "alice"}, ExpiredAt: at(2 * time.Hour), By: itself},
		role:  {LockID: role, Target: events.LockTarget{Kind: "role", Name: "aws-reader"}, ExpiredAt: at(90 * time.Minute), By: itself},
	}
	all := ended()
	got := map[string]events.LockExpired{}
	for _, d := range all {
		got[d.LockID] = d
	}
	if d := cmp.Diff(want, got); d != "" || len(all) != len(want) {
		t.Errorf("%d ends (-want +got):\n%s", len(all), d)
	}
	// bob's was lifted; of alice's two locks the last one says that she is let in.
	said, n := map[string]string{}, 0
	for len(said) < 2 {
		more, _ := p.poll(stream, map[string]any{})
		for jti, s := range more {
			said[jti] = s
			n++
		}
	}
	if d := cmp.Diff([]string{"account-enabled alice", "account-enabled bob"}, texts(said)); d != "" || n != 2 {
		t.Errorf("%d signals (-want +got):\n%s", n, d)
	}
	if rest, _ := p.poll(stream, map[string]any{"returnImmediately": true}); len(rest) != 0 {
		t.Errorf("and more: %v", rest)
	}
}
