package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/posternhq/postern/events"
)

// What was let through, refused and answered is counted, and names nobody.
func TestMetrics(t *testing.T) {
	r := newRig(t, withEcho)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range r.p.Metrics() {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	if faults, err := testutil.GatherAndLint(registry); err != nil || len(faults) > 0 {
		t.Errorf("%v, %v", faults, err)
	}
	s := r.session()
	c := r.client(s)
	for range 3 {
		if resp, text := c.do(t, c.request(t, http.MethodGet, "https://payroll.s3.us-east-1.amazonaws.com/secret-object", nil)); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, text)
		}
	}
	r.emit(&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	if resp, text := c.do(t, c.request(t, http.MethodGet, "https://payroll.s3.us-east-1.amazonaws.com/secret-object", nil)); resp.StatusCode != http.StatusForbidden {
		t.Fatal(resp.Status, text)
	}
	want := func(name string, values string) {
		t.Helper()
		r.eventually(name+" is"+values, func() bool {
			return testutil.GatherAndCompare(registry, strings.NewReader(values), name) == nil
		})
	}
	want("postern_proxy_requests_total", `
		# HELP postern_proxy_requests_total Requests to AWS: admitted ones, and how these and others ended (completed, denied, failed).
		# TYPE postern_proxy_requests_total counter
		postern_proxy_requests_total{outcome="admitted"} 3
		postern_proxy_requests_total{outcome="completed"} 3
		postern_proxy_requests_total{outcome="denied"} 1
		postern_proxy_requests_total{outcome="failed"} 0
`)
	want("postern_proxy_access_sequence", fmt.Sprintf(`
		# HELP postern_proxy_access_sequence Sequence in ACCESS up to which events are applied.
		# TYPE postern_proxy_access_sequence gauge
		postern_proxy_access_sequence %d
`, r.p.Seq()))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		text := f.String()
		seen[f.GetName()] = true
		for _, named := range []string{"alice", "payroll", "secret-object", "admin", s.SessionID, "111122223333"} {
			if strings.Contains(text, named) {
				t.Errorf("%s names %s: %s", f.GetName(), named, text)
			}
		}
		switch f.GetName() {
		case "postern_proxy_append_seconds":
			if n := f.GetMetric()[0].GetHistogram().GetSampleCount(); n < 3 {
				t.Errorf("%d appends were timed", n)
			}
		case "postern_proxy_connections":
			if n := f.GetMetric()[0].GetGauge().GetValue(); n < 1 {
				t.Errorf("%v connections", n)
			}
		case "postern_proxy_access_silence_seconds":
			if n := f.GetMetric()[0].GetGauge().GetValue(); n < 0 || n > 10 {
				t.Errorf("it has been silent for %v s", n)
			}
		}
	}
	for _, name := range []string{"append_seconds", "append_failures_total", "events_dropped_total", "events_waiting", "held_calls", "tunnels", "connections", "access_silence_seconds"} {
		if !seen["postern_proxy_"+name] {
			t.Errorf("no %s", name)
		}
	}
}
