package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// Two workers share the entries that match; what one gives back comes again.
func TestWork(t *testing.T) {
	nc := eventstest.Connect(t)
	j := eventstest.Open(t, nc)
	for i := range 20 {
		for _, e := range []events.Event{drop(i), ended(fmt.Sprint(i))} {
			if _, err := j.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	done, tries := map[string]int{}, 0
	handle := func(_ context.Context, e journal.Entry) error {
		mu.Lock()
		defer mu.Unlock()
		d, ok := e.Data.(*events.RequestDropped)
		if !ok {
			t.Errorf("%s does not match the filter", e.Channel)
			return nil
		}
		if d.RequestID == "7" && done["7"] == 0 && tries == 0 {
			tries++
			return errors.New("not now")
		}
		if done[d.RequestID]++; len(done) == 20 {
			stop()
		}
		return nil
	}
	var wg sync.WaitGroup
	for range 2 {
		own := eventstest.Open(t, nc)
		wg.Go(func() {
			if err := own.Work(ctx, events.Access, "workers", "access.request.>", handle); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(done) != 20 || tries != 1 {
		t.Errorf("%d done, %d given back", len(done), tries)
	}
	for id, n := range done {
		if n != 1 {
			t.Errorf("%s was done %d times", id, n)
		}
	}
}
