package broker

import (
	"context"
	"errors"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

const (
	// heldCalls is where proxies say which calls wait for their approval, and
	// holdWorkers the name under which brokers share them.
	heldCalls   = "audit.held.>"
	holdWorkers = "broker-held"
	// heldWithin is how old a held call may be to be made a request of: its client
	// has gone by then, but an identical call may follow.
	heldWithin = 10 * time.Minute
	// holdPause is between two attempts to see them.
	holdPause = 5 * time.Second
)

// followHolds makes an access request of every call that waits at a proxy.
func (b *Broker) followHolds(ctx context.Context) {
	var said trouble.Said
	for ctx.Err() == nil {
		if err := b.cfg.Journal.Work(ctx, events.Audit, holdWorkers, heldCalls, b.hold); err != nil && said.News(err) {
			b.log.Warn().Err(err).Msg("lost sight of the calls that wait for their approval; trying again")
		}
		select {
		case <-time.After(holdPause):
		case <-ctx.Done():
		}
	}
}

// hold makes an access request of a held call. An error asks for another try.
func (b *Broker) hold(ctx context.Context, e journal.Entry) error {
	held, ok := e.Data.(*events.AWSCallHeld)
	if !ok || b.now().Sub(e.StoredAt) > heldWithin {
		return nil
	}
	// The proxy may know the session before this broker does.
	seq, err := b.cfg.Journal.Last(ctx, events.Access)
	if err == nil {
		err = b.ledger.reach(ctx, seq)
	}
	if err == nil {
		_, err = b.ledger.grant(ctx, itself, func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.Hold(s, env, held.AccessRequestID, held.User, held.HeldCall())
		})
	}
	if refusal := new(access.Error); errors.As(err, &refusal) {
		b.log.Warn().Str("user", held.User).Str("request", held.AccessRequestID).Str("why", refusal.Message).Msg("a call waits that nobody will be asked about")
		return nil
	}
	return err
}
