package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/sealed"
)

const (
	boxPrefix = "push/box/"
	// maxBox is how many tokens, and maxBoxBytes how many bytes of their claims, wait
	// for a receiver that does not poll; what comes then waits in the stream.
	maxBox, maxBoxBytes = 1000, 512 << 10
	// giveAgain is after how long a token that was handed out and not acknowledged is
	// handed out once more.
	giveAgain = 30 * time.Second
	// outboxLook is how often it is looked whether there is room again.
	outboxLook = 2 * time.Second
)

// Set is a Security Event Token that waits for its receiver, not signed yet: the key
// of the moment signs it.
type Set struct {
	JTI    string          `json:"jti"`
	Claims json.RawMessage `json:"claims"`
	// Sequence and EventID are of the event that it tells, none for a verification.
	Sequence uint64    `json:"sequence,omitempty"`
	EventID  string    `json:"event_id,omitempty"`
	Given    time.Time `json:"given,omitzero"`
}

// box is what waits for a receiver.
type box struct {
	StreamID string `json:"stream_id"`
	Sets     []Set  `json:"sets"`
	// VerifiedAt is when the receiver last asked for a verification event.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
}

// change lets f change the box of a stream, until nobody was faster. f tells whether
// there is something to write.
func (v *Vault) change(ctx context.Context, name, streamID string, f func(*box) bool) error {
	for {
		b, rev, err := v.store.Get(ctx, boxPrefix+name)
		x := box{StreamID: streamID}
		if err == nil {
			err = json.Unmarshal(b, &x)
		} else if errors.Is(err, sealed.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("tokens of %s: %w", name, err)
		}
		if x.StreamID != streamID { // of a stream that is deleted
			x = box{StreamID: streamID}
		}
		if !f(&x) {
			return nil
		}
		if b, err = json.Marshal(x); err == nil {
			_, err = v.store.Update(ctx, boxPrefix+name, b, rev)
		}
		if !errors.Is(err, sealed.ErrConflict) {
			return err
		}
	}
}

// Post adds a token to those that wait; one that waits already stays. It reports
// whether there was room.
func (v *Vault) Post(ctx context.Context, name, streamID string, s Set) (room bool, err error) {
	err = v.change(ctx, name, streamID, func(x *box) bool {
		size := len(s.Claims)
		for _, other := range x.Sets {
			if other.JTI == s.JTI {
				room = true
				return false
			}
			size += len(other.Claims)
		}
		if room = len(x.Sets) < maxBox && size <= maxBoxBytes; room {
			x.Sets = append(x.Sets, s)
		}
		return room
	})
	return room, err
}

// Settle takes away the tokens that a receiver is done with.
func (v *Vault) Settle(ctx context.Context, name, streamID string, jtis []string) error {
	return v.change(ctx, name, streamID, func(x *box) bool {
		before := len(x.Sets)
		x.Sets = slices.DeleteFunc(x.Sets, func(s Set) bool { return slices.Contains(jtis, s.JTI) })
		return len(x.Sets) < before
	})
}

// Take hands out up to most tokens, the oldest first, and tells whether there are more.
// What was handed out within the last 30 s is not.
func (v *Vault) Take(ctx context.Context, name, streamID string, most int, now time.Time) (out []Set, more bool, err error) {
	err = v.change(ctx, name, streamID, func(x *box) bool {
		out, more = nil, false
		for i := range x.Sets {
			switch s := &x.Sets[i]; {
			case s.Given.Add(giveAgain).After(now):
			case len(out) == most:
				more = true
			default:
				s.Given = now.UTC()
				out = append(out, *s)
			}
		}
		return len(out) > 0
	})
	return out, more, err
}

// Unsettled are the tokens that wait for a receiver.
func (v *Vault) Unsettled(ctx context.Context, name, streamID string) (sets []Set, err error) {
	err = v.change(ctx, name, streamID, func(x *box) bool {
		sets = x.Sets
		return false
	})
	return sets, err
}

// Empty drops what waits for a receiver.
func (v *Vault) Empty(ctx context.Context, name string) error {
	return v.store.Delete(ctx, boxPrefix+name)
}

// WatchBox calls changed for what waits as it is now, and whenever it is another, until
// ctx ends.
func (v *Vault) WatchBox(ctx context.Context, name string, changed func()) error {
	return v.store.Watch(ctx, boxPrefix+name, changed)
}

// MayVerify notes that a receiver asked for a verification event, unless it did so
// within an interval before: then it returns how long to wait.
func (v *Vault) MayVerify(ctx context.Context, name, streamID string, interval time.Duration, now time.Time) (wait time.Duration, err error) {
	err = v.change(ctx, name, streamID, func(x *box) bool {
		if wait = x.VerifiedAt.Add(interval).Sub(now); wait > 0 {
			return false
		}
		x.VerifiedAt = now.UTC()
		return true
	})
	return max(wait, 0), err
}

// outbox is where the tokens of a stream go that is polled.
type outbox struct {
	vault        *Vault
	name, stream string
}

func (o *outbox) do(ctx context.Context, p parcel) answer {
	room, err := o.vault.Post(ctx, o.name, o.stream, *p.set)
	switch {
	case err != nil:
		return answer{outcome: away, reason: err.Error()}
	case !room:
		return answer{outcome: away, reason: "its receiver has not polled for what waits already"}
	}
	return answer{outcome: taken}
}
