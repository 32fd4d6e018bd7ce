package broker

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/snapshot"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// coldEvents is how many events a cold start meets; a tenth of it with -short.
const coldEvents = 1_000_000

// BenchmarkRestore measures the part of a cold start that is the snapshot: the worst
// case, in which all 1,000,000 events are recent and kept.
func BenchmarkRestore(b *testing.B) {
	total := coldEvents
	if testing.Short() {
		total /= 10
	}
	now, file := time.Now().UTC(), filepath.Join(b.TempDir(), "snapshot")
	program, err := programDigest()
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	w, err := snapshot.NewWriter(f, program, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range total {
		e := eventstest.AtWork(i, now)
		if err := w.Add(journal.Entry{Event: e, Channel: e.Data.Channel(), Seq: uint64(i) + 1}); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(uint64(total)+1, []byte("x")), f.Close()); err != nil {
		b.Fatal(err)
	}
	before := processorTime(b)
	for b.Loop() {
		l := newLedger(nil, nil, file, func() time.Time { return now }, zerolog.Nop())
		if l.restore(uint64(total) + 1); l.seq != uint64(total) {
			b.Fatalf("restored up to %d", l.seq)
		}
	}
	b.ReportMetric(float64(total*b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "processor-s/op")
}

// processorTime is what this process has used of all processors: what other
// work on the machine delays is not in it.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// verifications is how many signatures all processors verify in a second, now:
// the limit of any replay.
func verifications(b *testing.B) float64 {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	message := make([]byte, 700) // an event
	sig := ed25519.Sign(key, message)
	const each = 5_000
	var group sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for range each {
				if !ed25519.Verify(public, message, sig) {
					b.Error("not verified")
				}
			}
		})
	}
	group.Wait()
	return float64(each*runtime.GOMAXPROCS(0)) / time.Since(start).Seconds()
}

