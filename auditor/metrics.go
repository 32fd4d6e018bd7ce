package auditor

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// scrapeTimeout bounds what a scrape asks the streams.
const scrapeTimeout = 2 * time.Second

// meters count what this auditor does. Labels are streams and kinds of findings.
type meters struct {
	stored   *prometheus.CounterVec
	findings *prometheus.CounterVec
}

func newMeters() *meters {
	m := &meters{
		stored: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_auditor_stored_events_total",
			Help: "Events that this auditor stored in ClickHouse."}, []string{"stream"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_auditor_findings_total",
			Help: "Findings that were opened and resolved, as this auditor stored them."}, []string{"kind", "change"}),
	}
	for _, stream := range events.Streams() {
		m.stored.WithLabelValues(stream)
	}
	// A series that begins at 1 has not increased, to Prometheus: so each begins at 0.
	for _, kind := range events.FindingKinds() {
		m.findings.WithLabelValues(kind, "opened")
		m.findings.WithLabelValues(kind, "resolved")
	}
	return m
}

// took counts what was stored for the first time.
func (m *meters) took(stream string, fresh []journal.Entry) {
	m.stored.WithLabelValues(stream).Add(float64(len(fresh)))
	for i := range fresh {
		switch d := fresh[i].Data.(type) {
		case *events.FindingOpened:
			m.findings.WithLabelValues(d.Kind, "opened").Inc()
		case *events.FindingResolved:
			m.findings.WithLabelValues(d.Kind, "resolved").Inc()
		}
	}
}

// Metrics are what an operator watches, for Prometheus.
func (a *Auditor) Metrics() []prometheus.Collector {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_auditor_" + name, Help: help, ConstLabels: labels}, value)
	}
	out := []prometheus.Collector{a.meters.stored, a.meters.findings,
		gauge("open_requests", "Requests that no CloudTrail record was matched with yet and that are held in memory.", nil, func() float64 { return float64(a.open.Load()) }),
	}
	for _, t := range a.tasks() {
		out = append(out, gauge("doing", "Whether it is this auditor that stores a stream, or judges.", prometheus.Labels{"task": t.name}, func() float64 {
			if a.division.has(t.name) {
				return 1
			}
			return 0
		}))
	}
	for _, stream := range events.Streams() {
		of := prometheus.Labels{"stream": stream}
		out = append(out,
			gauge("stored_sequence", "Sequence up to which everything is in ClickHouse.", of, func() float64 { return float64(a.Floor(stream)) }),
			gauge("lag_events", "Events of the stream that are not known to be in ClickHouse.", of, func() float64 {
				ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
				defer cancel()
				last, err := a.c.Journal.Last(ctx, stream)
				if err != nil {
					return math.NaN() // the stream is out of reach
				}
				return math.Max(0, float64(last)-float64(a.Floor(stream)))
			}))
		if a.notary == nil {
			continue
		}
		l := a.notary.logs[stream]
		out = append(out,
			gauge("log_size", "Leaves of the stream's transparency log.", of, func() float64 { return float64(l.size.Load()) }),
			gauge("log_unpublished", "Leaves that no published checkpoint covers yet, up to the last that is worth one: events of checkpoints are not.", of, func() float64 {
				return math.Max(0, float64(l.worth.Load())-float64(a.notary.published(stream).Size))
			}),
			gauge("checkpoint_age_seconds", "Since the last checkpoint was published, or else since this auditor started; of a stream in which nothing happens it grows.", of, func() float64 {
				return time.Since(time.Unix(0, l.publishedAt.Load())).Seconds()
			}),
			gauge("log_disputed", "Whether nothing is logged any more, because the stream is not what was logged.", of, func() float64 {
				if l.problem() != nil {
					return 1
				}
				return 0
			}))
	}
	return out
}
