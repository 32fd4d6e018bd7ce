package auditor_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// Whoever changes, drops or inserts a row of the tables that people ask is found
// out by the ledger, whichever part is looked at.
func TestRederive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	now := time.Now().UTC()
	w.tell(now)
	w.until("verdicts are stored", func() bool {
		return w.count(`SELECT count() FROM requests WHERE verdict = 'matched'`) == 1 && w.count(`SELECT count() FROM findings`) == 1
	})
	w.settle(events.Streams()...)
	s, err := store.New(store.Config{DSN: w.dsn, Log: zerolog.Nop(), Recheck: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	differ := func(parts uint32, since time.Time) (found []string, rows map[string]uint64) {
		t.Helper()
		rows = map[string]uint64{}
		for i := range parts {
			r, err := s.Rederive(t.Context(), store.Part{Of: parts, Index: i}, since, store.Horizons{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for table, n := range r.Rows {
				rows[table] += n
			}
			for _, d := range r.Differences {
				found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", d.Table, d.Thing, d.Kind, strings.Join(d.Columns, ","))))
			}
		}
		slices.Sort(found)
		return found, rows
	}
	for _, parts := range []uint32{1, 3} {
		found, rows := differ(parts, time.Time{})
		if len(found) > 0 {
			t.Errorf("in %d parts, untouched: %v", parts, found)
		}
		for _, table := range store.DerivedTables() {
			view := strings.TrimSuffix(table, "_rows") + "s"
			if view == "cloudtrails" {
				view = "cloudtrail"
			}
			if n := w.count("SELECT count() FROM " + view); rows[table] != n {
				t.Errorf("%s: %d rows compared, there are %d", table, rows[table], n)
			}
		}
	}
	if found, rows := differ(1, now.Add(-time.Hour)); len(found) > 0 || rows["request_rows"] == 0 {
		t.Errorf("since an hour: %v, %v", found, rows)
	}

	request := func(condition string) (id, at string) {
		t.Helper()
		if err := w.conn.QueryRow(t.Context(), `SELECT request_id, toString(received_at) FROM requests WHERE `+condition+` LIMIT 1`).Scan(&id, &at); err != nil {
			t.Fatal(err)
		}
		return id, at
	}
	matched, at := request(`verdict = 'matched'`)
	other, otherAt := request(`verdict != 'matched'`)
	var record string
	if err := w.conn.QueryRow(t.Context(), `SELECT concat(recipient_account_id, '/', event_id) FROM cloudtrail WHERE verdict = 'bypass'`).Scan(&record); err != nil {
		t.Fatal(err)
	}
	var session, finding string
	if err := w.conn.QueryRow(t.Context(), `SELECT session_id, (SELECT finding_id FROM findings LIMIT 1) FROM sessions LIMIT 1`).Scan(&session, &finding); err != nil {
		t.Fatal(err)
	}
	_, event, _ := strings.Cut(record, "/")
	for _, q := range []string{
		"INSERT INTO request_rows (received_at, request_id, user, status) VALUES ('" + at + "', '" + matched + "', 'zoe', 999)",
		"INSERT INTO request_rows (received_at, request_id, outcome, user) VALUES ('" + at + "', 'made-up', 'completed', 'zoe')",
		"DELETE FROM request_rows WHERE request_id = '" + other + "' AND received_at = '" + otherAt + "'",
		"INSERT INTO cloudtrail_rows (event_time, recipient_account_id, event_id, verdict, judged) SELECT event_time, recipient_account_id, event_id, 'console', '3\tx\ty' FROM cloudtrail WHERE event_id = '" + event + "'",
		"INSERT INTO finding_rows (finding_id, resolved_at, resolve_reason) VALUES ('" + finding + "', now64(6), 'nothing to see')",
		"INSERT INTO session_rows (session_id, user) VALUES ('" + session + "', 'zoe')",
	} {
		if err := w.conn.Exec(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	want := []string{
		"cloudtrail cloudtrail/" + record + " changed verdict,judged",
		"finding finding/" + finding + " changed resolved_at,resolve_reason",
		"request aws-request/made-up unexpected",
		"request aws-request/" + matched + " changed user,status",
		"request aws-request/" + other + " missing",
		"session session/" + session + " changed user",
	}
	slices.Sort(want)
	for _, parts := range []uint32{1, 3} {
		if found, _ := differ(parts, time.Time{}); !slices.Equal(found, want) {
			t.Errorf("in %d parts:\n%s\nwant\n%s", parts, strings.Join(found, "\n"), strings.Join(want, "\n"))
		}
	}
	if n := w.count(`SELECT count() FROM system.databases WHERE startsWith(name, concat(currentDatabase(), '_verify'))`); n != 0 {
		t.Errorf("%d databases are left", n)
	}
}
