package auditor_test

import (
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// Auditors divide the streams and the judge fairly, whoever comes and goes, and
// everything is stored and judged once meanwhile.
func TestDivision(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *auditor.Config) { c.Log = zerolog.Nop() })
	type running struct {
		a    *auditor.Auditor
		stop func()
	}
	all := []running{{w.a, w.stop}}
	start := func() {
		t.Helper()
		a, err := auditor.New(auditor.Config{Journal: w.j, ClickHouseDSN: w.dsn, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, running{a, embeddedtest.Run(t, a)})
	}
	divided := func(want ...int) {
		t.Helper()
		w.until("the work is divided", func() bool {
			var shares []int
			var names []string
			for _, r := range all {
				tasks := r.a.Tasks()
				shares, names = append(shares, len(tasks)), append(names, tasks...)
			}
			slices.Sort(shares)
			slices.Sort(names)
			return slices.Equal(shares, want) && slices.Equal(names, []string{events.Access, events.Audit, events.CloudTrail, events.Findings, "judge"})
		})
	}
	const portion = 1_000
	said := 0
	tell := func() {
		t.Helper()
		publishFrom(t, w.j, said, said+portion)
		said += portion
	}
	divided(5)
	tell()
	start()
	tell()
	divided(2, 3)
	tell()
	start()
	divided(1, 2, 2)
	tell()
	all[0].stop() // the first one, which judges
	all = all[1:]
	tell()
	divided(2, 3)
	tell()
	w.a = all[0].a
	w.check(said)
}
