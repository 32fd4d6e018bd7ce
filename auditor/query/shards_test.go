package query_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// Two shards answer every question as a single server does that has the same rows, while
// calls and their verdicts are rows of different parts.
func TestShardsAgree(t *testing.T) {
	alone, dsn := tables(t)
	c := embeddedtest.StartShards(t, 2, "", nil)
	s, err := store.New(store.Config{DSN: c.DSN(0, embedded.Owner, "postern"), Cluster: embeddedtest.ShardsCluster, Sharded: true, OnCluster: c.OnCluster, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := world{rows: 6000}
	for _, conn := range []clickhouse.Conn{alone, s.Conn()} {
		for _, q := range slices.Concat(w.statements(0, 2500), w.statements(2500, 3500), w.statements(2000, 200)) { // some twice
			exec(t, conn, q)
		}
		exec(t, conn, `INSERT INTO request_rows (received_at, request_id, outcome, user, account, service, action) SELECT received_at + 1, concat('OPEN', request_id), 'admitted', user, account, service, action FROM requests WHERE modulo(cityHash64(request_id), 60) = 1`)
		exec(t, conn, `INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, lent_to) SELECT event_time, recipient_account_id, event_id, 'zoë' FROM cloudtrail WHERE verdict = 'bypass'`)
		exec(t, conn, `INSERT INTO tunnel_rows (opened_at, tunnel_id, user, account) SELECT received_at, concat('T', request_id), user, account FROM requests WHERE modulo(cityHash64(request_id), 60) = 2`)
	}
	reader := embeddedtest.Open(t, c.DSN(0, embedded.Reader, "postern"))
	if err := s.CheckReader(t.Context(), reader); err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	now := func() time.Time { return today }
	one, two := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), now), query.New(reader, now)
	two.OverShards()
	oneSQL, twoSQL := query.NewSQL(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), query.Limits{}), query.NewSQL(reader, query.Limits{})

	agree := func(name string, ask func(a *query.Asker, conn clickhouse.Conn, sql *query.SQL) (any, error)) {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			var answers [2]string
			for i, of := range []struct {
				a    *query.Asker
				conn clickhouse.Conn
				sql  *query.SQL
			}{{one, alone, oneSQL}, {two, s.Conn(), twoSQL}} {
				answer, err := ask(of.a, of.conn, of.sql)
				if err != nil {
					t.Fatalf("%d: %v", i, err)
				}
				text, err := json.MarshalIndent(answer, "", " ")
				if err != nil {
					t.Fatal(err)
				}
				answers[i] = string(text)
			}
			if len(answers[0]) < 20 {
				t.Errorf("the answer is %s", answers[0])
			}
			if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
				t.Errorf("(-a single server +shards):\n%s", diff)
			}
		})
	}
	var user string
	var ids []string
	if err := alone.QueryRow(t.Context(), `SELECT user FROM requests GROUP BY user ORDER BY count() DESC, user LIMIT 1`).Scan(&user); err != nil {
		t.Fatal(err)
	}
	if err := alone.QueryRow(t.Context(), `SELECT arrayConcat(groupArrayIf(2)(request_id, verdict = 'matched'), groupArrayIf(1)(request_id, verdict = 'missing'), groupArrayIf(1)(request_id, outcome = 'denied'), groupArrayIf(1)(aws_request_id, verdict = 'matched'), groupArrayIf(1)(cloudtrail_event_id, verdict = 'matched'))
		FROM (SELECT * FROM requests ORDER BY request_id)`).Scan(&ids); err != nil || len(ids) < 6 {
		t.Fatal(ids, err)
	}
	for _, f := range []query.Filter{
		{}, {User: user}, {User: user[:5] + "*"}, {User: "nobody"}, {AWSRole: "Role1"}, {Account: "100000000003"}, {Service: "iam"}, {Action: "dynamodb:GetItem"}, {Action: "s3:Get*"},
		{Resource: "*data/y=*"}, {Outcome: "matched", User: user}, {Outcome: "missing"}, {Outcome: "awaiting"}, {Outcome: "denied", Service: "s3"}, {Outcome: "console"}, {Outcome: "bypass"},
		{User: user, Since: "60d", Until: "10d"}, {FederatedUser: user},
		{User: "zoë"}, {User: "z*", Outcome: "bypass"},
	} {
		agree(fmt.Sprintf("search %+v", f), func(a *query.Asker, _ clickhouse.Conn, _ *query.SQL) (any, error) {
			var all []query.Entry
			for f := f; ; {
				page, err := a.Search(t.Context(), f)
				if err != nil {
					return nil, err
				}
				all = append(all, page.Entries...)
				if f.Cursor = page.Next; page.Next == "" || len(all) > 300 {
					return map[string]any{"entries": all}, nil
				}
			}
		})
	}
	for _, id := range ids {
		agree("show "+id, func(a *query.Asker, _ clickhouse.Conn, _ *query.SQL) (any, error) { return a.Show(t.Context(), id) })
		agree("why "+id, func(a *query.Asker, _ clickhouse.Conn, _ *query.SQL) (any, error) { return a.Why(t.Context(), id) })
	}
	for _, since := range []string{"", "48h", "31d"} {
		agree("coverage "+since, func(a *query.Asker, _ clickhouse.Conn, _ *query.SQL) (any, error) {
			return a.Coverage(t.Context(), since)
		})
		agree("policy "+since, func(a *query.Asker, _ clickhouse.Conn, _ *query.SQL) (any, error) {
			p, err := a.Policy(t.Context(), query.PolicyFilter{AWSRole: "Role7", Since: since}, func(string, string) ([]string, int) { return nil, 0 })
			if err == nil { // of one operation in no order
				sort.Slice(p.Elsewhere, func(i, j int) bool { return fmt.Sprint(p.Elsewhere[i]) < fmt.Sprint(p.Elsewhere[j]) })
			}
			return p, err
		})
	}
	agree("findings", func(a *query.Asker, _ clickhouse.Conn, _ *query.SQL) (any, error) {
		return a.Findings(t.Context(), query.FindingFilter{})
	})
	agree("report", func(_ *query.Asker, conn clickhouse.Conn, _ *query.SQL) (any, error) {
		return evidence.Gather(t.Context(), conn, evidence.Subject{Request: ids[0]})
	})
	agree("report of a user", func(_ *query.Asker, conn clickhouse.Conn, _ *query.SQL) (any, error) {
		return evidence.Gather(t.Context(), conn, evidence.Subject{User: user})
	})
	for _, q := range []string{
		`SELECT hour, account, outcome, verdict, sum(calls) AS n FROM requests_by_hour GROUP BY ALL ORDER BY ALL`,
		`SELECT hour, verdict, sum(events) AS n FROM cloudtrail_by_hour GROUP BY ALL ORDER BY ALL`,
		`SELECT user, uniqExact(request_id), quantileExact(0.9)(latency_us) FROM requests GROUP BY user ORDER BY user`,
		`SELECT r.service, count() FROM requests AS r JOIN cloudtrail AS c ON c.postern_request_id = r.request_id GROUP BY 1 ORDER BY 1`,
		`SELECT count() FROM requests WHERE request_id IN (SELECT postern_request_id FROM cloudtrail WHERE verdict = 'matched' AND event_name = 'GetItem')`,
		`WITH busy AS (SELECT user FROM requests GROUP BY user HAVING count() > 50) SELECT user, count() FROM cloudtrail WHERE federated_user IN (SELECT user FROM busy) GROUP BY federated_user AS user ORDER BY user`,
		`SELECT user, (SELECT count() FROM findings WHERE findings.user != '') AS f, row_number() OVER (ORDER BY user) FROM tunnels ORDER BY user, tunnel_id LIMIT 20`,
	} {
		agree("sql "+q, func(_ *query.Asker, _ clickhouse.Conn, sql *query.SQL) (any, error) {
			return sql.Run(t.Context(), q)
		})
	}
}
