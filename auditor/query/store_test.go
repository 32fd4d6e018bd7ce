package query_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// tables are the auditor's, empty, with the owner's connection and address.
func tables(t *testing.T) (clickhouse.Conn, string) {
	t.Helper()
	dsn := embeddedtest.ClickHouse(t)
	s, err := store.New(store.Config{DSN: dsn, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Conn(), dsn
}

func exec(t *testing.T, c clickhouse.Conn, q string, args ...any) {
	t.Helper()
	if err := c.Exec(t.Context(), q, args...); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

// The least policy out of the store: what AWS denied, other roles, and what is
// too old are left out; many objects become their folder.
func TestPolicy(t *testing.T) {
	c, dsn := tables(t)
	now := time.Now().UTC()
	exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, aws_role_arn, account, region, service, operation, action, resources, status, error_code)
		SELECT now64(6) - 60, concat('k', toString(number)), 'completed', 'arn:aws:iam::1:role/x/Ops', '1', 'eu-central-1', 's3', 'GetObject', 's3:GetObject', [concat('arn:aws:s3:::b/d', toString(number % 3), '/f', toString(number))], 200, '' FROM numbers(2000)`)
	row := func(id, role, age, operation, action, resources, status, code string) {
		exec(t, c, fmt.Sprintf(`INSERT INTO request_rows (received_at, request_id, outcome, aws_role_arn, account, region, service, operation, action, resources, status, error_code)
			SELECT now64(6) - %s, '%s', 'completed', '%s', '1', 'us-east-1', 'dynamodb', '%s', '%s', %s, %s, '%s'`, age, id, role, operation, action, resources, status, code))
	}
	const ops = "arn:aws:iam::1:role/x/Ops"
	row("q", ops, "60", "Query", "dynamodb:Query", "['arn:aws:dynamodb:us-east-1:1:table/T']", "200", "")
	row("fails", ops, "60", "GetItem", "dynamodb:GetItem", "['arn:aws:dynamodb:us-east-1:1:table/T']", "400", "ValidationException")
	exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, aws_role_arn, account, region, service, operation, action, also, resources, status) VALUES
		(now64(6) - 60, 'acl', 'completed', ?, '1', 'eu-central-1', 's3', 'PutObject', 's3:PutObject', ['s3:PutObjectAcl'], ['arn:aws:s3:::b/public'], 200),
		(now64(6) - 60, 'plain', 'completed', ?, '1', 'eu-central-1', 's3', 'PutObject', 's3:PutObject', [], ['arn:aws:s3:::b/private'], 200)`, ops, ops)
	row("denied", ops, "60", "PutItem", "dynamodb:PutItem", "['arn:aws:dynamodb:us-east-1:1:table/T']", "400", "AccessDeniedException")
	row("forbidden", ops, "60", "PutItem", "dynamodb:PutItem", "[]", "403", "")
	row("other", "arn:aws:iam::1:role/Other", "60", "Scan", "dynamodb:Scan", "[]", "200", "")
	row("old", ops, "864000", "ListTables", "dynamodb:ListTables", "[]", "200", "")
	for id, verdict := range map[string]string{"E": "console", "M": "matched", "P": "proxied"} { // which come in rows of their own
		at := fmt.Sprint("fromUnixTimestamp64Micro(", now.Add(-time.Minute).UnixMicro(), ")")
		exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_source, event_name, issuer_arn, present)
			VALUES (`+at+`, '1', ?, 'iam.amazonaws.com', 'ListUsers', ?, 1)`, id, ops)
		exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, verdict) VALUES (`+at+`, '1', ?, ?)`, id, verdict)
	}
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), func() time.Time { return now })
	none := func(string, string) ([]string, int) { return nil, 0 }
	for _, role := range []string{"Ops", ops} {
		p, err := a.Policy(t.Context(), query.PolicyFilter{AWSRole: role, Since: "1d"}, none)
		if err != nil {
			t.Fatal(err)
		}
		in := func(region string) *query.Condition {
			return &query.Condition{StringEquals: map[string][]string{"aws:RequestedRegion": {region}}}
		}
		table := []string{"arn:aws:dynamodb:us-east-1:1:table/T"}
		want := []query.Document{{Version: "2012-10-17", Statement: []query.Statement{
			{Effect: "Allow", Action: []string{"dynamodb:GetItem", "dynamodb:Query"}, Resource: table, Condition: in("us-east-1")},
			{Effect: "Allow", Action: []string{"s3:GetObject"}, Resource: []string{"arn:aws:s3:::b/d0/*", "arn:aws:s3:::b/d1/*", "arn:aws:s3:::b/d2/*"}, Condition: in("eu-central-1")},
			{Effect: "Allow", Action: []string{"s3:PutObject"}, Resource: []string{"arn:aws:s3:::b/private", "arn:aws:s3:::b/public"}, Condition: in("eu-central-1")},
			{Effect: "Allow", Action: []string{"s3:PutObjectAcl"}, Resource: []string{"arn:aws:s3:::b/public"}, Condition: in("eu-central-1")},
		}}}
		if diff := cmp.Diff(want, p.Policies); diff != "" {
			t.Errorf("%s (-want +got):\n%s", role, diff)
		}
		if len(p.Elsewhere) != 1 || p.Elsewhere[0] != (query.Call{Service: "iam.amazonaws.com", Operation: "ListUsers", Verdict: "console", Calls: 1}) || !slices.Equal(p.AWSRoles, []string{ops}) {
			t.Errorf("%s: elsewhere %+v, roles %v", role, p.Elsewhere, p.AWSRoles)
		}
	}
	if p, err := a.Policy(t.Context(), query.PolicyFilter{AWSRole: "Ops"}, none); err != nil || len(p.Used) != 6 {
		t.Errorf("ever: %+v, %v", p, err)
	}
	if p, err := a.Policy(t.Context(), query.PolicyFilter{AWSRole: "Nobody"}, none); err != nil || p.Used == nil || p.Policies == nil {
		t.Errorf("of nobody: %+v, %v", p, err)
	}
	if _, err := a.Policy(t.Context(), query.PolicyFilter{}, none); err == nil || !strings.Contains(err.Error(), "aws_role") {
		t.Errorf("of no role: %v", err)
	}
}

