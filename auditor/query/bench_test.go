package query_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// BenchmarkQuestions asks every named question of as many requests and CloudTrail
// records as POSTERN_BENCH_ROWS says (100,000 without it), over 90 days, made by
// the server itself; each five times, of which it reports the median.
func BenchmarkQuestions(b *testing.B) {
	rows := 100_000
	if s := os.Getenv("POSTERN_BENCH_ROWS"); s != "" {
		var err error
		if rows, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	dsn := embeddedtest.ClickHouse(b)
	s, err := store.New(store.Config{DSN: dsn, Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	const chunk = 1_000_000
	for from := 0; from < rows; from += chunk {
		n := min(chunk, rows-from)
		// Micros since 90 days ago, evenly spread.
		at := fmt.Sprintf(`fromUnixTimestamp64Micro(toInt64(toUnixTimestamp64Micro(toDateTime64(today() - 90, 6, 'UTC')) + number * %d), 'UTC')`, 90*24*3600*1_000_000/rows)
		for _, q := range []string{
			`INSERT INTO request_rows (received_at, request_id, outcome, user, session_id, app, aws_role_arn, role_session_name, access_key_id, account, partition, region, service, operation, action, resources, method, host, path, client_addr, user_agent, proxy, status, aws_request_id, response_bytes, latency_us, verdict, cloudtrail_account, cloudtrail_event_id, cloudtrail_time)
			SELECT ` + at + ` AS t, lower(hex(MD5(toString(number)))), if(number %% 50 = 0, 'denied', 'completed'), concat('user', toString(number %% 997)), concat('S', toString(intDiv(number, 500))), 'app',
				concat('arn:aws:iam::', toString(100000000000 + number %% 20), ':role/Role', toString(number %% 30)), concat('user', toString(number %% 997)), concat('ASIA', toString(intDiv(number, 2000))), toString(100000000000 + number %% 20), 'aws', 'eu-central-1',
				['s3', 'dynamodb', 'ec2', 'sts'][1 + number %% 4] AS s, ['GetObject', 'Query', 'DescribeInstances', 'GetCallerIdentity'][1 + number %% 4] AS o, concat(s, ':', o),
				[concat('arn:aws:s3:::bucket', toString(number %% 300), '/folder', toString(number %% 7), '/', toString(number))], 'GET', 'host', '/', '10.0.0.1:1', 'aws-cli', 'p', 200, upper(hex(sipHash64(number))), 1000, 20000,
				if(number %% 50 = 0, '', if(number %% 5000 = 7, 'missing', 'matched')), '1', toString(generateUUIDv4(number)), t FROM numbers(%d, %d)`,
			`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_type, event_source, event_name, aws_region, request_id, identity_type, identity_arn, identity_account_id, access_key_id, issuer_arn, role_session_name, federated_user, federated_rule, source_ip_address, user_agent, resources, record, present, verdict)
			SELECT ` + at + `, toString(100000000000 + number %% 20), lower(hex(MD5(concat('e', toString(number))))), 'AwsApiCall', 's3.amazonaws.com', 'GetObject', 'eu-central-1', upper(hex(sipHash64(number))), 'AssumedRole', 'arn', toString(100000000000 + number %% 20), 'ASIA', concat('arn:aws:iam::', toString(100000000000 + number %% 20), ':role/Role', toString(number %% 30)), concat('user', toString(number %% 997)), concat('user', toString(number %% 997)), 'role_session_name', '10.0.0.1', 'aws-cli',
				['arn:aws:s3:::bucket'], concat('{"eventID":"', toString(number), '","more":"', repeat('x', 500), '"}'), 1, if(number %% 10000 = 3, 'bypass', 'matched') FROM numbers(%d, %d)`,
		} {
			if err := s.Conn().Exec(b.Context(), fmt.Sprintf(q, from, n)); err != nil {
				b.Fatal(err)
			}
		}
	}
	var disk, id, event string
	row := s.Conn().QueryRow(b.Context(), `SELECT formatReadableSize(sum(bytes_on_disk)) FROM system.parts WHERE active AND database = ?`, s.Database())
	if err := row.Scan(&disk); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d requests and %d records take %s", rows, rows, disk)
	row = s.Conn().QueryRow(b.Context(), fmt.Sprintf(`SELECT lower(hex(MD5('%d'))), lower(hex(MD5('e%d')))`, rows/2, rows/2))
	if err := row.Scan(&id, &event); err != nil {
		b.Fatal(err)
	}
	a := query.New(embeddedtest.Open(b, embeddedtest.ReaderDSN(b, dsn)), nil)
	none := func(string, string) ([]string, int) { return nil, 0 }
	search := func(f query.Filter) func() error {
		return func() error { _, err := a.Search(b.Context(), f); return err }
	}
	questions := []struct {
		name string
		ask  func() error
	}{
		{"search", search(query.Filter{})},
		{"search-user", search(query.Filter{User: "user7"})},
		{"search-user-1d", search(query.Filter{User: "user7", Service: "s3", Since: "48h"})},
		{"search-nobody", search(query.Filter{User: "nobody"})},
		{"search-aws-id", search(query.Filter{AWSRequestID: "none"})},
		{"show-request", func() error { _, err := a.Show(b.Context(), id); return err }},
		{"show-record", func() error { _, err := a.Show(b.Context(), event); return err }},
		{"why", func() error { _, err := a.Why(b.Context(), id); return err }},
		{"coverage-1d", func() error { _, err := a.Coverage(b.Context(), "48h"); return err }},
		{"coverage", func() error { _, err := a.Coverage(b.Context(), ""); return err }},
		{"findings", func() error { _, err := a.Findings(b.Context(), query.FindingFilter{}); return err }},
		{"policy-7d", func() error {
			_, err := a.Policy(b.Context(), query.PolicyFilter{AWSRole: "Role7", Since: "7d"}, none)
			return err
		}},
	}
	for b.Loop() {
		for _, q := range questions {
			var took []time.Duration
			for range 5 {
				start := time.Now()
				if err := q.ask(); err != nil {
					b.Fatalf("%s: %v", q.name, err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[2].Microseconds())/1000, q.name+"-ms")
		}
	}
}
