package auditor_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
)

// BenchmarkSinkSustained is BenchmarkSink for as long as POSTERN_BENCH_SECONDS says (20
// without it; the figure is of 300): an auditor that never gets to the end of the
// stream, its rate in the whole time and in the worst ten seconds, beside raw fetch and
// raw insert of the same run, the most memory that it held and the most parts that a
// month of a table had. A second takes some 80 MB of disk.
func BenchmarkSinkSustained(b *testing.B) {
	seconds := 20
	if s := os.Getenv("POSTERN_BENCH_SECONDS"); s != "" {
		var err error
		if seconds, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		w := newApart(b)
		js, err := jetstream.New(w.nc)
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		appendAll(b, w.j, sinkEvents/2)
		start = lap(b, "append", sinkEvents, start)
		fetchAll(b, js, sinkEvents)
		lap(b, "raw-fetch", sinkEvents, start)
		child := w.run()
		w.until("these are stored", func() bool { return w.stored(events.Audit) == sinkEvents })
		_ = child.Process.Kill()
		_ = child.Wait()
		insert, _ := insertAll(b, w)
		b.ReportMetric(insert, "raw-insert/s")
		// As much as the sink could take if it were six tenths as fast as that.
		appendFrom(b, w.j, sinkEvents/2, max(sinkEvents/2, int(insert*0.6/2)*seconds))
		last, err := w.j.Last(b.Context(), events.Audit)
		if err != nil {
			b.Fatal(err)
		}
		child = w.run()
		w.until("the next batch is stored", func() bool { return w.stored(events.Audit) > sinkEvents })
		var parts uint64
		begun, at := time.Now(), []uint64{w.stored(events.Audit)}
		for len(at) <= seconds && at[len(at)-1] < last {
			time.Sleep(time.Until(begun.Add(time.Duration(len(at)) * time.Second)))
			at = append(at, w.stored(events.Audit))
			parts = max(parts, w.count(`SELECT max(n) FROM (SELECT count() AS n FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table, partition)`))
		}
		took := time.Since(begun).Seconds()
		rate := float64(at[len(at)-1]-at[0]) / took
		worst := rate
		for i := 10; i < len(at); i++ {
			worst = min(worst, float64(at[i]-at[i-10])/10)
		}
		b.ReportMetric(took, "seconds")
		b.ReportMetric(rate, "sink/s")
		b.ReportMetric(rate/insert, "of-raw-insert")
		b.ReportMetric(worst, "worst-10s/s")
		b.ReportMetric(float64(parts), "parts-peak")
		b.ReportMetric(peak(child.Process.Pid), "auditor-RSS-peak-MiB")
		b.ReportMetric(peak(engineOf(b, "clickhouse-engine")), "engine-RSS-peak-MiB")
	}
}

// lap reports the rate of n since a time, and is now.
func lap(b *testing.B, name string, n int, since time.Time) time.Time {
	b.ReportMetric(float64(n)/time.Since(since).Seconds(), name+"/s")
	return time.Now()
}
