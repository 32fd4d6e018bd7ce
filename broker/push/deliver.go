package push

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const (
	// maxBytes is where a batch ends, if it has more than one event.
	maxBytes = 1 << 20
	// maxInARow is after how many events in a row that were set aside nothing more is
	// sent: it is not the events, then.
	maxInARow = 10
)

// Backoff is the pause after a failure: First, twice as long each time, Most at
// the most, the half of it by chance.
type Backoff struct{ First, Most time.Duration }

// DefaultBackoff waits up to five minutes.
func DefaultBackoff() Backoff { return Backoff{time.Second, 5 * time.Minute} }

// after n failures, n ≥ 1.
func (b Backoff) after(n int) time.Duration {
	d := b.Most
	if n < 30 {
		d = min(b.First<<(n-1), b.Most)
	}
	return d/2 + rand.N(d/2+1)
}

// Courier sends to one consumer.
type Courier struct {
	name    string
	push    events.Push
	to      receiver
	packer  packer
	desk    Desk
	backoff Backoff

	next    time.Time // before which no request is made, for the rate
	failing *Progress
	aside   int // events in a row
}

// receiver is where parcels go: an endpoint, or the outbox of one who polls.
type receiver interface {
	do(context.Context, parcel) answer
}

// Desk is what a courier tells whom it works for.
type Desk interface {
	// Held tells whether it is still this one's to send.
	Held() bool
	// SetAside records that an event was not taken.
	SetAside(context.Context, events.ConsumerEventSetAside) error
	// Suspend records that nothing more is sent.
	Suspend(ctx context.Context, reason string) error
	// Report tells how it goes; nil is well.
	Report(context.Context, *Progress)
}

// ErrSuspended ends the work for an endpoint that takes nothing.
var ErrSuspended = errors.New("suspended")

// errLost ends the work of who may send no more.
var errLost = errors.New("another broker sends now")

// NewCourier makes the courier of a consumer. Signals are for protocol ssf, and stream
// where its receiver made one: then no URL says that it polls.
func NewCourier(c events.ConsumerCreated, stream *Stream, vault *Vault, s Secrets, signals Signals, desk Desk, backoff Backoff) (k *Courier, err error) {
	if c.Push == nil {
		return nil, fmt.Errorf("nothing is sent to consumer %s", c.Name)
	}
	k = &Courier{name: c.Name, push: *c.Push, desk: desk, backoff: backoff}
	if stream != nil && c.Push.URL == "" {
		k.to = &outbox{vault, c.Name, stream.ID}
		k.backoff.Most = min(k.backoff.Most, outboxLook) // there is room once it has polled
	} else if k.to, err = newEndpoint(c.Push.URL, c.Push.CAPEM, s.Authorization); err != nil {
		return nil, err
	}
	if c.Push.Protocol == events.PushSSF {
		k.packer, err = newTransmitter(c, stream, s, signals)
	} else {
		k.packer = &webhook{*c.Push, s}
	}
	return k, err
}

// Resume goes on where another one ended: failing is what it reported, nil for well.
func (k *Courier) Resume(failing *Progress) { k.failing = failing }

// Most is how many events are sent at once.
func (k *Courier) Most() int { return max(1, k.push.Batch) }

// Close lets go of the endpoint.
func (k *Courier) Close() {
	if e, ok := k.to.(*endpoint); ok {
		e.close()
	}
}

// Deliver sends events until the endpoint has taken them, or would not: it is
// what [journal.Journal.Deliver] calls.
func (k *Courier) Deliver(ctx context.Context, es []journal.Entry) error {
	for len(es) > 0 {
		n, size := 1, len(es[0].Raw)
		for n < min(len(es), k.Most()) && size+len(es[n].Raw) <= maxBytes {
			size += len(es[n].Raw)
			n++
		}
		if err := k.deliver(ctx, es[:n]); err != nil {
			return err
		}
		es = es[n:]
	}
	return nil
}

func (k *Courier) deliver(ctx context.Context, es []journal.Entry) error {
	tries, failures := 0, 0
	sent := map[string]bool{}
	for {
		if err := k.pace(ctx); err != nil {
			return err
		}
		before := len(sent)
		a, unfit := k.try(ctx, es, sent)
		if len(sent) > before { // it takes some
			tries, failures = 0, 0
		}
		switch {
		case unfit == nil && a.outcome == taken: // whatever else has ended meanwhile
			if a.empty {
				return nil // that tells nothing of the endpoint
			}
			k.aside = 0
			k.settled(ctx)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case len(es) > 1 && (unfit != nil || a.outcome == refused):
			for i := range es { // one of them may be why
				if err := k.deliver(ctx, es[i:i+1]); err != nil {
					return err
				}
			}
			return nil
		case unfit != nil:
			return k.setAside(ctx, es[0], 0, unfit.Error())
		case a.outcome == gone:
			return k.suspend(ctx, a.reason)
		case a.outcome == refused:
			if tries++; tries >= k.push.Tries {
				return k.setAside(ctx, es[0], tries, a.reason)
			}
		}
		failures++
		if err := k.wait(ctx, failures, a); err != nil {
			return err
		}
	}
}