// rawFetch reads the whole stream and makes nothing of it.
func rawFetch(b *testing.B, nc *nats.Conn, total uint64) time.Duration {
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	c, err := js.OrderedConsumer(b.Context(), events.Access, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	it, err := c.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		b.Fatal(err)
	}
	defer it.Stop()
	for range total {
		if _, err := it.Next(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// BenchmarkColdStart measures how long a broker's ledger takes to catch up with
// 1,000,000 events, by reading and verifying them all and from a snapshot, beside
// nothing but fetching them, in one run: with all of them of the last week, so that
// every session still counts, and of the last year. As many events have come since
// the snapshot as there may. A tenth of the events with -short.
func BenchmarkColdStart(b *testing.B) {
	for name, over := range map[string]time.Duration{"of the last week": remember - time.Hour, "of the last year": 365 * 24 * time.Hour} {
		b.Run(name, func(b *testing.B) {
			total := coldEvents
			if testing.Short() {
				total /= 10
			}
			since := max(snapshotMin, total/snapshotPart)
			nc, now := eventstest.Connect(b), time.Now()
			w := eventstest.NewWork(b, nc)
			j := w.Journal(b)
			file := filepath.Join(b.TempDir(), "snapshot")
			begin := func(file string) (*ledger, time.Duration) {
				runtime.GC()
				l := newLedger(j, w.Roots, file, time.Now, zerolog.Nop())
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				ended := make(chan error, 1)
				start := time.Now()
				go func() { ended <- l.follow(ctx) }()
				<-l.ready
				took := time.Since(start)
				cancel()
				if err := <-ended; err != nil {
					b.Fatal(err)
				}
				return l, took
			}
			w.Fill(b, 0, total-since, total, over, now)
			l, _ := begin("")
			l.state.Forget(now.Add(-remember))
			l.snapshots = file
			if err := l.writeSnapshot(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(l.snapshot.Events), "kept-events")
			l = nil
			w.Fill(b, total-since, total, total, over, now)
			last, err := j.Last(b.Context(), events.Access)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				fetched := rawFetch(b, nc, last)
				before := processorTime(b)
				whole, took := begin("")
				if whole.seq != last || len(whole.refused) > 0 || whole.unread != nil {
					b.Fatalf("came to %d, without %v: %v", whole.seq, whole.refused, whole.unread)
				}
				whole = nil
				b.ReportMetric((processorTime(b) - before).Seconds(), "replay-processor-s")
				b.ReportMetric(took.Seconds(), "replay-s")
				b.ReportMetric(float64(last)/took.Seconds(), "replayed-events/s")
				b.ReportMetric(float64(last)/fetched.Seconds(), "fetched-events/s")
				b.ReportMetric(fetched.Seconds()/took.Seconds(), "ratio")
				before = processorTime(b)
				from, took := begin(file)
				if from.snapshot.Seq == 0 || from.seq != last || len(from.refused) > 0 {
					b.Fatalf("came to %d, by the snapshot %+v", from.seq, from.snapshot)
				}
				b.ReportMetric(took.Seconds(), "snapshot-s")
				b.ReportMetric((processorTime(b) - before).Seconds(), "snapshot-processor-s")
			}
		})
	}
}

// synced is a server that acknowledges what is on disk, as in production.
func synced(b *testing.B) *nats.Conn {
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: b.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	embeddedtest.Run(b, n)
	nc := embeddedtest.Connect(b, n, "bench", embedded.Admin())
	if err := journal.Setup(b.Context(), nc, journal.StreamsConfig{}); err != nil {
		b.Fatal(err)
	}
	return nc
}

// BenchmarkCommands measures whole commands, one after another (decided,
// appended on condition, on disk, read back into the state), beside as many raw
// synchronous publishes of the same event, in the same run.
func BenchmarkCommands(b *testing.B) {
	nc := synced(b)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	s := signedStream(b, nc)
	l := newLedger(s.Journal, s.roots, "", time.Now, zerolog.Nop())
	go func() { _ = l.follow(b.Context()) }()
	<-l.ready
	var commands, raws time.Duration
	i := 0
	for b.Loop() {
		i++
		start := time.Now()
		es, err := l.do(b.Context(), "bench", func(_ *access.State, env access.Env) ([]events.Event, error) {
			return access.PutRole(l.state, env, events.Role{Name: fmt.Sprint("role", i)}, access.Put{})
		})
		if err != nil {
			b.Fatal(err)
		}
		commands += time.Since(start)
		es[0].Source = "/postern/bench"
		body, err := events.Encode(es[0])
		body = s.sign(es[0].Data.Channel(), body)
		if err != nil {
			b.Fatal(err)
		}
		start = time.Now()
		if _, err := js.Publish(b.Context(), fmt.Sprint("access.role.raw", i), body); err != nil {
			b.Fatal(err)
		}
		raws += time.Since(start)
	}
	b.ReportMetric(float64(i)/commands.Seconds(), "commands/s")
	b.ReportMetric(float64(i)/raws.Seconds(), "raw-publishes/s")
	b.ReportMetric(raws.Seconds()/commands.Seconds(), "ratio")
}

// BenchmarkPropagation measures how long after a decision is durable each of 100
// followers, on a connection of its own, has it: p50 and p99 of all of them, and the
// same of the last one. They are brokers' ledgers, which decode, verify and apply it;
// readers that decode it only; and bare JetStream consumers, which are the limit of the
// server and this machine, all in one run. Followers on machines of their own verify
// side by side: verify-ms is what 100 verifications take here.
func BenchmarkPropagation(b *testing.B) {
	for _, kind := range []struct {
		name   string
		follow func(b *testing.B, s stream, nc *nats.Conn, arrived func())
	}{
		{"raw", func(b *testing.B, _ stream, nc *nats.Conn, arrived func()) {
			js, err := jetstream.New(nc)
			if err != nil {
				b.Fatal(err)
			}
			c, err := js.OrderedConsumer(b.Context(), events.Access, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
			if err != nil {
				b.Fatal(err)
			}
			it, err := c.Messages()
			if err != nil {
				b.Fatal(err)
			}
			go func() {
				for {
					if _, err := it.Next(jetstream.NextContext(b.Context())); err != nil {
						return
					}
					arrived()
				}
			}()
		}},
		{"decoded", func(b *testing.B, _ stream, nc *nats.Conn, arrived func()) {
			j := eventstest.Open(b, nc)
			last, err := j.Last(b.Context(), events.Access)
			if err != nil {
				b.Fatal(err)
			}
			go func() {
				for range j.Follow(b.Context(), events.Access, last) {
					arrived()
				}
			}()
		}},
		{"verified and applied", func(b *testing.B, s stream, nc *nats.Conn, arrived func()) {
			l := newLedger(eventstest.Open(b, nc), s.roots, "", time.Now, zerolog.Nop())
			go func() { _ = l.follow(b.Context()) }()
			<-l.ready
			next := l.seq + 1
			go func() {
				for ; l.reach(b.Context(), next) == nil; next++ {
					arrived()
				}
			}()
		}},
	} {
		b.Run(kind.name, func(b *testing.B) { propagation(b, kind.follow) })
	}
}

func propagation(b *testing.B, follow func(b *testing.B, s stream, nc *nats.Conn, arrived func())) {
	const followers = 100
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: b.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	embeddedtest.Run(b, n)
	nc := embeddedtest.Connect(b, n, "bench", embedded.Admin())
	if err := journal.Setup(b.Context(), nc, journal.StreamsConfig{}); err != nil {
		b.Fatal(err)
	}
	s := signedStream(b, nc)
	arrivals := make(chan time.Time, followers)
	for range followers {
		follow(b, s, embeddedtest.Connect(b, n, "follower", embedded.Admin()), func() { arrivals <- time.Now() })
	}
	var each, last []time.Duration
	lock := func(i int) {
		if _, err := s.AppendIf(b.Context(), 0, events.Event{Meta: events.Meta{Sequence: 1}, Data: &events.LockPlaced{LockID: fmt.Sprint("L", i), Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "bench"}}); err != nil {
			b.Fatal(err)
		}
		durable := time.Now()
		var slowest time.Duration
		for range followers {
			took := max(0, (<-arrivals).Sub(durable))
			each, slowest = append(each, took), max(slowest, took)
		}
		last = append(last, slowest)
	}
	lock(0) // every follower's consumer runs
	each, last = nil, nil
	i := 0
	for b.Loop() {
		i++
		lock(i)
	}
	b.ReportMetric(followers/verifications(b)*1000, "verify-ms")
	for name, took := range map[string][]time.Duration{"": each, "last-": last} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, name+"p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, name+"p99-ms")
	}
}
