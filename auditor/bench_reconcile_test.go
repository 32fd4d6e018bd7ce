package auditor_test

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// BenchmarkReconcileNew measures what 1,000 new pairs cost when 10,000 and when
// 1,000,000 are stored: the time until all are matched, and the engine's
// processor time. The auditor starts after the requests came, so it has none of
// them in memory and finds each in the store.
func BenchmarkReconcileNew(b *testing.B) {
	const fresh = 1_000
	for _, stored := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d stored", stored), func(b *testing.B) {
			for b.Loop() {
				w := newWorld(b, nil)
				w.settle(events.Audit)
				old := fmt.Sprintf(`fromUnixTimestamp64Micro(toInt64(%d - number * 1000), 'UTC')`, time.Now().Add(-time.Minute).UnixMicro())
				for _, q := range []string{
					`INSERT INTO request_rows (received_at, request_id, outcome, user, aws_role_arn, role_session_name, access_key_id, account, service, signing_name, operation, status, aws_request_id, verdict, cloudtrail_account, cloudtrail_event_id)
						SELECT ` + old + `, concat('OLD', toString(number)), 'completed', 'alice', '` + roleARN + `', 'alice', 'ASIAOURS', '` + account + `', 's3', 's3', 'ListObjectsV2', 200, concat('OLDAWS', toString(number)), 'matched', '` + account + `', concat('OLDE', toString(number)) FROM numbers(?)`,
					`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_source, event_name, request_id, identity_account_id, access_key_id, role_session_name, federated_user, present, verdict, postern_request_id)
						SELECT ` + old + `, '` + account + `', concat('OLDE', toString(number)), 's3.amazonaws.com', 'ListObjects', concat('OLDAWS', toString(number)), '` + account + `', 'ASIAOURS', 'alice', 'alice', true, 'matched', concat('OLD', toString(number)) FROM numbers(?)`,
				} {
					if err := w.conn.Exec(b.Context(), q, stored); err != nil {
						b.Fatal(err)
					}
				}
				now := time.Now().UTC()
				say := func(p events.Payload) {
					if _, err := w.j.Append(b.Context(), events.Event{Data: p}); err != nil {
						b.Fatal(err)
					}
				}
				for i := range fresh {
					say(&events.AWSRequestCompleted{AWSRequest: awsRequest(fmt.Sprintf("R%08d", i), "alice", now), Status: 200, AWSRequestID: fmt.Sprint("AWS", i)})
				}
				w.settle(events.Audit)
				w.stop()
				for i := range fresh {
					say(trail(fmt.Sprint("E", i), fmt.Sprint("AWS", i), "alice", "ASIAOURS", "ListObjects", now))
				}
				engine := engineOf(b, "clickhouse-engine")
				before, begun := cpu(engine), time.Now()
				w.start(func(c *auditor.Config) { c.Skew = time.Minute })
				w.until("all is judged", func() bool {
					time.Sleep(50 * time.Millisecond)
					last, err := w.j.Last(b.Context(), events.Findings)
					return err == nil && last >= fresh
				})
				b.ReportMetric(time.Since(begun).Seconds(), "s")
				b.ReportMetric(cpu(engine)-before, "engine-s")
				w.settle(events.Findings)
				if n := w.count(`SELECT count() FROM requests WHERE verdict = 'matched'`); n != uint64(stored+fresh) {
					b.Fatalf("%d are matched", n)
				}
			}
		})
	}
}

// BenchmarkReconcileStreams reconciles as many requests with as many records as
// POSTERN_BENCH_PAIRS says (100,000 without it; the figure is of a million) through the
// streams and the tables, from an auditor's start until all verdicts are rows. What of
// it is not the sinks' comes of a second auditor: it takes the same streams into an
// empty database, verdicts included, and has nothing to judge.
func BenchmarkReconcileStreams(b *testing.B) {
	pairs := 100_000
	if s := os.Getenv("POSTERN_BENCH_PAIRS"); s != "" {
		var err error
		if pairs, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		w := newApart(b)
		appendPairs(b, w, pairs)
		took := map[string]float64{}
		for _, part := range []string{"judging", "sinks"} {
			if part == "sinks" {
				w.dsn = embeddedtest.ClickHouse(b)
				w.conn = embeddedtest.Open(b, w.dsn)
				w.env = append(w.env, "POSTERN_TEST_DSN="+w.dsn)
			}
			engine := engineOf(b, "clickhouse-engine")
			before, begun := cpu(engine), time.Now()
			nats := cpu(os.Getpid()) // which is in this process
			child := w.run()
			for stored := uint64(0); stored < uint64(pairs); time.Sleep(250 * time.Millisecond) {
				if time.Since(begun) > time.Hour {
					b.Fatalf("%d of %d verdicts after an hour", stored, pairs)
				}
				if part == "judging" || w.stored(events.Audit) > 2*uint64(pairs) && w.stored(events.CloudTrail) == uint64(pairs) {
					stored = w.stored(events.Findings)
				}
			}
			took[part] = time.Since(begun).Seconds()
			b.ReportMetric(took[part], part+"-s")
			b.ReportMetric(cpu(child.Process.Pid), part+"-auditor-cpu-s")
			b.ReportMetric(cpu(engine)-before, part+"-engine-cpu-s")
			b.ReportMetric(cpu(os.Getpid())-nats, part+"-nats-cpu-s")
			b.ReportMetric(peak(child.Process.Pid), part+"-auditor-RSS-peak-MiB")
			if n := w.count(`SELECT count() FROM requests WHERE verdict = 'matched'`); n != uint64(pairs) {
				b.Fatalf("%d are matched", n)
			}
			_ = child.Process.Kill()
			_ = child.Wait()
		}
		b.ReportMetric(took["judging"]-took["sinks"], "beyond-the-sinks-s")
	}
}

// appendPairs says two events of each request, 2,000 requests a second up to now, and
// what CloudTrail says of them.
func appendPairs(b *testing.B, w *apart, n int) {
	begun := time.Now().UTC().Add(-time.Duration(n) * time.Second / 2000)
	for i := range 50 {
		user := fmt.Sprint("user", i)
		key := events.AWSCredentialsIssued{AccessKeyID: "ASIAOURS" + user, SessionID: "S1", User: user, App: "awsconsole", AWSRoleARN: roleARN, Account: account,
			RoleSessionName: user, IssuedAt: begun.Add(-time.Hour), ExpiresAt: begun.Add(11 * time.Hour), Use: "proxy", Proxy: "p1"}
		if _, err := w.j.Append(b.Context(), events.Event{Data: &key}); err != nil {
			b.Fatal(err)
		}
	}
	each := func(say func(i int, at time.Time) []events.Payload) {
		var next atomic.Int64
		var all sync.WaitGroup
		for range 256 {
			all.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					for _, p := range say(i, begun.Add(time.Duration(i)*time.Second/2000)) {
						if _, err := w.j.Append(b.Context(), events.Event{Data: p}); err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
		}
		all.Wait()
	}
	each(func(i int, at time.Time) []events.Payload {
		r := awsRequest(fmt.Sprintf("R%08d", i), fmt.Sprint("user", i%50), at)
		r.AccessKeyID += r.User
		return []events.Payload{&events.AWSRequestAdmitted{AWSRequest: r}, &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: fmt.Sprint("AWS", i)}}
	})
	each(func(i int, at time.Time) []events.Payload {
		return []events.Payload{trail(fmt.Sprint("E", i), fmt.Sprint("AWS", i), fmt.Sprint("user", i%50), fmt.Sprint("ASIAOURSuser", i%50), "ListObjects", at)}
	})
}
