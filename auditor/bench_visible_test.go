package auditor_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// BenchmarkVisible measures how long it takes from a request's completed event,
// acknowledged, until a search has it, while 2,000 requests a second, two events each,
// go through the same auditor. The search that finds it is in it.
//
// It starts once the auditor stores what comes: how long that takes from the process's
// start is reported besides. Every 200th request, ten a second whatever the auditor
// does, is somebody's whose calls are searched for again and again, 50 ms after the last
// search: one search finds all that came meanwhile, so that the measuring does not fill
// the machine. Processors are those that the auditor, ClickHouse, NATS and the benchmark
// itself keep busy.
func BenchmarkVisible(b *testing.B) {
	const perSecond, seconds, every, again = 2_000, 30, 200, 50 * time.Millisecond
	for b.Loop() {
		w := newApart(b)
		started := time.Now()
		child := w.run()
		ask := query.New(embeddedtest.Open(b, embeddedtest.ReaderDSN(b, w.dsn)), nil)
		say := func(i int) error {
			user := "alice"
			if i > 0 && i%every == 0 {
				user = "watched"
			}
			r := awsRequest(fmt.Sprintf("V%08d", i), user, time.Now().UTC())
			for _, p := range []events.Payload{&events.AWSRequestAdmitted{AWSRequest: r}, &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: fmt.Sprint("AWS", i)}} {
				if _, err := w.j.Append(b.Context(), events.Event{Data: p}); err != nil {
					return err
				}
			}
			return nil
		}
		if err := say(0); err != nil {
			b.Fatal(err)
		}
		w.until("the auditor stores", func() bool { return w.stored(events.Audit) > 0 })
		b.ReportMetric(time.Since(started).Seconds(), "start-s")

		var mu sync.Mutex
		said := map[string]time.Time{} // and not found yet
		var took []time.Duration
		var running sync.WaitGroup
		look := func() error {
			page, err := ask.Search(b.Context(), query.Filter{User: "watched", Outcome: "completed", Since: "1m", Limit: 1000})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, e := range page.Entries {
				if at, waits := said[e.Request.RequestID]; waits {
					took = append(took, time.Since(at))
					delete(said, e.Request.RequestID)
				}
			}
			return nil
		}
		searches := 0
		ended := make(chan struct{})
		var looking sync.WaitGroup
		looking.Go(func() {
			for ; ; searches++ {
				if err := look(); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				left := len(said)
				mu.Unlock()
				select {
				case <-ended:
					if left == 0 {
						return
					}
				default:
				}
				time.Sleep(again)
			}
		})
		processors := func() float64 {
			return cpu(child.Process.Pid) + cpu(engineOf(b, "clickhouse-engine")) + cpu(os.Getpid())
		}
		begun, before := time.Now(), processors()
		for i := 1; i <= perSecond*seconds; i++ {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / perSecond)))
			running.Go(func() {
				if err := say(i); err != nil {
					b.Error(err)
					return
				}
				if i%every == 0 {
					mu.Lock()
					said[fmt.Sprintf("V%08d", i)] = time.Now()
					mu.Unlock()
				}
			})
		}
		b.ReportMetric(float64(perSecond*seconds)/time.Since(begun).Seconds(), "requests/s")
		b.ReportMetric((processors()-before)/time.Since(begun).Seconds(), "processors")
		running.Wait()
		close(ended)
		looking.Wait()
		if b.Failed() {
			return
		}
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
		b.ReportMetric(took[len(took)*99/100].Seconds(), "p99-s")
		b.ReportMetric(took[len(took)-1].Seconds(), "worst-s")
		b.ReportMetric(float64(len(took)), "samples")
		b.ReportMetric(float64(searches), "searches")
	}
}
