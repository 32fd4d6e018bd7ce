package broker

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

// scrapeTimeout bounds what a scrape asks the streams.
const scrapeTimeout = 2 * time.Second

// meters count what the ledger does. No label says who or what.
type meters struct {
	commands  *prometheus.CounterVec // by outcome
	conflicts prometheus.Counter
}

func newMeters() *meters {
	m := &meters{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_broker_commands_total",
			Help: "Commands that were recorded, were refused, had nothing to do (none), or failed."}, []string{"outcome"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "postern_broker_conflicts_total",
			Help: "Times that a command was decided again because another one was faster."}),
	}
	for _, outcome := range []string{"recorded", "refused", "none", "failed"} {
		m.commands.WithLabelValues(outcome)
	}
	return m
}

// done counts a command by how it ended.
func (m *meters) done(es []events.Event, err error) {
	outcome := "recorded"
	_, refused := errors.AsType[*access.Error](err)
	switch {
	case refused:
		outcome = "refused"
	case err != nil:
		outcome = "failed"
	case len(es) == 0:
		outcome = "none"
	}
	m.commands.WithLabelValues(outcome).Inc()
}

// Metrics are what an operator watches, for Prometheus.
func (b *Broker) Metrics() []prometheus.Collector {
	l := b.ledger
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_broker_" + name, Help: help}, value)
	}
	look := func(value func() float64) func() float64 {
		return func() float64 {
			l.mu.RLock()
			defer l.mu.RUnlock()
			return value()
		}
	}
	ask := func(value func(context.Context) (float64, error)) func() float64 {
		return func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
			defer cancel()
			v, err := value(ctx)
			if err != nil {
				return math.NaN() // the stream is out of reach
			}
			return v
		}
	}
	return []prometheus.Collector{l.meters.commands, l.meters.conflicts,
		gauge("access_sequence", "Sequence in ACCESS up to which events are folded into the state.", look(func() float64 { return float64(l.seq) })),
		gauge("access_lag_events", "Events of ACCESS that are not folded in yet; below 0 where the stream has lost some that are.", ask(func(ctx context.Context) (float64, error) {
			last, err := b.cfg.Journal.Last(ctx, events.Access)
			l.mu.RLock()
			defer l.mu.RUnlock()
			return float64(last) - float64(l.seq), err
		})),
		gauge("access_followers", "Readers of ACCESS that the server knows: brokers, proxies, auditors and consumers.", ask(func(ctx context.Context) (float64, error) {
			n, err := b.cfg.Journal.Readers(ctx, events.Access)
			return float64(n), err
		})),
		gauge("granting", "Whether access is granted: 0 once an event was read that this version does not understand, or before which others are missing, or once ACCESS is not the stream that was read.", look(func() float64 {
			if l.unread != nil {
				return 0
			}
			return 1
		})),
		gauge("forged_events", "Events in ACCESS that no broker decided, and that are passed over.", look(func() float64 { return float64(len(l.refused)) })),
		gauge("sessions", "Sessions that run.", look(func() float64 { return float64(l.state.RunningSessions(l.now())) })),
		gauge("locks", "Locks in force.", look(func() float64 {
			n, now := 0, l.now()
			for _, x := range l.state.Locks {
				if x.Active(now) {
					n++
				}
			}
			return float64(n)
		})),
		gauge("suspended_consumers", "Consumers that nothing is sent to until somebody resumes them.", look(func() float64 {
			n := 0
			for _, k := range l.state.Consumers {
				if k != nil && k.Suspended != "" {
					n++
				}
			}
			return float64(n)
		})),
	}
}
