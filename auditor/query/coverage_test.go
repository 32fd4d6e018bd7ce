package query_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// Counts stay exact while verdicts come late and deliveries twice, whatever has
// been merged by then; they are what counting row by row finds.
func TestCoverageIsExact(t *testing.T) {
	c, dsn := tables(t)
	start := time.Now().UTC().Truncate(time.Hour).Add(-10 * time.Hour)
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	calls := func(first, n int, columns, values string) {
		exec(t, c, fmt.Sprintf(`INSERT INTO request_rows (received_at, request_id, %s) SELECT fromUnixTimestamp64Micro(%d + number * 30000000, 'UTC'), toString(number), %s FROM numbers(%d, %d)`,
			columns, start.UnixMicro(), values, first, n))
		exec(t, c, fmt.Sprintf(`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, %s) SELECT fromUnixTimestamp64Micro(%d + number * 30000000, 'UTC'), '1', toString(number), %s FROM numbers(%d, %d)`,
			map[bool]string{true: "verdict, lent_to", false: "present, federated_user"}[columns == "verdict"], start.UnixMicro(),
			map[bool]string{true: "if(number % 50 = 3, 'bypass', 'matched'), if(number % 4 = 1, 'zoë', '')", false: "1, concat('u', toString(number % 7))"}[columns == "verdict"], first, n))
	}
	base := func(first, n int) {
		calls(first, n, "outcome, user, account", "if(number % 10 = 0, 'denied', 'completed'), concat('u', toString(number % 7)), '1'")
	}
	verdicts := func(verdict string, first, n int) { calls(first, n, "verdict", "'"+verdict+"'") }
	check := func(when string) {
		t.Helper()
		for _, since := range []time.Time{{}, start.Add(2 * time.Hour), start.Add(3*time.Hour + 17*time.Minute + time.Second)} {
			text, from := "", "0"
			if !since.IsZero() {
				text, from = since.Format(time.RFC3339Nano), fmt.Sprint(since.UnixMicro())
			}
			got, err := a.Coverage(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			var want [7]uint64
			row := c.QueryRow(t.Context(), `SELECT countIf(verdict = 'matched'), countIf(verdict = 'awaiting'), countIf(verdict = 'missing'), countIf(outcome = 'denied') FROM requests WHERE toUnixTimestamp64Micro(received_at) >= `+from)
			if err := row.Scan(&want[0], &want[1], &want[2], &want[3]); err != nil {
				t.Fatal(err)
			}
			row = c.QueryRow(t.Context(), `SELECT count(), countIf(verdict = 'bypass'), countIf(verdict = '') FROM cloudtrail WHERE toUnixTimestamp64Micro(event_time) >= `+from)
			if err := row.Scan(&want[4], &want[5], &want[6]); err != nil {
				t.Fatal(err)
			}
			have := [7]uint64{got.Matched.Count, got.Awaiting.Count, got.Missing.Count, got.Denied, got.Records, got.Bypass.Count, got.Unrelated}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("%s, since %q (-counted one by one +got):\n%s", when, text, diff)
			}
			var offenders []query.Offender
			err = c.Select(t.Context(), &offenders, `SELECT user, account, sum(around) AS bypass, sum(differs) AS mismatched, sum(lacks) AS missing FROM (
				SELECT toString(user) AS user, toString(account) AS account, 0 AS around, verdict = 'mismatched' AS differs, verdict = 'missing' AS lacks FROM requests
				WHERE verdict IN ('missing', 'mismatched') AND toUnixTimestamp64Micro(received_at) >= `+from+`
				UNION ALL SELECT toString(if(lent_to != '', lent_to, federated_user)), toString(if(identity_account_id != '', identity_account_id, recipient_account_id)), 1, 0, 0 FROM cloudtrail
				WHERE verdict = 'bypass' AND toUnixTimestamp64Micro(event_time) >= `+from+`
			) GROUP BY user, account ORDER BY bypass DESC, mismatched DESC, missing DESC, user, account`)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(offenders, got.Offenders, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s, since %q, offenders (-counted one by one +got):\n%s", when, text, diff)
			}
		}
		for _, view := range []string{"requests_by_hour", "cloudtrail_by_hour"} {
			n, rows := map[string]string{"requests_by_hour": "calls", "cloudtrail_by_hour": "events"}[view], map[string]string{"requests_by_hour": "requests", "cloudtrail_by_hour": "cloudtrail"}[view]
			var have, want uint64
			if err := c.QueryRow(t.Context(), fmt.Sprintf(`SELECT (SELECT sum(%s) FROM %s), (SELECT count() FROM %s)`, n, view, rows)).Scan(&have, &want); err != nil {
				t.Fatal(err)
			}
			if have != want {
				t.Errorf("%s: %s has %d, %s %d", when, view, have, rows, want)
			}
		}
	}
	optimize := func() {
		exec(t, c, `OPTIMIZE TABLE request_rows FINAL`)
		exec(t, c, `OPTIMIZE TABLE cloudtrail_rows FINAL`)
	}
	base(0, 1000)
	check("as they came")
	verdicts("matched", 0, 500)
	verdicts("missing", 500, 100)
	verdicts("mismatched", 610, 20)
	check("with verdicts in parts of their own")
	// Indexes leave out no row that another one of its call makes count.
	for _, condition := range []string{"user = 'u1' AND verdict = 'missing'", "outcome = 'completed' AND verdict = 'missing'", "outcome != '' AND user IN ('u1', 'u2') AND verdict IN ('missing', 'mismatched')"} {
		var have, want uint64
		if err := c.QueryRow(t.Context(), fmt.Sprintf(`SELECT (SELECT count() FROM requests WHERE %[1]s), (SELECT countIf(%[1]s) FROM requests)`, condition)).Scan(&have, &want); err != nil {
			t.Fatal(err)
		}
		if have != want || want == 0 {
			t.Errorf("%s: %d requests, want %d", condition, have, want)
		}
	}
	optimize()
	check("all merged")
	base(300, 300) // delivered twice
	check("doubled")
	verdicts("matched", 500, 100) // what was missing came after all
	verdicts("matched", 0, 500)   // said twice
	check("moved")
	base(1000, 50)
	check("with newer calls")
	// Twice in one part, in hours that no other part has rows of.
	exec(t, c, fmt.Sprintf(`INSERT INTO request_rows (received_at, request_id, outcome, user, account) SETTINGS optimize_on_insert = 0 SELECT fromUnixTimestamp64Micro(%d + intDiv(number, 2) * 30000000, 'UTC'), toString(intDiv(number, 2)), 'completed', 'u1', '1' FROM numbers(4000, 100)`, start.UnixMicro()))
	exec(t, c, fmt.Sprintf(`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, present, federated_user) SETTINGS optimize_on_insert = 0 SELECT fromUnixTimestamp64Micro(%d + intDiv(number, 2) * 30000000, 'UTC'), '1', toString(intDiv(number, 2)), 1, 'u1' FROM numbers(4000, 100)`, start.UnixMicro()))
	check("doubled within a part")
	optimize()
	check("all merged again")
}

