package auditor

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// Which chains arrive as CloudTrail writes them, and the last that is known of each: one
// that was found missing later is still the last.
func TestLiveChains(t *testing.T) {
	s, err := store.New(store.Config{DSN: embeddedtest.ClickHouse(t), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Hour)
	for trail, rows := range map[string][]struct {
		end     int // hours ago
		late    time.Duration
		verdict string
	}{
		"live":    {{5, time.Minute, "valid"}, {4, time.Hour, "invalid"}, {3, 2 * time.Hour, "valid"}, {2, 9 * time.Hour, "valid"}, {1, time.Minute, "missing"}},
		"read":    {{5, 5 * time.Hour, "valid"}, {4, 4 * time.Hour, "valid"}, {2, 2 * time.Hour, "valid"}, {1, time.Hour, "valid"}},
		"missing": {{5, time.Minute, "valid"}, {4, time.Minute, "valid"}, {3, time.Minute, "missing"}},
		"old":     {{805, time.Minute, "valid"}, {804, time.Minute, "valid"}, {803, time.Minute, "valid"}},
	} {
		for _, r := range rows {
			end := now.Add(-time.Duration(r.end) * time.Hour)
			if err := s.Conn().Exec(t.Context(), `INSERT INTO trail_digest_rows (account, region, trail, home_region, bucket, key, backfill, end_time, verdict, checked_at) VALUES ('1', 'r', ?, 'h', 'b', ?, false, ?, ?, ?)`,
				trail, end.Format(time.RFC3339), end, r.verdict, end.Add(r.late)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One that goes on in another bucket.
	for i, bucket := range []string{"b", "b", "b", "c"} {
		end := now.Add(time.Duration(i-5) * time.Hour)
		if err := s.Conn().Exec(t.Context(), `INSERT INTO trail_digest_rows (account, region, trail, home_region, bucket, key, backfill, end_time, verdict, checked_at, previous_key) VALUES ('1', 'r', 'moved', 'h', ?, ?, false, ?, 'valid', ?, ?)`,
			bucket, end.Format(time.RFC3339), end, end, end.Add(-time.Hour).Format(time.RFC3339)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := trailHistory{&Auditor{store: s}}.LiveChains(t.Context(), now.AddDate(0, 0, -30))
	want := []cloudtrail.LiveChain{{Chain: cloudtrail.Chain{Bucket: "b", Account: "1", Region: "r", Trail: "live", HomeRegion: "h"},
		Key: now.Add(-time.Hour).Format(time.RFC3339), End: now.Add(-time.Hour)}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v, (-want +got)\n%s", err, d)
	}
}
