package journal_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// One holds at a time, the next one as soon as that one ends. What happens when
// a holder dies or stops is tried with real auditors (TestSeveralAuditors).
func TestLease(t *testing.T) {
	j := eventstest.Journal(t)
	var holders, most atomic.Int32
	turns := make(chan context.CancelFunc)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	for range 3 {
		go func() {
			ended <- j.Lease(ctx, events.Findings, "test", func(ctx context.Context, held func() bool) error {
				most.Store(max(most.Load(), holders.Add(1)))
				defer holders.Add(-1)
				if !held() {
					t.Error("holds what it does not")
				}
				if known, err := j.Leased(ctx, events.Findings, "test"); ctx.Err() == nil && (err != nil || !known) {
					t.Errorf("nobody holds it: %v", err)
				}
				ctx, done := context.WithCancel(ctx)
				select {
				case turns <- done:
				case <-ctx.Done():
				}
				<-ctx.Done()
				return nil
			})
		}()
	}
	for range 4 {
		done := <-turns
		done()
	}
	stop()
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if held, err := j.Leased(t.Context(), events.Findings, "test"); err != nil || held {
		t.Errorf("when all have ended it is held: %v, %v", held, err)
	}
	if most.Load() != 1 {
		t.Errorf("%d held it at once", most.Load())
	}
	failed := errors.New("failed")
	if err := j.Lease(t.Context(), events.Findings, "test", func(context.Context, func() bool) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("what failed under a lease: %v", err)
	}
}
