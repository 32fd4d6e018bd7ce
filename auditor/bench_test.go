package auditor_test

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// sinkEvents is what BenchmarkSink moves at once.
const sinkEvents = 200_000

// BenchmarkSink moves 200,000 audit events from JetStream into ClickHouse, all
// of the way (ledger and requests, judged), and measures the limits of the same
// run: publishing with group commit and plainly, fetching without decoding, and
// inserting the same rows by clickhouse-go alone. With server, engine, and
// everything else on this machine's cores.
func BenchmarkSink(b *testing.B) {
	for b.Loop() {
		w := newApart(b)
		rate := func(name string, n int, run func()) {
			start := time.Now()
			run()
			b.ReportMetric(float64(n)/time.Since(start).Seconds(), name+"/s")
		}
		js, err := jetstream.New(w.nc)
		if err != nil {
			b.Fatal(err)
		}
		rate("append", sinkEvents, func() { appendAll(b, w.j, sinkEvents/2) })
		rate("raw-fetch", sinkEvents, func() { fetchAll(b, js, sinkEvents) })
		rate("fetch-and-decode", sinkEvents, func() { replayAll(b, w.j) })
		child := w.run()
		w.until("the first batch is stored", func() bool { return w.stored(events.Audit) > 0 })
		begun := w.stored(events.Audit)
		engine := engineOf(b, "clickhouse-engine")
		used := [3]float64{cpu(child.Process.Pid), cpu(engine), cpu(os.Getpid())}
		start := time.Now()
		w.until("all is stored", func() bool {
			time.Sleep(100 * time.Millisecond) // asking is work for the engine too
			return w.stored(events.Audit) == sinkEvents
		})
		sink := float64(sinkEvents-begun) / time.Since(start).Seconds()
		b.ReportMetric(sink, "sink/s")
		for i, name := range []string{"auditor", "engine", "nats-and-bench"} {
			now := cpu([]int{child.Process.Pid, engine, os.Getpid()}[i])
			b.ReportMetric((now-used[i])*1e6/float64(sinkEvents-begun), name+"-us/event")
		}
		if n := w.count(`SELECT count() FROM requests WHERE outcome = 'completed'`); n != sinkEvents/2 {
			b.Fatalf("%d requests", n)
		}
		w.exact(events.Audit)
		b.ReportMetric(peak(child.Process.Pid), "auditor-RSS-peak-MiB")
		// Onto a stream whose reader is gone.
		_ = child.Process.Kill()
		_ = child.Wait()
		rate("raw-publish", sinkEvents/4, func() { publishAll(b, js, sinkEvents/4) })
		all, ledger := insertAll(b, w)
		b.ReportMetric(all, "raw-insert/s")
		b.ReportMetric(ledger, "raw-insert-of-the-ledger/s")
		b.ReportMetric(sink/all, "ratio")
	}
}

func appendAll(b *testing.B, j *journal.Journal, requests int) { appendFrom(b, j, 0, requests) }

// appendFrom is appendAll without those before from.
func appendFrom(b *testing.B, j *journal.Journal, from, requests int) {
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	now := time.Now().UTC()
	for range 512 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= requests {
					return
				}
				r := awsRequest(fmt.Sprintf("R%08d", i), fmt.Sprint("user", i%50), now.Add(time.Duration(i)*time.Microsecond))
				for _, p := range []events.Payload{&events.AWSRequestAdmitted{AWSRequest: r}, &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: fmt.Sprint("AWS", i)}} {
					if _, err := j.Append(b.Context(), events.Event{Data: p}); err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func publishAll(b *testing.B, js jetstream.JetStream, n int) {
	body := []byte(strings.Repeat("x", 1000))
	for range n {
		if _, err := js.PublishAsync("findings.bench", body, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

func fetchAll(b *testing.B, js jetstream.JetStream, n int) {
	c, err := js.CreateConsumer(b.Context(), events.Audit, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		b.Fatal(err)
	}
	it, err := c.Messages(jetstream.PullMaxMessages(10_000))
	if err != nil {
		b.Fatal(err)
	}
	defer it.Stop()
	for range n {
		if _, err := it.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// replayAll reads and decodes, without storing.
func replayAll(b *testing.B, j *journal.Journal) {
	for _, err := range j.Replay(b.Context(), events.Audit) {
		if err != nil {
			b.Fatal(err)
		}
	}
}

// insertAll inserts the rows that the sink made of sinkEvents events again, by clickhouse-go
// alone, in blocks of the same size, and returns of how many events a second: all of them into
// tables like theirs, and the ledger's into one without projections. Nothing is left to be
// merged, before and after.
func insertAll(b *testing.B, w *apart) (all, ledger float64) {
	b.Helper()
	w.merged()
	plain := w.again(b, "events", "ENGINE = MergeTree ORDER BY (stream, seq)")
	same := w.again(b, "events", "") + w.again(b, "request_rows", "")
	w.merged()
	return sinkEvents / same.Seconds(), sinkEvents / plain.Seconds()
}

// merged waits until ClickHouse merges nothing.
func (w *apart) merged() {
	w.until("nothing is merged", func() bool { return w.count(`SELECT count() FROM system.merges`) == 0 })
}

// again inserts a table's rows into one like it, and returns how long that alone took.
func (w *apart) again(b *testing.B, table, engine string) (took time.Duration) {
	b.Helper()
	exec := func(q string) {
		if err := w.conn.Exec(b.Context(), q); err != nil {
			b.Fatal(err)
		}
	}
	exec(`CREATE TABLE again AS ` + table + ` ` + engine)
	var all, columns []string // as the sink, without those that are empty
	if err := w.conn.QueryRow(b.Context(), `SELECT groupArray(name) FROM system.columns WHERE database = currentDatabase() AND table = ? AND default_kind = ''`, table).Scan(&all); err != nil {
		b.Fatal(err)
	}
	for _, c := range all {
		if w.count(`SELECT countIf(`+c+` != defaultValueOfArgumentType(`+c+`)) FROM `+table) > 0 {
			columns = append(columns, c)
		}
	}
	list := strings.Join(columns, ", ")
	rows, err := w.conn.Query(b.Context(), `SELECT `+list+` FROM `+table)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	ctx := clickhouse.Context(b.Context(), clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "optimize_on_insert": 0}))
	var block [][]any
	insert := func() {
		start := time.Now()
		batch, err := w.conn.PrepareBatch(ctx, `INSERT INTO again (`+list+`)`)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range block {
			if err := batch.Append(r...); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		block = block[:0]
	}
	types := rows.ColumnTypes()
	for rows.Next() {
		into, row := make([]any, len(types)), make([]any, len(types))
		for i, t := range types {
			into[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := rows.Scan(into...); err != nil {
			b.Fatal(err)
		}
		for i := range into {
			row[i] = reflect.ValueOf(into[i]).Elem().Interface()
		}
		if block = append(block, row); len(block) == 8000 {
			insert()
		}
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	insert()
	exec(`DROP TABLE again SYNC`)
	return took
}

// peak is the most resident memory that a process had, in MiB; 0 where there
// is no /proc.
func peak(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}

// cpu is the processor time that a process took, in seconds, of user and system;
// 0 where there is no /proc.
func cpu(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100 // USER_HZ
}
