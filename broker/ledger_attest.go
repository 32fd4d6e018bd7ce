package broker

import (
	"context"
	"errors"
	"slices"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
)

// attestable is an event that no attestation is about yet.
type attestable struct {
	leaf    signed.Leaf
	refused bool
}

// unattestedSince is after which event to read on: after what the state has, or
// earlier, so that what no broker has attested yet can be.
func (l *ledger) unattestedSince() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unattested = nil
	if after := l.state.Attested; after < l.seq && l.seq-after <= signed.MaxRun {
		return after
	}
	return l.seq
}

// note keeps an event in mind until it is attested.
func (l *ledger) note(e journal.Verified) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted(e)
}

// noted is note for who holds l.mu. It forgets what an attestation is about by now.
func (l *ledger) noted(e journal.Verified) {
	if d, ok := e.Data.(*events.HistoryAttested); ok && e.Forged == nil {
		at := slices.IndexFunc(l.unattested, func(x attestable) bool { return x.leaf.Seq > d.LastSequence })
		if at < 0 {
			at = len(l.unattested)
		}
		l.unattested = slices.Clone(l.unattested[at:])
	}
	if e.Seq > l.state.Attested {
		l.unattested = append(l.unattested, attestable{e.Leaf, e.Forged != nil})
	}
	if len(l.unattested) > 2*signed.MaxRun {
		// Whoever reads them has verified them when an attestation would come.
		l.unattested = slices.Clone(l.unattested[signed.MaxRun:])
	}
	if len(l.unattested) >= signed.MinRun {
		select {
		case l.attestable <- struct{}{}:
		default:
		}
	}
}

// keepAttesting attests what was verified, until ctx ends: where many brokers do,
// the stream takes the first, and the others see that it is done.
func (l *ledger) keepAttesting(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.attestable:
		}
		if _, err := l.do(ctx, itself, l.attest); err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			l.log.Warn().Err(err).Msg("what was verified is not attested: starts are slower")
		}
	}
}

// attest decides to attest the oldest events that nobody has. It is called with
// l.mu held.
func (l *ledger) attest(_ *access.State, env access.Env) ([]events.Event, error) {
	run := l.unattested[:min(len(l.unattested), signed.MaxRun)]
	if len(run) < signed.MinRun {
		return nil, nil
	}
	leaves := make([]signed.Leaf, len(run))
	var refused []uint64
	for i, x := range run {
		leaves[i] = x.leaf
		if x.refused {
			refused = append(refused, x.leaf.Seq)
		}
	}
	id := env.NewID()
	return []events.Event{{
		Meta: events.Meta{ID: id, Time: env.Now.UTC(), CorrelationID: id},
		Data: &events.HistoryAttested{FirstSequence: leaves[0].Seq, LastSequence: leaves[len(leaves)-1].Seq, SHA256: signed.Digest(leaves), Refused: refused},
	}}, nil
}
