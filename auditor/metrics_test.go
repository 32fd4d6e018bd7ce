package auditor_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/events"
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
	w.tell(time.Now().UTC())
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
		return last["postern_auditor_findings_total opened bypass"] == 1 && last["postern_auditor_doing judge"] == 1 && last["postern_auditor_doing FINDINGS"] == 1 && last["postern_auditor_open_requests"] >= 1
	})
}
