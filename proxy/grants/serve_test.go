package grants

import (
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// A proxy knows nothing of sessions on apps that others serve.
func TestServe(t *testing.T) {
	g := New("p")
	g.Serve(func(labels map[string]string) bool { return labels["env"] == "prod" })
	now := time.Now()
	g.Heard(now)
	for i, env := range []string{"prod", "dev"} {
		e := events.Event{Data: &events.SessionStarted{SessionID: env, User: "u", AppLabels: map[string]string{"env": env}, ExpiresAt: now.Add(time.Hour)}}
		if err := g.Apply(uint64(i+1), e, now); err != nil {
			t.Fatal(err)
		}
	}
	if d := g.Check("prod", "u", Call{}, now); !d.Allowed {
		t.Errorf("its own: %s", d.Reason())
	}
	if d := g.Check("dev", "u", Call{}, now); d.Cause() != CauseNoSession {
		t.Errorf("another's: %+v %s", d.Cause(), d.Reason())
	}
}