// try sends what was not sent yet, once: a lock may stop more sessions than an endpoint takes
// without a pause, or an outbox has room for. unfit says that events are nothing to send.
func (k *Courier) try(ctx context.Context, es []journal.Entry, sent map[string]bool) (a answer, unfit error) {
	parcels, err := k.packer.pack(ctx, es, time.Now())
	var later *laterError
	if errors.As(err, &later) {
		return answer{outcome: away, reason: later.Error()}, nil
	} else if err != nil {
		return a, err
	}
	first := true
	for _, p := range parcels {
		if sent[p.id] {
			continue
		}
		if !first {
			if err := k.pace(ctx); err != nil {
				return answer{outcome: away, reason: err.Error()}, nil
			}
		}
		if first = false; !k.desk.Held() {
			return answer{outcome: away, reason: errLost.Error()}, nil
		}
		if a = k.to.do(ctx, p); a.outcome != taken {
			return a, nil
		}
		sent[p.id] = true
	}
	return answer{outcome: taken, empty: len(parcels) == 0}, nil
}

// laterError is of something that is missing now, such as the history.
type laterError struct{ error }

// pace waits until the endpoint may be asked, and checks whose turn it is.
func (k *Courier) pace(ctx context.Context) error {
	if k.push.PerMinute > 0 {
		if err := pause(ctx, time.Until(k.next)); err != nil {
			return err
		}
		k.next = time.Now().Add(time.Minute / time.Duration(k.push.PerMinute))
	}
	if !k.desk.Held() {
		return errLost
	}
	return ctx.Err()
}

func (k *Courier) wait(ctx context.Context, failures int, a answer) error {
	d := max(k.backoff.after(failures), a.retryAfter)
	now := time.Now()
	if k.failing == nil {
		k.failing = &Progress{Since: now.UTC()}
	}
	k.failing.Tries, k.failing.Reason, k.failing.Next = failures, a.reason, now.Add(d).UTC()
	k.desk.Report(ctx, k.failing)
	return pause(ctx, d)
}

func (k *Courier) setAside(ctx context.Context, e journal.Entry, tries int, reason string) error {
	err := k.desk.SetAside(ctx, events.ConsumerEventSetAside{Name: k.name, Stream: e.Stream, StreamSequence: e.Seq, EventID: short(e.ID, 256), Tries: tries, Reason: short(reason, 512)})
	if err != nil {
		return err
	}
	k.settled(ctx)
	if tries == 0 {
		// What is no event tells nothing of the endpoint: whoever may publish would have it
		// suspended.
		return nil
	}
	if k.aside++; k.aside >= maxInARow {
		return k.suspend(ctx, fmt.Sprintf("%d events in a row were set aside, the last because the endpoint %s", k.aside, reason))
	}
	return nil
}

// short keeps the beginning of a text of a message, of which any part may be as long as a
// message can be: what is recorded of it has to fit into one, too.
func short(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// settled says that nothing is tried again any more.
func (k *Courier) settled(ctx context.Context) {
	if k.failing != nil {
		k.failing = nil
		k.desk.Report(ctx, nil)
	}
}

func (k *Courier) suspend(ctx context.Context, reason string) error {
	// Before it stops, as section 8.1.5 of SSF 1.0 wants it; most likely it is gone.
	_ = k.Tell(ctx, events.StreamPaused, reason)
	if err := k.desk.Suspend(ctx, reason); err != nil {
		return err
	}
	return ErrSuspended
}

// Once sends one event a single time, as an operator asks to; the error is why it
// was not taken.
func (k *Courier) Once(ctx context.Context, e journal.Entry) error {
	a, err := k.try(ctx, []journal.Entry{e}, map[string]bool{})
	switch {
	case err == nil && a.outcome != taken:
		err = errors.New(a.reason)
	case err == nil && !a.empty:
		// Whoever is sending meanwhile, and fails, says so again.
		k.desk.Report(ctx, nil)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
