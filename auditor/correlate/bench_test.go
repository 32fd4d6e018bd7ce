package correlate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// BenchmarkReconcile matches a million requests with a million records, five
// minutes late, at 2,000 a second, so that what waits is what would wait then.
func BenchmarkReconcile(b *testing.B) {
	const pairs, late = 1_000_000, 600_000
	for b.Loop() {
		s := correlate.New(correlate.Config{Open: 2 * late})
		s.AddCredential(ourKey)
		at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Second / 2000) }
		matched := 0
		count := func(js []correlate.Judgement) {
			for _, j := range js {
				if j.Verdict.Verdict == events.Matched {
					matched++
				}
			}
		}
		begun := time.Now()
		for i := range pairs + late {
			now := at(i)
			if i < pairs {
				r := ours(fmt.Sprintf("R%08d", i), "")
				r.ReceivedAt = now
				count(s.AddRequest(r, now))
				r.Outcome, r.AWSRequestID = correlate.Completed, fmt.Sprintf("A%08d", i)
				count(s.AddRequest(r, now))
			}
			if k := i - late; k >= 0 {
				r := theirs(fmt.Sprintf("E%08d", k), fmt.Sprintf("A%08d", k))
				r.EventTime = at(k)
				count(s.AddRecord(r, now))
			}
			if i%400 == 0 { // every 200 ms
				js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
				if err != nil {
					b.Fatal(err)
				}
				count(js)
			}
		}
		if matched != pairs {
			b.Fatalf("%d pairs", matched)
		}
		b.ReportMetric(time.Since(begun).Seconds(), "s/million")
		b.ReportMetric(pairs/time.Since(begun).Seconds(), "pairs/s")
	}
}
