package grants_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

// stepped is t where the machine's clock was set by d before: the monotonic one goes on. The
// seconds are in the upper bits of a time's first word.
func stepped(t time.Time, d time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(d/time.Second) << 30
	return t
}

// However the machine's clock is set, a proxy that hears nothing finds that out in time, and
// one that hears again decides.
func TestSilenceByAnyClock(t *testing.T) {
	start := time.Now()
	for name, step := range map[string]time.Duration{"as it goes": 0, "set back": -time.Hour, "set forward": time.Hour} {
		if at := stepped(start, step); at.Sub(start) != 0 || at.UnixNano()-start.UnixNano() != int64(step) {
			t.Fatalf("%s: the test makes no such clock", name)
		}
		g := grants.New("p")
		g.Silence(10*time.Second, true)
		g.Heard(start)
		s := &events.SessionStarted{SessionID: "S", User: "alice", App: "a", AWSRoleARN: "arn:aws:iam::111122223333:role/r", Account: "111122223333", ExpiresAt: start.Add(9 * time.Hour)}
		if err := g.Apply(1, events.Event{Data: s}, start); err != nil {
			t.Fatal(err)
		}
		check := func(after time.Duration) string {
			d := g.Check("S", "alice", grants.Call{}, stepped(start.Add(after), step))
			return d.Cause()
		}
		if cause := check(9 * time.Second); cause != "" && step <= 0 {
			t.Errorf("%s, after 9 s: %s", name, cause)
		}
		if cause := check(11 * time.Second); cause != grants.CauseStale {
			t.Errorf("%s, after 11 s: %q", name, cause)
		}
		g.Heard(stepped(start.Add(12*time.Second), step))
		if cause := check(13 * time.Second); cause != "" {
			t.Errorf("%s, heard again: %s", name, cause)
		}
		if cause := check(23 * time.Second); cause != grants.CauseStale {
			t.Errorf("%s, and not again: %q", name, cause)
		}
	}
	// A machine that slept: its monotonic clock stood still.
	g := grants.New("p")
	g.Silence(10*time.Second, true)
	g.Heard(start)
	if d := g.Check("S", "alice", grants.Call{}, stepped(start, time.Minute)); d.Cause() != grants.CauseStale {
		t.Errorf("after a sleep: %q", d.Cause())
	}
}
