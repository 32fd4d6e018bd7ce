package query_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// BenchmarkQuestions asks every named question of a world of as many requests and
// CloudTrail records as POSTERN_BENCH_ROWS says (100,000 without it), each seven
// times, of which it reports the median. Twenty million take half an hour to make and
// 10 GB, 15 while parts are merged: POSTERN_BENCH_DIR keeps them, one directory for each
// size.
func BenchmarkQuestions(b *testing.B) {
	w := world{rows: 100_000}
	if s := os.Getenv("POSTERN_BENCH_ROWS"); s != "" {
		var err error
		if w.rows, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	server := embeddedtest.StartClickHouse(b, func(c *embedded.ClickHouseConfig) {
		c.MaxMemory = 4 << 30 // as postern's own
		if dir := os.Getenv("POSTERN_BENCH_DIR"); dir != "" {
			c.Dir = dir
		}
	})
	s, err := store.New(store.Config{DSN: server.DSN(embedded.Owner), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	begun := time.Now()
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("migrated in %s", time.Since(begun).Round(time.Millisecond))
	w.fill(b, s.Conn())
	if os.Getenv("POSTERN_BENCH_FILL") != "" {
		b.Skip("POSTERN_BENCH_FILL: filled, not asked")
	}
	calls := w.samples(b, s.Conn())
	// Whose calls AWS has no record of, in a world of any size.
	var unlucky string
	if err := s.Conn().QueryRow(b.Context(), `SELECT user FROM requests WHERE verdict = 'missing' GROUP BY user ORDER BY count() DESC, user LIMIT 1`).Scan(&unlucky); err != nil {
		b.Fatal(err)
	}
	read, readByReport := &reading{Conn: embeddedtest.Open(b, server.DSN(embedded.Reader))}, &reading{Conn: s.Conn()}
	a := query.New(read, nil)
	none := func(string, string) ([]string, int) { return nil, 0 }
	search := func(f query.Filter) func(int) error {
		return func(int) error { _, err := a.Search(b.Context(), f); return err }
	}
	show := func(pick func(sample) string) func(int) error {
		return func(i int) error { _, err := a.Show(b.Context(), pick(calls[i])); return err }
	}
	questions := []struct {
		name string
		ask  func(try int) error
	}{
		{"search", search(query.Filter{})},
		{"search-user", search(query.Filter{User: "user7"})},
		{"search-rare-user", search(query.Filter{User: "user997"})},
		{"search-user-2d", search(query.Filter{User: "user7", Service: "s3", Since: "48h"})},
		{"search-nobody", search(query.Filter{User: "nobody"})},
		{"search-role", search(query.Filter{AWSRole: "Role7"})},
		{"search-account", search(query.Filter{Account: "100000000003"})},
		{"search-service", search(query.Filter{Service: "iam"})},
		{"search-action", search(query.Filter{Action: "kms:Decrypt"})},
		{"search-actions", search(query.Filter{Action: "kms:*"})},
		{"search-resource", search(query.Filter{Resource: "arn:aws:s3:::team7-data/y=2026/part-77.parquet"})},
		{"search-resources", search(query.Filter{Resource: "*team7-data*"})},
		{"search-no-resource", search(query.Filter{Resource: "arn:aws:s3:::nowhere/*"})},
		{"search-denied", search(query.Filter{Outcome: "denied"})},
		{"search-missing", search(query.Filter{Outcome: "missing"})},
		{"search-awaiting", search(query.Filter{Outcome: "awaiting"})},
		{"search-user-missing", search(query.Filter{User: unlucky, Outcome: "missing"})},
		{"search-bypass", search(query.Filter{Outcome: "bypass"})},
		{"search-month", search(query.Filter{User: "user7", Since: "60d", Until: "30d"})},
		{"search-federated", search(query.Filter{FederatedUser: "user7"})},
		{"search-session", func(i int) error {
			_, err := a.Search(b.Context(), query.Filter{SessionID: calls[i].session})
			return err
		}},
		{"search-request", func(i int) error {
			_, err := a.Search(b.Context(), query.Filter{RequestID: calls[i].id})
			return err
		}},
		{"search-aws-id", func(i int) error {
			_, err := a.Search(b.Context(), query.Filter{AWSRequestID: calls[i].awsID})
			return err
		}},
		{"search-no-aws-id", search(query.Filter{AWSRequestID: "none"})},
		{"show-request", show(func(s sample) string { return s.id })},
		{"show-aws-id", show(func(s sample) string { return s.awsID })},
		{"show-record", show(func(s sample) string { return s.event })},
		{"why", func(i int) error { _, err := a.Why(b.Context(), calls[i].id); return err }},
		{"coverage-2d", func(int) error { _, err := a.Coverage(b.Context(), "48h"); return err }},
		{"coverage", func(int) error { _, err := a.Coverage(b.Context(), ""); return err }},
		{"findings", func(int) error { _, err := a.Findings(b.Context(), query.FindingFilter{}); return err }},
		{"findings-user", func(int) error {
			_, err := a.Findings(b.Context(), query.FindingFilter{User: "user7", State: "open"})
			return err
		}},
		{"policy-7d", func(int) error {
			_, err := a.Policy(b.Context(), query.PolicyFilter{AWSRole: "Role7", Since: "7d"}, none)
			return err
		}},
		{"policy-90d", func(int) error {
			_, err := a.Policy(b.Context(), query.PolicyFilter{AWSRole: "Role7", Since: "90d"}, none)
			return err
		}},
		{"report-request", func(i int) error {
			_, err := evidence.Gather(b.Context(), readByReport, evidence.Subject{Request: calls[i].id})
			return err
		}},
		{"report-user-1d", func(int) error {
			_, err := evidence.Gather(b.Context(), readByReport, evidence.Subject{User: "user897", Since: time.Now().AddDate(0, 0, -2)})
			if errors.Is(err, evidence.ErrNothing) { // of a small world
				return nil
			}
			return err
		}},
	}
	for b.Loop() {
		var all []time.Duration
		for _, q := range questions {
			if only := os.Getenv("POSTERN_BENCH_ONLY"); only != "" && !strings.Contains(q.name, only) {
				continue
			}
			var took []time.Duration
			before := read.sum().add(readByReport.sum())
			for try := range tries {
				start := time.Now()
				if err := q.ask(try); err != nil {
					b.Fatalf("%s: %v", q.name, err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			all = append(all, took[tries/2])
			n := read.sum().add(readByReport.sum())
			b.Logf("%-20s %6.0f ms (%.0f to %.0f), %d statements, %d rows, %.1f MB read, %.0f ms of the engine's processor time", q.name, ms(took[tries/2]), ms(took[0]), ms(took[tries-1]),
				(n.statements-before.statements)/tries, (n.rows-before.rows)/tries, float64(n.bytes-before.bytes)/tries/1e6, float64(n.cpu-before.cpu)/tries/1000)
			b.ReportMetric(ms(took[tries/2]), q.name+"-ms")
		}
		slices.Sort(all)
		b.ReportMetric(ms(all[len(all)/2]), "median-ms")
		b.ReportMetric(ms(all[len(all)-1]), "worst-ms")
	}
}

const tries = 7

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// reading counts what statements read.
type reading struct {
	driver.Conn
	statements, rows, bytes, cpu atomic.Uint64
}

// amount of what was read, and of the engine's processor time for it in microseconds.
type amount struct{ statements, rows, bytes, cpu uint64 }

func (r *reading) sum() amount {
	return amount{r.statements.Load(), r.rows.Load(), r.bytes.Load(), r.cpu.Load()}
}

func (x amount) add(y amount) amount {
	return amount{x.statements + y.statements, x.rows + y.rows, x.bytes + y.bytes, x.cpu + y.cpu}
}

func (r *reading) counting(ctx context.Context) context.Context {
	r.statements.Add(1)
	return clickhouse.Context(ctx, clickhouse.WithProgress(func(p *clickhouse.Progress) {
		r.rows.Add(p.Rows)
		r.bytes.Add(p.Bytes)
	}), clickhouse.WithProfileEvents(func(events []clickhouse.ProfileEvent) {
		for _, e := range events {
			if e.Name == "UserTimeMicroseconds" || e.Name == "SystemTimeMicroseconds" {
				r.cpu.Add(uint64(e.Value))
			}
		}
	}))
}

func (r *reading) Select(ctx context.Context, into any, q string, args ...any) error {
	return r.Conn.Select(r.counting(ctx), into, q, args...)
}

func (r *reading) Query(ctx context.Context, q string, args ...any) (driver.Rows, error) {
	return r.Conn.Query(r.counting(ctx), q, args...)
}

func (r *reading) QueryRow(ctx context.Context, q string, args ...any) driver.Row {
	return r.Conn.QueryRow(r.counting(ctx), q, args...)
}
