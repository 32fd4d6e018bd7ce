package identity

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Phase is how far a rotation of the CA is.
type Phase string

// The phases of a rotation, in order.
const (
	// Steady: one authority signs and is trusted.
	Steady Phase = "steady"
	// Introduced: a second one is trusted and does not sign yet.
	Introduced Phase = "introduced"
	// Switched: the second one signs; the first is trusted still.
	Switched Phase = "switched"
)

// How long a phase lasts at least, unless it is forced on: services learn of a
// new CA within seconds, and what the old one signed for users ends with MaxTTL.
const (
	introducedFor = time.Minute
	switchedFor   = MaxTTL
)

// Step is what to do to the CA next.
type Step struct {
	// From is the phase that it is meant to lead out of; empty is any.
	From Phase
	// Back undoes the last phase instead.
	Back bool
	// Force does not wait for those who have not taken the new CA yet, or who hold
	// certificates of the old one.
	Force bool
}

// ErrNotRotating is the error of taking back what was not begun.
var ErrNotRotating = errors.New("the CA is not being rotated: there is nothing to take back")

// NotFrom is the error of a step that was meant for another phase: somebody else has
// taken one meanwhile.
type NotFrom struct{ Meant, Phase Phase }

func (e *NotFrom) Error() string {
	return fmt.Sprintf("the CA is %s, not %s: somebody has taken a step, or this one was meant for another time; nothing was done", e.Phase, e.Meant)
}

// Status is what there is to know of the CA.
type Status struct {
	Phase Phase
	Since time.Time
	// Signing and Other are what is trusted; Other may be nil.
	Signing, Other *Authority
}

// TooEarly is the error of a step that would shut somebody out.
type TooEarly struct {
	Until  time.Time
	Reason string
}

func (e *TooEarly) Error() string {
	return fmt.Sprintf("not before %s: %s", e.Until.UTC().Format(time.RFC3339), e.Reason)
}

// Status returns the CA's.
func (ca *CA) Status() Status { return ca.trust.Load().status() }

func (t *trust) status() Status { return Status{t.phase, t.since, t.signing, t.other} }

// Rotate takes the CA one step further. record is called with what it will be
// before it is; without its consent nothing changes. When another broker was
// faster, the error wraps sealed.ErrConflict.
func (ca *CA) Rotate(ctx context.Context, step Step, now time.Time, record func(Status) error) (Status, error) {
	if err := ca.load(ctx); err != nil {
		return Status{}, fmt.Errorf("rotate the CA: %w", err)
	}
	next, err := ca.trust.Load().step(step, now)
	if err == nil && next.phase == Introduced && next.other == nil {
		if next.other, err = NewAuthority(now); err == nil {
			next.other, err = next.signing.vouchFor(next.other, now)
		}
	}
	if err != nil {
		return Status{}, err
	}
	if err := record(next.status()); err != nil {
		return Status{}, err
	}
	if err := ca.save(ctx, next); err != nil {
		return Status{}, fmt.Errorf("rotate the CA: %w", err)
	}
	return next.status(), ca.load(ctx)
}

// step decides. In Introduced, an absent other is to be made.
func (t *trust) step(s Step, now time.Time) (*trust, error) {
	early := func(hold time.Duration, reason string) error {
		if end := t.since.Add(hold); !s.Force && now.Before(end) {
			return &TooEarly{end, reason}
		}
		return nil
	}
	next := &trust{revision: t.revision, since: now.UTC(), signing: t.signing, other: t.other}
	switch {
	case s.From != "" && s.From != t.phase:
		return nil, &NotFrom{s.From, t.phase}
	case t.phase == Steady && s.Back:
		return nil, ErrNotRotating
	case t.phase == Steady:
		next.phase = Introduced
	case t.phase == Introduced && s.Back:
		next.phase, next.other = Steady, nil
	case t.phase == Introduced:
		next.phase, next.signing, next.other = Switched, t.other, t.signing
		return next, early(introducedFor, "proxies and auditors may not trust the new CA yet")
	case s.Back:
		next.phase, next.signing, next.other = Introduced, t.other, t.signing
	default:
		next.phase, next.signing, next.other = Steady, t.signing.alone(), nil
		return next, early(switchedFor, "users may hold certificates of the old CA until then; with force they have to sign in again")
	}
	return next, nil
}
