package journal

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
)

// verifyAhead is how many entries wait at most for those before them: a
// signature takes some 50 µs, which is more than all else that is done to an entry.
const verifyAhead = 256

// Verified is an entry that was verified.
type Verified struct {
	Entry
	// Unread is the error that Follow gives with the entry, Forged what
	// [signed.Keys.Verify] says of it.
	Unread, Forged error
}

// FollowVerified is Follow of a whole stream that is signed. Entries are verified
// on all processors and yielded in order, each judged by all keys that stand
// before it. When Seq is 0, Unread is the error that ends the loop.
func (j *Journal) FollowVerified(ctx context.Context, stream string, after uint64, keys *signed.Keys) iter.Seq[Verified] {
	type check struct {
		Verified
		done chan struct{}
	}
	return func(yield func(Verified) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running, pending sync.WaitGroup
		defer running.Wait()
		defer cancel()
		ordered, work := make(chan *check, verifyAhead), make(chan *check, verifyAhead)
		for range runtime.GOMAXPROCS(0) {
			running.Go(func() {
				for c := range work {
					c.Forged = keys.Verify(c.Channel, c.StoredAt, c.Event, c.Raw)
					close(c.done)
					pending.Done()
				}
			})
		}
		running.Go(func() {
			defer close(work)
			defer close(ordered)
			for e, err := range j.Follow(ctx, stream, after) {
				c := &check{Verified{Entry: e, Unread: err}, make(chan struct{})}
				pending.Add(1)
				work <- c
				switch e.Data.(type) {
				case *events.KeyPublished, *events.CARotated:
					pending.Wait() // what comes next is judged by this one
				}
				select {
				case ordered <- c:
				case <-ctx.Done():
					return
				}
			}
		})
		for c := range ordered {
			<-c.done
			if !yield(c.Verified) {
				return
			}
		}
	}
}
