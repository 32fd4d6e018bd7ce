package auditor_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// BenchmarkVisible measures how long it takes from a request's completed event,
// acknowledged, until a search by its id finds it, while 2,000 requests a second,
// two events each, go through the same auditor. The search that finds it is in it.
func BenchmarkVisible(b *testing.B) {
	const perSecond, seconds, askers = 2_000, 20, 4
	for b.Loop() {
		w := newApart(b)
		w.run()
		w.until("the tables are there", func() bool { return w.conn.Exec(b.Context(), `SELECT 1 FROM requests LIMIT 1`) == nil })
		ask := query.New(embeddedtest.Open(b, embeddedtest.ReaderDSN(b, w.dsn)), nil)
		type done struct {
			id string
			at time.Time
		}
		samples := make(chan done) // taken by whoever has time to
		var mu sync.Mutex
		var took []time.Duration
		var watching sync.WaitGroup
		for range askers {
			watching.Go(func() {
				for s := range samples {
					w.until("it is found", func() bool {
						page, err := ask.Search(b.Context(), query.Filter{RequestID: s.id, Outcome: "completed", Since: "1h"})
						return err == nil && len(page.Entries) == 1
					})
					mu.Lock()
					took = append(took, time.Since(s.at))
					mu.Unlock()
				}
			})
		}
		var saying sync.WaitGroup
		begun := time.Now()
		for i := range perSecond * seconds {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / perSecond)))
			saying.Go(func() {
				r := awsRequest(fmt.Sprintf("V%08d", i), "alice", time.Now().UTC())
				for _, p := range []events.Payload{&events.AWSRequestAdmitted{AWSRequest: r}, &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: fmt.Sprint("AWS", i)}} {
					if _, err := w.j.Append(b.Context(), events.Event{Data: p}); err != nil {
						b.Error(err)
						return
					}
				}
				select {
				case samples <- done{r.RequestID, time.Now()}:
				default:
				}
			})
		}
		b.ReportMetric(float64(perSecond*seconds)/time.Since(begun).Seconds(), "requests/s")
		saying.Wait()
		close(samples)
		watching.Wait()
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
		b.ReportMetric(took[len(took)*99/100].Seconds(), "p99-s")
		b.ReportMetric(float64(len(took)), "samples")
	}
}
