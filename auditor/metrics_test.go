package auditor_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/schemas"
)

// What is stored, found and logged is told by stream and kind.
func TestMetrics(t *testing.T) {
	w := newWorld(t, func(c *auditor.Config) {
		c.DataDir = t.TempDir()
		c.Notary.PublishEvery = 100 * time.Millisecond
	})
	registry := prometheus.NewPedanticRegistry()
	for _, c := range w.a.Metrics() {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	if faults, err := testutil.GatherAndLint(registry); err != nil || len(faults) > 0 {
		t.Errorf("%v, %v", faults, err)
	}
	values := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				key := f.GetName()
				for _, l := range m.GetLabel() {
					key += " " + l.GetValue()
				}
				out[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return out
	}
	// An alert sees a series increase only if it was there before: each begins at 0, and the
	// age of a checkpoint where this auditor does, or else "older than" never comes true.
	schema, err := schemas.Event("finding.opened.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Properties struct{ Kind struct{ Enum []string } }
	}
	if err := json.Unmarshal(schema, &found); err != nil || len(found.Properties.Kind.Enum) == 0 {
		t.Fatalf("kinds of findings: %v", err)
	}
	first := values()
	for _, kind := range found.Properties.Kind.Enum {
		for _, change := range []string{"opened", "resolved"} {
			if n, ok := first["postern_auditor_findings_total "+change+" "+kind]; !ok || n != 0 {
				t.Errorf("findings %s of kind %s: %v, told: %t", change, kind, n, ok)
			}
		}
	}
	if !slices.Equal(found.Properties.Kind.Enum, events.FindingKinds()) {
		t.Errorf("kinds: %q, by the schema %q", events.FindingKinds(), found.Properties.Kind.Enum)
	}
	for _, stream := range events.Streams() {
		if age := first["postern_auditor_checkpoint_age_seconds "+stream]; !(age >= 0) {
			t.Errorf("%s: the age of its checkpoint is %v", stream, age)
		}
	}
	w.tell(time.Now().UTC())
	w.until("all of it is stored, judged, logged and published", func() bool {
		last := values()
		for _, stream := range []string{events.Access, events.Audit, events.CloudTrail} {
			end, err := w.j.Last(t.Context(), stream)
			of := func(name string) float64 { return last["postern_auditor_"+name+" "+stream] }
			if err != nil || of("stored_events_total") != float64(end) || of("stored_sequence") != float64(end) || of("lag_events") != 0 ||
				of("log_size") != float64(end) || of("log_unpublished") != 0 || of("log_disputed") != 0 || !(of("checkpoint_age_seconds") < 60) {
				return false
			}
		}
		// The checkpoint's own event is never covered by it, and no reason for the next.
		end, err := w.j.Last(t.Context(), events.Findings)
		if err != nil || last["postern_auditor_log_size FINDINGS"] != float64(end) || last["postern_auditor_log_unpublished FINDINGS"] != 0 {
			return false
		}
		return last["postern_auditor_findings_total opened bypass"] == 1 && last["postern_auditor_doing judge"] == 1 && last["postern_auditor_doing FINDINGS"] == 1 && last["postern_auditor_open_requests"] >= 1
	})
}