// Counts do not waver while rows come again and parts are merged: a statement sees one
// state of the tables.
func TestCoverageSeesOneState(t *testing.T) {
	c, dsn := tables(t)
	start := time.Now().UTC().Truncate(time.Hour).Add(-30 * time.Hour)
	const calls = 3000
	write := func(from, n int) error {
		for _, q := range []string{
			`INSERT INTO request_rows (received_at, request_id, outcome, user, account) SELECT fromUnixTimestamp64Micro(%d + number * 30000000, 'UTC'), toString(number), 'completed', concat('u', toString(number %% 7)), '1' FROM numbers(%d, %d)`,
			`INSERT INTO request_rows (received_at, request_id, verdict) SELECT fromUnixTimestamp64Micro(%d + number * 30000000, 'UTC'), toString(number), if(number %% 5 = 0, 'missing', 'matched') FROM numbers(%d, %d)`,
		} {
			if err := c.Exec(t.Context(), fmt.Sprintf(q, start.UnixMicro(), from, n)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(0, calls); err != nil {
		t.Fatal(err)
	}
	exec(t, c, `OPTIMIZE TABLE request_rows FINAL`)
	a := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	var done atomic.Bool
	var again sync.WaitGroup
	defer again.Wait()
	defer done.Store(true)
	again.Go(func() {
		for i := 0; !done.Load(); i++ {
			if err := write(i*300%calls, 300); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 20 {
		got, err := a.Coverage(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if got.Matched.Count != calls*4/5 || got.Missing.Count != calls/5 {
			t.Errorf("%d matched and %d missing of %d", got.Matched.Count, got.Missing.Count, calls)
		}
	}
}

// A call around postern that two accounts have a record of is one call, merged or not; to
// who sees one of the accounts alone, too.
func TestCoverageCountsACallOnce(t *testing.T) {
	both, dsn := tables(t)
	owner, ownersDSN := tables(t)
	write := func(c clickhouse.Conn, account, event, user, judged string) {
		key := fmt.Sprintf(`'2026-03-01 12:00:00', '%s', '%s'`, account, event)
		exec(t, c, fmt.Sprintf(`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, federated_user, identity_account_id, shared_event_id, present) VALUES (%s, '%s', '111111111111', 'shared-%.1s', 1)`, key, user, event))
		exec(t, c, fmt.Sprintf(`INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, verdict, judged) VALUES (%s, 'bypass', '%s')`, key, judged))
	}
	const own, copied = "1\tno_request\taround postern", "1\tshared_event\tthe same event as another account got it"
	write(both, "111111111111", "E", "alice", own)
	write(both, "222222222222", "E-copy", "alice", copied)
	write(both, "222222222222", "F", "bob", own)
	write(owner, "222222222222", "E-copy", "alice", copied)
	whole := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), nil)
	part := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, ownersDSN)), nil)
	check := func(name string, a *query.Asker, records, bypass uint64, want ...query.Offender) {
		t.Helper()
		c, err := a.Coverage(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if c.Records != records || c.Bypass.Count != bypass || c.Calls != bypass {
			t.Errorf("%s: %d records, %d bypasses, %d calls", name, c.Records, c.Bypass.Count, c.Calls)
		}
		if d := cmp.Diff(want, c.Offenders); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	alice, bob := query.Offender{User: "alice", Account: "111111111111", Bypass: 1}, query.Offender{User: "bob", Account: "111111111111", Bypass: 1}
	for _, when := range []string{"as they came", "merged"} {
		check(when, whole, 3, 2, alice, bob)
		check(when+", asked by the view", whole.Within(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn))), 3, 2, alice, bob)
		check(when+", the owner's account", part.Within(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, ownersDSN))), 1, 1, alice)
		exec(t, both, `OPTIMIZE TABLE cloudtrail_rows FINAL`)
	}
}
