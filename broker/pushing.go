package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/events"
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

// sending is one consumer's sender. Another takes its place when a secret was
// made.
type sending struct {
	secret int
	stop   context.CancelFunc
	done   chan struct{} // closed when it has ended, by itself or not
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
				if k != nil && k.Push != nil && k.Suspended == "" {
					due[name] = k
				}
			}
		})
		for name, s := range senders {
			if k := due[name]; k == nil || k.Secret != s.secret {
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
				senders[name] = sending{k.Secret, stop, done}
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
	desk := &desk{b: b, name: k.Name, held: held}
	for ctx.Err() == nil {
		err := b.sendOnce(ctx, k, desk)
		if ctx.Err() != nil || errors.Is(err, push.ErrSuspended) {
			return
		}
		b.log.Warn().Err(err).Str("consumer", k.Name).Msg("could not go on sending; trying again")
		select {
		case <-ctx.Done():
		case <-time.After(pushPause):
		}
	}
}

func (b *Broker) sendOnce(ctx context.Context, k *access.Consumer, desk *desk) error {
	s, err := b.vault.Secrets(ctx, k.Name)
	if err != nil {
		return err
	}
	to, err := push.NewCourier(k.ConsumerCreated, s, signals{b}, desk, b.cfg.Consumers.Backoff)
	if err != nil {
		return err
	}
	defer to.Close()
	return b.cfg.Consumers.Reader.Deliver(ctx, k.Stream, k.Name, to.Most(), to.Deliver)
}

// desk records what a courier has to say.
type desk struct {
	b    *Broker
	name string
	held func() bool
}

func (d *desk) Held() bool { return d.held() }

func (d *desk) SetAside(ctx context.Context, e events.ConsumerEventSetAside) error {
	d.b.log.Warn().Str("consumer", d.name).Uint64("sequence", e.StreamSequence).Str("reason", e.Reason).Msg("event set aside: postern consumers dead-letters")
	_, err := d.b.ledger.do(ctx, itself, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.SetEventAside(s, env, e)
	})
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
