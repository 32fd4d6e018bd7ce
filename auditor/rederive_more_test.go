package auditor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// What is known of credentials, tokens, trails, their files and digests, and of dead
// letters is made again, too: each is changed, dropped and made up in turn.
func TestRederiveOfTrails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	now := time.Now().UTC().Truncate(time.Microsecond)
	ids := map[events.Type]string{}
	for _, typ := range []events.Type{events.TypeAWSCredentialsIssued, events.TypeAWSConsoleOpened, events.TypeAWSTokenIssued, events.TypeCloudTrailFileReceived,
		events.TypeCloudTrailDigestChecked, events.TypeCloudTrailTrailObserved, events.TypeCloudTrailFileRejected, events.TypeCloudTrailMessageRejected, events.TypeCloudTrailLetterReplayed} {
		b, err := os.ReadFile(filepath.Join("../events/eventstest/golden", string(typ)+".json"))
		if err != nil {
			t.Fatal(err)
		}
		e, err := events.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		e.Meta = events.Meta{ID: journal.NewID()}
		ids[typ] = e.ID
		switch d := e.Data.(type) {
		case *events.AWSCredentialsIssued:
			d.IssuedAt = now
		case *events.AWSTokenIssued:
			d.ReceivedAt = now
		case *events.CloudTrailTrailObserved:
			d.ObservedAt = now
		case *events.CloudTrailLetterReplayed:
			d.LetterID = ids[events.TypeCloudTrailMessageRejected]
		}
		if _, err := w.j.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if typ == events.TypeCloudTrailFileReceived || typ == events.TypeCloudTrailDigestChecked { // checked again: the newest counts
			e.ID = journal.NewID()
			if _, err := w.j.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.settle(events.Audit, events.CloudTrail)
	s, err := store.New(store.Config{DSN: w.dsn, Log: zerolog.Nop(), Recheck: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	differ := func(parts uint32, since time.Time, gone store.Horizons) (found []string, rows map[string]uint64) {
		t.Helper()
		rows = map[string]uint64{}
		for i := range parts {
			r, err := s.Rederive(t.Context(), store.Part{Of: parts, Index: i}, since, gone, nil)
			if err != nil {
				t.Fatal(err)
			}
			for table, n := range r.Rows {
				rows[table] += n
			}
			for _, d := range r.Differences {
				found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %s", d.Table, d.Kind, strings.Join(d.Columns, ","))))
			}
		}
		slices.Sort(found)
		return found, rows
	}
	counts := map[string]uint64{"credential_rows": 2, "aws_token_rows": 1, "trail_file_rows": 1, "trail_digest_rows": 1, "trail_rows": 1, "dead_letter_rows": 2}
	for _, parts := range []uint32{1, 3} {
		found, rows := differ(parts, time.Time{}, store.Horizons{})
		if len(found) > 0 {
			t.Errorf("in %d parts, untouched: %v", parts, found)
		}
		for table, n := range counts {
			if rows[table] != n || w.count("SELECT count() FROM "+table+" FINAL") != n {
				t.Errorf("in %d parts %s: %d rows compared, want %d", parts, table, rows[table], n)
			}
		}
	}
	if found, rows := differ(1, now.Add(-time.Hour), store.Horizons{}); len(found) > 0 || rows["credential_rows"] != 2 {
		t.Errorf("since an hour: %v, %v", found, rows)
	}
	if found, rows := differ(1, time.Time{}, store.Horizons{Events: now.Add(time.Hour)}); len(found) > 0 || rows["trail_file_rows"] != 0 {
		t.Errorf("once the events may be gone: %v, %v", found, rows)
	}
	// Later than what is there, so that they count.
	replace := func(table, columns string) string {
		return "INSERT INTO " + table + " SELECT * REPLACE (" + columns + ") FROM " + table + " FINAL LIMIT 1"
	}
	var all []string
	for _, c := range []struct {
		change, want string
	}{
		{"INSERT INTO credential_rows SELECT * REPLACE ('zoe' AS user) FROM credential_rows FINAL WHERE use = 'console_opened'", "credential changed user"},
		{"INSERT INTO credential_rows (access_key_id, session_id, use, issued_at) VALUES ('ASIAMADEUP', 'S', 'proxy', now64(6))", "credential unexpected"},
		{"DELETE FROM credential_rows WHERE use = 'console_opened'", "credential missing"},
		{replace("aws_token_rows", "'zoe' AS user, ['arn:aws:s3:::none'] AS resources"), "aws_token changed user,resources"},
		{"DELETE FROM aws_token_rows WHERE 1", "aws_token missing"},
		{replace("trail_file_rows", "'00' AS sha256"), "trail_file changed sha256"},
		{"DELETE FROM trail_file_rows WHERE 1", "trail_file missing"},
		{replace("trail_digest_rows", "'valid' AS verdict, [] AS logs_invalid, 'all is well' AS reason"), "trail_digest changed"},
		{"DELETE FROM trail_digest_rows WHERE 1", "trail_digest missing"},
		{replace("trail_rows", "false AS logging, 'x' AS name"), "trail changed"},
		{"DELETE FROM trail_rows WHERE 1", "trail missing"},
		{"INSERT INTO dead_letter_rows (letter_id, replayed_at, replayed_by) VALUES ('" + ids[events.TypeCloudTrailFileRejected] + "', now64(6), 'zoe')", "dead_letter changed replayed_at,replayed_by"},
		{"DELETE FROM dead_letter_rows WHERE kind = 'message'", "dead_letter missing"},
	} {
		if err := w.conn.Exec(t.Context(), c.change); err != nil {
			t.Fatalf("%s: %v", c.change, err)
		}
		if all, _ = differ(1, time.Time{}, store.Horizons{}); !slices.ContainsFunc(all, func(f string) bool { return strings.HasPrefix(f, c.want) }) {
			t.Errorf("%s: found %v, want %s", c.change, all, c.want)
		}
	}
	if found, _ := differ(3, time.Time{}, store.Horizons{}); !slices.Equal(found, all) {
		t.Errorf("in 3 parts found %v, in one %v", found, all)
	}
}
