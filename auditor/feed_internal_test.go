package auditor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/posternhq/postern/events/journal"
)

// TestTogether: AUDIT waits for CLOUDTRAIL while requests wait for records that are to
// come, never for long, and not at all where somebody may wait for it.
func TestTogether(t *testing.T) {
	const old, fresh = 2 * farBehind, farBehind / 2
	for _, c := range []struct {
		name    string
		age     time.Duration // of what was stored
		clears  time.Duration // when the crowd is gone; 0: there is none, less: it stays
		waiting time.Duration // at least, and 20 ms more at most
	}{
		{"no crowd", old, 0, 0},
		{"a crowd", old, 300 * time.Millisecond, 300 * time.Millisecond},
		{"a crowd that stays", old, -1, waitAtMost},
		{"a crowd, and people wait", fresh, -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &judge{}
				j.crowded.Store(c.clears != 0)
				if c.clears > 0 {
					time.AfterFunc(c.clears, func() { j.crowded.Store(false) })
				}
				begun := time.Now()
				j.together(t.Context(), []journal.Entry{{StoredAt: begun.Add(-c.age)}})
				if waited := time.Since(begun); waited < c.waiting || waited > c.waiting+20*time.Millisecond {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}