// Each call of the role that did not come through the proxy is told of, and a policy lacks:
// with exported keys and links, and by services in its name.
func TestPolicyTellsWhatItLacks(t *testing.T) {
	c, dsn := tables(t)
	const ops = "arn:aws:iam::1:role/Ops"
	var want []query.Call
	for _, verdict := range []string{"bypass", "console", "exported", "forwarded", "token", "matched", "proxied", "credentials"} {
		exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_source, event_name, issuer_arn, present) VALUES ('2026-03-01 12:00:00', '1', ?, 's3.amazonaws.com', ?, ?, 1)`, verdict, "By-"+verdict, ops)
		exec(t, c, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, verdict) VALUES ('2026-03-01 12:00:00', '1', ?, ?)`, verdict, verdict)
		if len(want) < 5 {
			want = append(want, query.Call{Service: "s3.amazonaws.com", Operation: "By-" + verdict, Verdict: verdict, Calls: 1})
		}
	}
	p, err := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil).Policy(t.Context(), query.PolicyFilter{AWSRole: "Ops"}, func(string, string) ([]string, int) { return nil, 0 })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, p.Elsewhere); d != "" {
		t.Errorf("elsewhere (-want +got):\n%s", d)
	}
}

// A policy reads its own role's rows, of however many others there are.
func TestPolicyReadsOneRole(t *testing.T) {
	c, dsn := tables(t)
	const rows, roles = 400_000, 40
	role := fmt.Sprintf("concat('arn:aws:iam::1:role/R', toString(number %% %d))", roles)
	exec(t, c, fmt.Sprintf(`INSERT INTO request_rows (received_at, request_id, outcome, aws_role_arn, region, service, operation, action, resources, status, latency_us)
		SELECT now64(6) - 7200 + number / 1000, toString(number), 'completed', %s, 'eu-central-1', 's3', 'GetObject', 's3:GetObject', ['arn:aws:s3:::b/k'], 200, number FROM numbers(%d)`, role, rows))
	exec(t, c, fmt.Sprintf(`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, event_source, event_name, issuer_arn, present, verdict)
		SELECT now64(6) - 7200 + number / 1000, '1', toString(number), 's3.amazonaws.com', 'GetObject', %s, 1, 'console' FROM numbers(%d)`, role, rows))
	exec(t, c, `OPTIMIZE TABLE request_rows FINAL`)
	exec(t, c, `OPTIMIZE TABLE cloudtrail_rows FINAL`)
	read := &reading{Conn: embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn))}
	a := query.New(read, nil)
	for _, name := range []string{"arn:aws:iam::1:role/R7", "R7"} {
		before := read.sum().rows
		p, err := a.Policy(t.Context(), query.PolicyFilter{AWSRole: name, Since: "1d"}, func(string, string) ([]string, int) { return nil, 0 })
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Used) != 1 || p.Used[0].Calls != rows/roles || len(p.Elsewhere) != 1 || p.Elsewhere[0].Calls != rows/roles {
			t.Errorf("%s: used %+v, elsewhere %+v", name, p.Used, p.Elsewhere)
		}
		if n := read.sum().rows - before; n == 0 || n > rows/4 {
			t.Errorf("%s: %d rows were read, of %d in each table", name, n, rows)
		}
	}
}

// A call counts once for each action, whatever it names and however often it was delivered.
func TestPolicyCountsCalls(t *testing.T) {
	c, dsn := tables(t)
	for range 2 {
		exec(t, c, `INSERT INTO request_rows (received_at, request_id, outcome, aws_role_arn, region, service, operation, action, also, resources, status, latency_us) VALUES
			('2026-03-01 12:00:00', 'copy', 'completed', 'arn:aws:iam::1:role/R', 'eu-central-1', 's3', 'CopyObject', 's3:PutObject', ['s3:GetObject'], ['arn:aws:s3:::b/to', 'arn:aws:s3:::b/from'], 200, 7),
			('2026-03-01 12:00:00', 'several', 'completed', 'arn:aws:iam::1:role/R', 'eu-central-1', 'dynamodb', 'BatchGetItem', 'dynamodb:BatchGetItem', [], ['arn:aws:dynamodb:eu-central-1:1:table/A', 'arn:aws:dynamodb:eu-central-1:1:table/B'], 200, 7),
			('2026-03-01 12:00:00', 'none', 'completed', 'arn:aws:iam::1:role/R', 'eu-central-1', 'dynamodb', 'BatchGetItem', 'dynamodb:BatchGetItem', [], [], 200, 8)`)
	}
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	p, err := a.Policy(t.Context(), query.PolicyFilter{AWSRole: "R"}, func(string, string) ([]string, int) { return nil, 0 })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, u := range p.Used {
		got[u.Action] = u.Calls
	}
	if d := cmp.Diff(map[string]uint64{"s3:PutObject": 1, "s3:GetObject": 1, "dynamodb:BatchGetItem": 2}, got); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}
