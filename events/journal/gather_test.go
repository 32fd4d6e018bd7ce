package journal

import (
	"testing"
	"testing/synctest"
	"time"
)

// A batch's wait runs since its first entry arrived; a sink that is behind, which shows
// by what was read ahead, gets the whole wait for a whole batch.
func TestGatherWaits(t *testing.T) {
	c := BatchConfig{MaxEntries: 8, MaxWait: time.Second}
	for name, x := range map[string]struct {
		there, later int           // entries read ahead, and that come in the next second
		age          time.Duration // of the first
		wait         time.Duration
		entries      int
	}{
		"as it comes":         {1, 2, 0, time.Second, 3},
		"the sink was busy":   {2, 2, 700 * time.Millisecond, 300 * time.Millisecond, 2},
		"for longer":          {3, 2, time.Minute, 0, 3},
		"the sink is behind":  {4, 3, time.Minute, time.Second, 7},
		"far behind, so full": {4, 4, time.Minute, 900 * time.Millisecond, 8},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := make(chan arrival, 4)
				for range x.there {
					from <- arrival{at: time.Now().Add(-x.age)}
				}
				go func() {
					for range x.later {
						time.Sleep(900 * time.Millisecond / time.Duration(x.later))
						from <- arrival{at: time.Now()}
					}
				}()
				begun, entries := time.Now(), []Entry(nil)
				if _, err := gather(t.Context(), c, from, &entries); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took != x.wait || len(entries) != x.entries {
					t.Errorf("%d entries after %s, want %d after %s", len(entries), took, x.entries, x.wait)
				}
				time.Sleep(time.Second) // for what comes later
			})
		})
	}
}
