package auditor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
)

const (
	// headsKept bounds the channels whose last revision is remembered; the store
	// has those of all.
	headsKept = 100_000
	// kindForged is the kind of finding about an event that no broker decided.
	kindForged = "forged_decision"
	// quoted is how much of a forged event's own words a finding repeats, in bytes.
	quoted = 200
)

// verifier finds out which events of ACCESS a broker decided. It is for one
// reader of the stream, batch after batch.
type verifier struct {
	store *store.Store
	judge *journal.Judge
	heads map[string]uint64 // by channel: the last genuine revision
}

// verifier makes one for a stream; nil where there is nothing to verify.
func (a *Auditor) verifier(ctx context.Context, stream string) (*verifier, error) {
	if stream != events.Access || a.c.BrokerCA == nil {
		return nil, nil
	}
	keys, err := a.c.Journal.Keys(ctx, a.c.BrokerCA)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	return &verifier{store: a.store, judge: journal.NewJudge(keys), heads: map[string]uint64{}}, nil
}

// verify judges a batch and changes nothing; accept says that it is stored.
func (v *verifier) verify(ctx context.Context, entries []journal.Entry) (out store.Signatures, heads map[string]uint64, err error) {
	if v == nil || len(entries) == 0 {
		return nil, nil, nil
	}
	problems := make([]error, len(entries))
	for i, judged := range v.judge.Verify(entries) {
		problems[i] = judged.Forged
	}
	if heads, err = v.revisions(ctx, entries, problems); err != nil {
		return nil, nil, err
	}
	out = store.Signatures{}
	for i := range entries {
		e, problem := &entries[i], problems[i]
		if problem == nil && signed.Ordered(e.Channel) {
			problem = signed.Place(e.Event, heads[e.Channel])
			if !errors.Is(problem, signed.ErrRepeated) {
				heads[e.Channel] = e.Sequence
			}
		}
		s := store.Signature{State: store.SignatureValid}
		switch {
		case problem == nil:
		case errors.Is(problem, signed.ErrGap):
			s.Reason = problem.Error() // it is a broker's; what the stream lacks, audit verify finds
		case errors.Is(problem, signed.ErrUnsigned):
			s = store.Signature{State: store.SignatureUnsigned, Reason: problem.Error()}
		default:
			s = store.Signature{State: store.SignatureInvalid, Reason: problem.Error()}
		}
		out[e.Seq] = s
	}
	return out, heads, nil
}

// accept remembers the revisions after a batch.
func (v *verifier) accept(heads map[string]uint64) {
	if v == nil {
		return
	}
	if len(v.heads) > headsKept {
		clear(v.heads)
	}
	maps.Copy(v.heads, heads)
}

// revisions returns where the channels of entries with good signatures stand
// before them.
func (v *verifier) revisions(ctx context.Context, entries []journal.Entry, problems []error) (map[string]uint64, error) {
	heads, unknown := map[string]uint64{}, map[string]bool{}
	for i := range entries {
		if channel := entries[i].Channel; problems[i] == nil && signed.Ordered(channel) {
			head, ok := v.heads[channel]
			heads[channel] = head
			if !ok {
				unknown[channel] = true
			}
		}
	}
	stored, err := v.store.Revisions(ctx, slices.Sorted(maps.Keys(unknown)), entries[0].Seq)
	if err != nil {
		return nil, err
	}
	maps.Copy(heads, stored)
	return heads, nil
}

// mostFaults are named.
const mostFaults = 1000

// signatureFaults judges the rows of ACCESS anew and names those of which the ledger says
// otherwise. What it calls forged is in no table and no bundle, and no lock; what it calls
// genuine is: so who could write there could take the one for the other, and no message
// would be another one for it.
func (a *Auditor) signatureFaults(ctx context.Context, since time.Time) ([]evidence.Fault, error) {
	v, err := a.verifier(ctx, events.Access)
	if v == nil || err != nil {
		return nil, err
	}
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	rows, err := a.store.Conn().Query(ctx, `SELECT seq, channel, stored_at, signature, raw FROM events
		WHERE stream = 'ACCESS' AND stored_at >= `+store.Timestamp(since)+` ORDER BY stream, seq`)
	if err != nil {
		return nil, fmt.Errorf("check of signatures: %w", err)
	}
	defer rows.Close()
	var faults []evidence.Fault
	var entries []journal.Entry
	var said []store.Signature
	judge := func() error {
		found, heads, err := v.verify(ctx, entries)
		if err != nil {
			return fmt.Errorf("check of signatures: %w", err)
		}
		v.accept(heads)
		for i := range entries {
			seq := entries[i].Seq
			if is := found[seq]; is.Forged() != said[i].Forged() && len(faults) < mostFaults {
				f := evidence.Fault{Stream: events.Access, First: seq, Last: seq, Place: evidence.InLedger, Kind: "derived", Detail: "signature: a broker decided it"}
				if is.Forged() {
					f.Detail = "signature: no broker decided it: " + is.Reason
				}
				faults = append(faults, f)
			}
		}
		entries, said = entries[:0], said[:0]
		return nil
	}
	for rows.Next() {
		e := journal.Entry{Stream: events.Access}
		var s store.Signature
		var raw string
		if err := rows.Scan(&e.Seq, &e.Channel, &e.StoredAt, &s.State, &raw); err != nil {
			return nil, fmt.Errorf("check of signatures: %w", err)
		}
		e.Raw = []byte(raw)
		e.Event, _ = events.Decode(e.Raw) // what is none is judged, too
		if entries, said = append(entries, e), append(said, s); len(entries) == batchRecords {
			if err := judge(); err != nil {
				return nil, err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("check of signatures: %w", err)
	}
	err = judge() // adds to the faults
	return faults, err
}

// report opens a finding for each forged event, once: its id follows from the
// event's place.
func (a *Auditor) report(ctx context.Context, entries []journal.Entry, signatures store.Signatures) error {
	var opened []events.Event
	for i := range entries {
		e := &entries[i]
		s := signatures[e.Seq]
		if !s.Forged() {
			continue
		}
		typ := "something that is no event"
		if e.Data != nil {
			typ = string(e.Data.Type())
		}
		f := &events.FindingOpened{
			FindingID: fmt.Sprintf("%s/%s/%d", kindForged, e.Stream, e.Seq), Kind: kindForged, Severity: "critical", OpenedAt: e.StoredAt.UTC(),
			Summary: fmt.Sprintf("%s %d: no broker decided %s on %.*q (id %.*q, said to be from %.*q): %.*s",
				e.Stream, e.Seq, typ, quoted, e.Channel, quoted, e.ID, quoted, e.Source, quoted, s.Reason),
		}
		opened = append(opened, events.Event{Meta: events.Meta{ID: "finding/" + f.FindingID + "/opened", Time: f.OpenedAt}, Data: f})
	}
	for part := range slices.Chunk(opened, sayAtOnce) {
		errs := make([]error, len(part))
		var wg sync.WaitGroup
		for i, e := range part {
			wg.Go(func() { _, errs[i] = a.c.Journal.Append(ctx, e) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("findings about forged events: %w", err)
		}
	}
	return nil
}
