package broker

import (
	"context"
	"errors"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/trouble"
)

const (
	// Who the broker is in what it does by itself.
	itself = "postern"
	// remember is how long what is over can still be listed.
	remember    = 7 * 24 * time.Hour
	forgetEvery = 10 * time.Minute
	// sweepEvery is the longest the janitor sleeps.
	sweepEvery = time.Minute
)

// janitor does what is due by time or by what others changed: it ends sessions
// whose ground has gone, requests that nobody decided and memberships that have
// expired, records that locks have, announces reviews of access lists and suspends those without. Every broker does;
// the stream takes the first.
func (b *Broker) janitor(ctx context.Context) error {
	var said trouble.Said
	for {
		next := b.sweep(ctx, &said)
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-b.ledger.changed:
			timer.Stop()
		}
	}
}

// sweep does what is due now and returns how long nothing more will be, unless
// something changes. said is what was said of what could not be done.
func (b *Broker) sweep(ctx context.Context, said *trouble.Said) time.Duration {
	l := b.ledger
	l.mu.Lock()
	touched := l.touched
	l.touched = access.Touched{}
	now := l.now()
	if now.After(b.forgotten.Add(forgetEvery)) {
		b.forgotten = now
		l.state.Forget(now.Add(-remember))
	}
	begins := touched.Began(l.state, b.swept, now)
	b.swept = now
	l.mu.Unlock()

	var sessions, requests, lists, locks []string
	var next time.Time
	l.read(func(s *access.State, now time.Time) {
		sessions = access.Unfounded(s, now, touched)
		requests, next = s.Lapsing(now)
		sooner := func(due time.Time) {
			if next.IsZero() || !due.IsZero() && due.Before(next) {
				next = due
			}
		}
		sooner(begins)
		var due time.Time
		lists, due = s.ListsDue(now)
		sooner(due)
		locks, due = s.LocksDue(now)
		sooner(due)
	})
	failed := false
	act := func(what, id string, decide decision) {
		if _, err := l.do(ctx, itself, decide); err != nil && !errors.Is(err, context.Canceled) {
			if failed = true; said.News(err) {
				b.log.Warn().Err(err).Str("id", id).Msg(what)
			}
		}
	}
	for _, id := range sessions {
		act("could not end a session whose ground has gone; trying again", id,
			func(s *access.State, env access.Env) ([]events.Event, error) { return access.EndUnfounded(s, env, id) })
	}
	for _, id := range requests {
		act("could not expire a request; trying again", id,
			func(s *access.State, env access.Env) ([]events.Event, error) { return access.Expire(s, env, id) })
	}
	for _, id := range locks {
		act("could not record that a lock has ended; trying again", id,
			func(s *access.State, env access.Env) ([]events.Event, error) { return access.ExpireLock(s, env, id) })
	}
	for _, name := range lists {
		if err := b.tellList(ctx, name); err != nil && !errors.Is(err, context.Canceled) {
			if failed = true; said.News(err) {
				b.log.Warn().Err(err).Str("access_list", name).Msg("could not say what is due on an access list; trying again")
			}
		}
	}
	switch {
	case failed:
		l.mu.Lock()
		l.touched = access.Touched{All: true}
		l.mu.Unlock()
		return time.Second
	case said.Over():
		b.log.Info().Msg("what was due is done")
	}
	if next.IsZero() {
		return sweepEvery
	}
	return min(sweepEvery, max(0, next.Sub(now)))
}
