package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

const (
	// pushLease is of the one broker that sends. No consumer can be called so.
	pushLease = "_push"
	// pushLook is how often it looks which consumers there are.
	pushLook = 200 * time.Millisecond
	// pushPause is the wait after what is no endpoint's fault, such as a lost stream.
	pushPause = 2 * time.Second
)

// keepPushing sends events to the endpoints of consumers, in one broker of all.
func (b *Broker) keepPushing(ctx context.Context) error {
	return b.cfg.Journal.Lease(ctx, events.Access, pushLease, func(ctx context.Context, held func() bool) error {
		b.push(ctx, held)
		return nil
	})
}

// sending is one consumer's sender. Another takes its place when what it needs to know
// is another, such as a secret.
type sending struct {
	changes int
	stop    context.CancelFunc
	done    chan struct{} // closed when it has ended, by itself or not
}

func (s sending) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// push has one sender run for each consumer, of which none waits for another.
func (b *Broker) push(ctx context.Context, held func() bool) {
	var running sync.WaitGroup
	defer running.Wait()
	senders := map[string]sending{}
	look := time.NewTicker(pushLook)
	defer look.Stop()
	for {
		due := map[string]*access.Consumer{}
		b.ledger.read(func(s *access.State, _ time.Time) {
			for name, k := range s.Consumers {
				if k != nil && k.Sends() {
					due[name] = k
				}
			}
		})
		for name, s := range senders {
			if k := due[name]; k == nil || k.Changes != s.changes {
				s.stop()
			}
			if s.ended() { // only then another may begin
				delete(senders, name)
			}
		}
		for name, k := range due {
			if _, runs := senders[name]; !runs {
				sendCtx, stop := context.WithCancel(ctx)
				done := make(chan struct{})
				senders[name] = sending{k.Changes, stop, done}
				running.Go(func() { defer close(done); b.send(sendCtx, k, held) })
			}
		}
		select {
		case <-ctx.Done():
			for _, s := range senders {
				s.stop()
			}
			return
		case <-look.C:
		}
	}
}

// send sends to one consumer until ctx ends or it is suspended.
func (b *Broker) send(ctx context.Context, k *access.Consumer, held func() bool) {
	desk := &desk{b: b, name: k.Name, held: func() bool { return held() && b.sendsAs(k) }}
	for ctx.Err() == nil {
		err := b.sendOnce(ctx, k, desk)
		if ctx.Err() != nil || errors.Is(err, push.ErrSuspended) || !b.sendsAs(k) {
			return
		}
		if desk.said.News(err) {
			b.log.Warn().Err(err).Str("consumer", k.Name).Msg("could not go on sending; trying again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pushPause):
		}
	}
}

// sendsAs reports whether events are still to go to a consumer, and as it was.
func (b *Broker) sendsAs(k *access.Consumer) (same bool) {
	b.ledger.read(func(s *access.State, _ time.Time) {
		now := s.Consumers[k.Name]
		same = now != nil && now.Sends() && now.Changes == k.Changes
	})
	return same
}

func (b *Broker) sendOnce(ctx context.Context, k *access.Consumer, desk *desk) error {
	s, err := b.vault.Secrets(ctx, k.Name)
	if err != nil {
		return err
	}
	to, err := b.courier(k, s, desk)
	if err != nil {
		return err
	}
	defer to.Close()
	failing, err := b.vault.Progress(ctx, k.Name)
	if err != nil {
		return err
	}
	to.Resume(failing)
	if x := k.Signals; x != nil && x.Method == events.DeliverPush {
		if err := b.unpolled(ctx, k, to); err != nil {
			return err
		}
	}
	return b.cfg.Consumers.Reader.Deliver(ctx, k.Stream, k.Name, to.Most(), func(ctx context.Context, es []journal.Entry) error {
		err := to.Deliver(ctx, es)
		if err == nil && desk.said.Over() {
			b.log.Info().Str("consumer", k.Name).Msg("sending goes on")
		}
		return err
	})
}

// unpolled sends what a receiver had not polled for, or not acknowledged, when it had
// its stream pushed instead.
func (b *Broker) unpolled(ctx context.Context, k *access.Consumer, to *push.Courier) error {
	sets, err := b.vault.Unsettled(ctx, k.Name, k.Signals.StreamID)
	if err != nil {
		return err
	}
	for i, s := range sets {
		if s.Sequence != 0 && (i == 0 || sets[i-1].Sequence != s.Sequence) {
			e, err := b.cfg.Consumers.Reader.At(ctx, k.Stream, s.Sequence)
			if err == nil {
				err = to.Deliver(ctx, []journal.Entry{e})
			}
			if err != nil {
				return err
			}
		}
		if err := b.vault.Settle(ctx, k.Name, k.Signals.StreamID, []string{s.JTI}); err != nil {
			return err
		}
	}
	return nil
}

// desk records what a courier has to say.
type desk struct {
	b    *Broker
	name string
	held func() bool
	said trouble.Said // of what is no endpoint's fault
}

func (d *desk) Held() bool { return d.held() }

func (d *desk) SetAside(ctx context.Context, e events.ConsumerEventSetAside) error {
	done, err := d.b.ledger.do(ctx, itself, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.SetEventAside(s, env, e)
	})
	if err != nil || len(done) > 0 {
		d.b.log.Warn().Str("consumer", d.name).Uint64("sequence", e.StreamSequence).Str("reason", e.Reason).Msg("event set aside: postern consumers dead-letters")
	}
	return err
}

func (d *desk) Suspend(ctx context.Context, reason string) error {
	d.b.log.Warn().Str("consumer", d.name).Str("reason", reason).Msg("nothing is sent any more: postern consumers resume")
	_, err := d.b.ledger.do(ctx, itself, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.Suspend(s, env, d.name, reason)
	})
	if err == nil {
		d.Report(ctx, nil) // the event says it
	}
	return err
}

// Report is for people alone, and so may fail.
func (d *desk) Report(ctx context.Context, p *push.Progress) {
	if err := d.b.vault.Report(ctx, d.name, p); err != nil && ctx.Err() == nil {
		d.b.log.Warn().Err(err).Str("consumer", d.name).Msg("could not note how sending goes")
	}
}
