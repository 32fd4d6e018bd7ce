package broker

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

// Commands are counted by how they ended, and the fold's place is told; nobody is named.
func TestCollect(t *testing.T) {
	b, j, _ := demoBroker(t)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range b.Metrics() {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	if faults, err := testutil.GatherAndLint(registry); err != nil || len(faults) > 0 {
		t.Errorf("%v, %v", faults, err)
	}
	value := func(name, label string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, named := range []string{"alice", "admin", "awsconsole"} {
					if strings.Contains(m.String(), named) {
						t.Errorf("%s names %s", f.GetName(), named)
					}
				}
				if f.GetName() == "postern_broker_"+name && (label == "" || m.GetLabel()[0].GetValue() == label) {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
		t.Fatalf("no %s %s", name, label)
		return 0
	}
	before := map[string]float64{}
	for _, outcome := range []string{"recorded", "refused", "none", "failed"} {
		before[outcome] = value("commands_total", outcome)
	}
	admin, ctx := as(t, b, "admin"), t.Context()
	if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "alice"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: "nobody"}}); err == nil {
		t.Fatal("a lock on nobody")
	}
	// Another broker is faster once.
	raced := false
	_, err := b.ledger.do(ctx, "admin", func(s *access.State, env access.Env) ([]events.Event, error) {
		if !raced {
			raced = true
			newWriter(t, j).append(&events.RoleUpdated{Role: events.Role{Name: "aws-reader"}, By: "other"})
		}
		return []events.Event{{Data: &events.RoleUpdated{Role: events.Role{Name: "aws-reader"}, By: "admin"}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for outcome, more := range map[string]float64{"recorded": 2, "refused": 1, "failed": 0} {
		if got := value("commands_total", outcome) - before[outcome]; got != more {
			t.Errorf("%v more commands %s, want %v", got, outcome, more)
		}
	}
	last, err := j.Last(ctx, events.Access)
	if err != nil {
		t.Fatal(err)
	}
	if at, lag := value("access_sequence", ""), value("access_lag_events", ""); at < float64(last) || lag != 0 {
		t.Errorf("at %v of %d, %v behind", at, last, lag)
	}
	if n := value("conflicts_total", ""); n != 1 {
		t.Errorf("%v conflicts", n)
	}
	if locks, followers, granting := value("locks", ""), value("access_followers", ""), value("granting", ""); locks != 1 || followers < 1 || granting != 1 {
		t.Errorf("%v locks, %v followers, granting %v", locks, followers, granting)
	}
}
