package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy/grants"
)

const (
	// probe is how often the proxy asks the stream where it ends, so that a
	// subscription that has silently died is found out: locks must not be missed.
	probe = 2 * time.Second
	// past is how far back an event may be to matter, unless it is of what lasts: the
	// longest that sessions do, with the certificates and requests that they rest on,
	// and what they are remembered for, with room for clocks that differ.
	past = events.MaxSession + 2*time.Hour
	// pause is between two attempts to follow the stream.
	pause = 250 * time.Millisecond
)

// follow keeps grants up to date until ctx ends, and tells it when it is for
// certain: what it was not told for too long, it refuses to decide. The error wraps
// [journal.ErrWentBack] once the stream is no longer the one that was read.
func (p *Proxy) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		err := p.followOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, journal.ErrWentBack) {
			return err
		}
		if p.lost.News(err) {
			p.log.Error().Err(err).Dur("strict_after", p.cfg.MaxSilence).Msg("following the ACCESS stream; trying again")
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return nil
}

// followOnce applies events until the stream fails or falls silent.
func (p *Proxy) followOnce(ctx context.Context) error {
	end, asOf, err := p.end(ctx)
	if err != nil {
		return err
	}
	keys, err := p.journal.Keys(ctx, p.cfg.TLS.ClientCAs)
	if err != nil {
		return err
	}
	if err := p.readPast(ctx, keys); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if p.grants.Seq() >= end {
		p.caughtUp(asOf)
	}
	go p.watch(ctx, cancel)
	n := 0
	for e := range p.journal.FollowVerified(ctx, events.Access, p.grants.Seq(), keys) {
		if e.Seq == 0 {
			return e.Unread
		}
		if err := p.take(e); err != nil {
			return err
		}
		if n++; n%10_000 == 0 {
			p.grants.Forget(p.now())
		}
		if e.Seq == end || e.Seq > end && n == 1 {
			p.caughtUp(asOf)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return fmt.Errorf("it ended at sequence %d", p.grants.Seq())
}

// readPast reads, once, of all that is older than any session that may still run
// what does not end with the sessions of its time: users and locks.
func (p *Proxy) readPast(ctx context.Context, keys *signed.Keys) (err error) {
	if p.pastRead {
		return nil
	}
	if p.past == 0 {
		if p.past, err = p.journal.Before(ctx, events.Access, p.now().Add(-past)); err != nil {
			return err
		}
	}
	if p.past > 0 {
		for e := range p.journal.ReplayVerified(ctx, events.Access, p.grants.Seq(), keys, grants.Lasting()...) {
			if e.Seq == 0 {
				return e.Unread
			}
			if e.Seq > p.past {
				break
			}
			if err := p.take(e); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.grants.Skip(p.past)
	}
	p.pastRead = true
	return nil
}

// take folds an entry in if it matters and a broker decided it. Whoever may
// publish to NATS can put others there: they change nothing, and halt nothing.
func (p *Proxy) take(e journal.Verified) error {
	now, unread := p.now(), e.Unread
	isKey := false // what other events are verified by
	switch e.Data.(type) {
	case *events.KeyPublished, *events.CARotated:
		isKey = true
	}
	if !isKey && !p.grants.Matters(e.Event, now) && (unread == nil || !grants.BearsOnAccess(e.Channel)) {
		p.grants.Skip(e.Seq)
		return nil
	}
	err := e.Forged
	if err == nil && !isKey {
		err = p.inOrder(e.Entry)
	}
	switch {
	case err != nil:
		p.log.Error().Err(err).Str("channel", e.Channel).Uint64("sequence", e.Seq).Msg("an event that no broker decided is passed over")
		p.grants.Skip(e.Seq)
		return nil
	case unread != nil:
		p.log.Error().Err(unread).Str("channel", e.Channel).Msg("event of a type that this version does not know")
		return p.grants.Undecodable(e.Seq, e.Channel, unread)
	}
	return p.grants.Apply(e.Seq, e.Event, now)
}

// inOrder finds copies of older events. Of sessions it need not: grants knows
// a start that it has seen, a session that is forgotten has expired, and one
// that has ended cannot end.
func (p *Proxy) inOrder(e journal.Entry) error {
	if strings.HasPrefix(e.Channel, "access.session.") {
		return nil
	}
	if last := p.revisions[e.Channel]; e.Sequence <= last {
		return signed.Place(e.Event, last)
	}
	p.revisions[e.Channel] = e.Sequence
	return nil
}

// caughtUp says that all is here that the stream had at a moment.
func (p *Proxy) caughtUp(asOf time.Time) {
	p.grants.Heard(asOf)
	if p.lost.Over() {
		p.log.Info().Uint64("sequence", p.grants.Seq()).Msg("the ACCESS stream is heard again")
	}
	p.readied.Do(func() { close(p.read) })
}

// watch asks the stream again and again where it ends, as a majority of its nodes
// knows, and tells grants when all of that has arrived by the subscription.
// It cancels the subscription when there is no answer, or when for a whole
// interval the stream has held more than what has arrived.
func (p *Proxy) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	t := time.NewTicker(min(probe, p.cfg.MaxSilence/5))
	defer t.Stop()
	var owed uint64
	var since time.Time
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		have := p.grants.Seq()
		if have < owed {
			cancel(fmt.Errorf("the stream was at sequence %d at %s, and only %d has arrived", owed, since.UTC().Format(time.RFC3339), have))
			return
		}
		if !since.IsZero() {
			p.grants.Heard(since)
		}
		end, asOf, err := p.end(ctx)
		if errors.Is(err, journal.ErrBehind) {
			continue // it says nothing; for too long, and grants refuses
		}
		if err != nil {
			cancel(err)
			return
		}
		owed, since = end, asOf
		if p.grants.Seq() >= end {
			p.grants.Heard(asOf)
		}
	}
}

// end returns where the stream ends, and since when it has not held more for certain.
// If that is before what was read, the error wraps [journal.ErrWentBack], or, where it may
// be so of the node alone that answered, [journal.ErrBehind].
func (p *Proxy) end(ctx context.Context) (seq uint64, asOf time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, probe)
	defer cancel()
	asked := p.now()
	have := p.grants.Seq()
	seq, age, err := p.journal.End(ctx, events.Access)
	if err == nil && seq < have {
		if err = p.journal.IntactTo(ctx, events.Access, have); err == nil {
			err = fmt.Errorf("%w: it ended at sequence %d, and %d was read", journal.ErrBehind, seq, have)
		}
	}
	return seq, asked.Add(-age), err
}
