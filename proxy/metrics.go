package proxy

import (
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posternhq/postern/events"
)

// meters count what an operator watches. No label says who or what.
type meters struct {
	requests *prometheus.CounterVec // by outcome: these
	outcomes struct{ admitted, completed, denied, failed prometheus.Counter }
	append   prometheus.Histogram
	failed   prometheus.Counter
	dropped  prometheus.Counter
	tunnels  prometheus.Gauge
	conns    prometheus.Gauge
}

func newMeters() *meters {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "postern_proxy_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "postern_proxy_" + name, Help: help})
	}
	m := &meters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_proxy_requests_total",
			Help: "Requests to AWS: admitted ones, and how these and others ended (completed, denied, failed)."}, []string{"outcome"}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "postern_proxy_append_seconds",
			Help:    "How long requests waited until their admission was durable in the journal.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}),
		failed:  counter("append_failures_total", "Requests that were refused because their admission could not be recorded in time."),
		dropped: counter("events_dropped_total", "Denials that were not recorded while too many events waited for the journal."),
		tunnels: gauge("tunnels", "Session Manager tunnels that are open."),
		conns:   gauge("connections", "Connections of clients that are open."),
	}
	o := &m.outcomes
	for name, c := range map[string]*prometheus.Counter{"admitted": &o.admitted, "completed": &o.completed, "denied": &o.denied, "failed": &o.failed} {
		*c = m.requests.WithLabelValues(name)
	}
	return m
}

// recorded counts an event by what it says.
func (m *meters) recorded(e events.Event) {
	switch e.Data.(type) {
	case *events.AWSRequestAdmitted:
		m.outcomes.admitted.Inc()
	case *events.AWSRequestCompleted:
		m.outcomes.completed.Inc()
	case *events.AWSRequestDenied:
		m.outcomes.denied.Inc()
	case *events.AWSRequestFailed:
		m.outcomes.failed.Inc()
	case *events.AWSTunnelOpened:
		m.tunnels.Inc()
	case *events.AWSTunnelClosed:
		m.tunnels.Dec()
	}
}

func (m *meters) connection(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		m.conns.Inc()
	case http.StateClosed, http.StateHijacked:
		m.conns.Dec()
	}
}

// Metrics are what an operator watches, for Prometheus.
func (p *Proxy) Metrics() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_proxy_" + name, Help: help}, value)
	}
	m := p.recorder.meters
	return []prometheus.Collector{m.requests, m.append, m.failed, m.dropped, m.tunnels, m.conns, p.rates.heard, p.rates.ignored,
		gauge("events_waiting", "Events about the past that wait for the journal.", func() float64 { return float64(p.recorder.waiting.Load()) }),
		gauge("held_calls", "Calls that wait for their approval.", func() float64 { return float64(p.holds.count()) }),
		gauge("access_sequence", "Sequence in ACCESS up to which events are applied.", func() float64 { return float64(p.grants.Seq()) }),
		gauge("access_silence_seconds", "Since when the proxy cannot be sure to know all decisions and locks.", func() float64 {
			return max(0, p.now().Sub(p.grants.HeardAt()).Seconds())
		}),
	}
}

func (h *holds) count() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, of := range h.byUser {
		n += of
	}
	return n
}
