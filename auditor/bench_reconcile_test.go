package auditor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
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
