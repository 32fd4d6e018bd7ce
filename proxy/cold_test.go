package proxy_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
)

// BenchmarkColdStart measures how long a proxy takes from its start until it is
// ready, on 1,000,000 events of a year, and of the last week. A tenth with -short. The
// stream takes all of them now, so the proxy's clock is put ahead by so much that what
// would be older than sessions may be is.
func BenchmarkColdStart(b *testing.B) {
	for name, over := range map[string]time.Duration{"of the last week": 7 * 24 * time.Hour, "of the last year": 365 * 24 * time.Hour} {
		b.Run(name, func(b *testing.B) {
			total := 1_000_000
			if testing.Short() {
				total /= 10
			}
			const back = events.MaxSession + 2*time.Hour
			recent := int(float64(total) * float64(back) / float64(over))
			server := embeddedtest.StartNATS(b)
			admin := embeddedtest.Connect(b, server, "test", embedded.Admin())
			if err := journal.Setup(b.Context(), admin, journal.StreamsConfig{}); err != nil {
				b.Fatal(err)
			}
			w, now := eventstest.NewWork(b, admin), time.Now().Add(back)
			w.Fill(b, 0, total-recent, total, over, now)
			begun := time.Now()
			w.Fill(b, total-recent, total, total, over, now)
			r := newRigBy(b, newAuthority(b), embeddedtest.Connect(b, server, "proxy", embedded.Proxy()), eventstest.Open(b, admin))
			r.stop()
			for b.Loop() {
				runtime.GC()
				nc := embeddedtest.Connect(b, server, "proxy", embedded.Proxy())
				start := time.Now()
				p := coldProxy(b, r, w, nc, func() time.Time { return begun.Add(back).Add(time.Since(start)) })
				stop := embeddedtest.Run(b, p)
				b.ReportMetric(time.Since(start).Seconds(), "s")
				b.ReportMetric(float64(p.Seq()), "events")
				b.ReportMetric(float64(recent), "recent-events")
				stop()
				nc.Close()
			}
		})
	}
}

// coldProxy is one more proxy of a rig, which believes who wrote a history.
func coldProxy(b *testing.B, r *rig, w *eventstest.Work, nc *nats.Conn, now func() time.Time) *proxy.Proxy {
	j, err := journal.New(nc, "/postern/proxy/cold")
	if err != nil {
		b.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{Name: "cold", Listen: "127.0.0.1:0", Journal: j, TLS: r.serverTLS(w.Roots), AWS: proxy.AWS{Link: r.aws.Link(), Base: r.aws.Base()}, Log: zerolog.Nop(), Now: now})
	if err != nil {
		b.Fatal(err)
	}
	return p
}
