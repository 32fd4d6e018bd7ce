package journal_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// BenchmarkAppend measures Append, alone and from 64 goroutines, beside one raw
// synchronous JetStream publish of the same bytes, all with sync_interval: always.
func BenchmarkAppend(b *testing.B) {
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: b.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	embeddedtest.Run(b, n)
	nc := embeddedtest.Connect(b, n, "bench", embedded.Admin())
	if err := journal.Setup(b.Context(), nc, journal.StreamsConfig{}); err != nil {
		b.Fatal(err)
	}
	if err := n.StageInMemory(); err != nil {
		b.Fatal(err)
	}
	j := eventstest.Open(b, nc)
	js, _ := jetstream.New(nc)
	e := ended("s1")
	e.ID, e.Time, e.Source = "x", time.Now(), "/s"
	body, _ := events.Encode(e)

	b.Run("raw publish", func(b *testing.B) {
		for b.Loop() {
			if _, err := js.Publish(b.Context(), "access.session.s1", body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if _, err := j.Append(b.Context(), ended("s1")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64 at once", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := j.Append(b.Context(), ended("s1")); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("replay", func(b *testing.B) {
		last, _ := j.Last(b.Context(), events.Access)
		start := time.Now()
		read := 0
		for b.Loop() {
			for _, err := range j.Replay(b.Context(), events.Access) {
				if err != nil {
					b.Fatal(err)
				}
				read++
			}
		}
		b.ReportMetric(float64(read)/time.Since(start).Seconds(), "events/s")
		b.ReportMetric(float64(last), "events")
	})
}

func BenchmarkCodec(b *testing.B) {
	e := ended("s1")
	e.ID, e.Time, e.Source = "x", time.Now(), "/s"
	body, err := events.Encode(e)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = events.Encode(e)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = events.Decode(body)
		}
	})
}
