package journal

import (
	"context"
	"iter"
	"sync"

	"github.com/posternhq/postern/events/signed"
)

// together is how many entries go at once from the reader to the judge while there
// are many.
const together = 256

// parcel is what goes from the reader to the judge.
type parcel struct {
	entries []Verified
	more    bool
	failed  error
}

// FollowVerified is Follow of a whole stream that is signed. Entries are verified,
// see [Judge], on all processors and yielded in order, each judged by all keys that
// stand before it. When Seq is 0, Unread is the error that ends the loop.
func (j *Journal) FollowVerified(ctx context.Context, stream string, after uint64, keys *signed.Keys) iter.Seq[Verified] {
	return func(yield func(Verified) bool) {
		verified(ctx, func(ctx context.Context) reader { return j.follow(ctx, stream, after, nil) }, keys, yield)
	}
}

// ReplayVerified is ReplayAfter of a stream that is signed, as FollowVerified is
// Follow. What filters leave out no attestation can be compared with, so every
// entry is verified by itself then.
func (j *Journal) ReplayVerified(ctx context.Context, stream string, after uint64, keys *signed.Keys, filters ...string) iter.Seq[Verified] {
	return func(yield func(Verified) bool) {
		verified(ctx, func(ctx context.Context) reader { return j.replay(ctx, stream, after, filters) }, keys, yield)
	}
}

// verified reads on the side, judges and yields, until all of it is read or yield has
// enough.
func verified(ctx context.Context, open func(context.Context) reader, keys *signed.Keys, yield func(Verified) bool) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	arriving := make(chan parcel, 8)
	running.Go(func() {
		defer close(arriving)
		parcels(ctx, open(ctx), arriving)
	})
	judge := NewJudge(keys)
	for p := range arriving {
		judge.hold(p.entries)
		for p.failed == nil && judge.fresh < maxHeld && p.follow(arriving) {
			judge.hold(p.entries)
		}
		for _, v := range judge.take(p.more && p.failed == nil) {
			if !yield(*v) {
				return
			}
		}
		if p.failed != nil {
			yield(Verified{Unread: p.failed})
			return
		}
	}
}

// follow is the parcel that has arrived behind p, if one has.
func (p *parcel) follow(arriving <-chan parcel) bool {
	select {
	case next, ok := <-arriving:
		if ok {
			*p = next
		}
		return ok
	default:
		return false
	}
}

// parcels reads entries: many at once while there are many, each when it comes
// otherwise.
func parcels(ctx context.Context, read reader, to chan<- parcel) {
	send := func(p parcel) bool {
		select {
		case to <- p:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var p parcel
	err := read(func(e Entry, more uint64) bool {
		p.entries = append(p.entries, Verified{Entry: e})
		if p.more = more >= signed.MinRun; p.more && len(p.entries) < together {
			return true
		}
		full := p
		p = parcel{entries: make([]Verified, 0, min(together, more))}
		return send(full)
	})
	send(parcel{entries: p.entries, failed: err})
}
