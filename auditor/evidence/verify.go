package evidence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/auditor/tlog"
)

// Status is what an auditor says of one stream.
type Status struct {
	Stream string `json:"stream"`
	// Rows is the highest sequence in the ledger, Logged that in the log's
	// checkpoint, Last
	// that in the stream. They are read in this order: what the first two have
	// above Last is gone from the stream.
	Rows   uint64 `json:"rows"`
	Logged uint64 `json:"logged"`
	Last   uint64 `json:"last"`
	// Stored is the sequence up to which the auditor claims to have rows.
	Stored uint64 `json:"stored"`
	// Before is the last sequence before the time asked for.
	Before uint64 `json:"before,omitempty"`
	// Expired is the last sequence whose row may be gone on purpose.
	Expired uint64 `json:"expired,omitempty"`
	// Problem says why nothing is logged any more.
	Problem string `json:"problem,omitempty"`
}

// Statuses is what an auditor says of all, and of the key that signs its logs.
// Take the key from elsewhere to be sure of it.
type Statuses struct {
	Key     tlog.PublicKey `json:"key"`
	Streams []Status       `json:"streams"`
	// Horizons are the times before which rows may be gone on purpose, as events
	// on findings.retention say.
	Horizons store.Horizons `json:"horizons,omitzero"`
}

// Report is what verifying everything came to.
type Report struct {
	Key tlog.PublicKey `json:"key"`
	// OtherKeys are of logs of the same name: of other auditors, or of this one before its
	// key and its logs were made anew.
	OtherKeys []tlog.PublicKey `json:"other_keys,omitempty"`
	// OK: no fault anywhere.
	OK      bool      `json:"ok"`
	Streams []*Result `json:"streams"`
	// Horizons are as in Statuses.
	Horizons store.Horizons `json:"horizons,omitzero"`
	// Ledger is what SQL alone found in the ledger.
	Ledger []Fault `json:"ledger_faults"`
}

// Faults are all of them, stream by stream in the order of sequences.
func (r *Report) Faults() []Fault {
	var all []Fault
	for _, s := range r.Streams {
		all = append(all, s.Faults...)
	}
	return append(all, r.Ledger...)
}

// Accounts are the three accounts of a stream.
type Accounts struct {
	Tiles tlog.Tiles
	// Messages and Rows yield what stream and ledger have after a sequence, up to
	// another.
	Messages, Rows func(ctx context.Context, after, until uint64) iter.Seq2[tlog.Leaf, error]
}

// Result is what verifying a stream came to.
type Result struct {
	Stream string `json:"stream"`
	// From and To are the sequences compared; none where To is below From.
	From uint64 `json:"from_sequence"`
	To   uint64 `json:"to_sequence"`
	// Size and Root are of the log's checkpoint that all was compared with.
	Size uint64 `json:"log_size"`
	Root string `json:"log_root,omitempty"`
	// Earlier is how many older checkpoints the log was held against.
	Earlier int `json:"earlier_checkpoints"`
	// Expired is how many rows are gone on purpose: of these, stream and log alone
	// were compared.
	Expired uint64  `json:"expired,omitempty"`
	Faults  []Fault `json:"faults"`

	// Checkpoint is the log's, to be remembered if there is no fault.
	Checkpoint tlog.Checkpoint `json:"-"`
}

// Verify compares the accounts of a stream from the sequence after s.Before on,
// and holds the log against checkpoints that are known from elsewhere. A fault
// is no error; an error means that not all could be looked at.
func Verify(ctx context.Context, key tlog.PublicKey, s Status, a Accounts, known []tlog.Checkpoint, tick func(seq uint64)) (*Result, error) {
	r := &Result{Stream: s.Stream, From: s.Before + 1, To: max(s.Logged, s.Last), Faults: []Fault{}}
	fault := func(seq uint64, kind, detail string) {
		r.Faults = append(r.Faults, Fault{Stream: s.Stream, First: seq, Last: seq, Place: InLog, Kind: kind, Detail: detail})
	}
	if s.Problem != "" {
		fault(s.Logged, "stopped", s.Problem)
	}
	c, err := key.Latest(ctx, s.Stream, a.Tiles)
	if err != nil {
		fault(s.Logged, "checkpoint", err.Error())
		return r, nil
	}
	r.Checkpoint, r.Size, r.Root = c, c.Size, c.Root.String()
	var passed []tlog.Checkpoint
	for _, k := range known {
		switch {
		case k.Stream != s.Stream:
			continue
		case k.Size > c.Size:
			fault(k.Size, "rollback", fmt.Sprintf("a checkpoint of %d leaves is signed; the log has %d", k.Size, c.Size))
		case k.Size > s.Before:
			passed = append(passed, k)
		default:
			if err := c.Extends(ctx, a.Tiles, k); err != nil {
				fault(k.Size, "fork", err.Error())
			}
		}
		r.Earlier++
	}
	log := tlog.Walk(ctx, a.Tiles, min(s.Before, c.Size), c, passed)
	faults, gone, err := Compare(s.Stream, s.Before, r.To, s.Expired, log, a.Messages(ctx, s.Before, r.To), a.Rows(ctx, s.Before, r.To), tick)
	r.Faults, r.Expired = append(r.Faults, faults...), gone
	if err == nil && s.Rows > r.To {
		faults, err = beyond(s.Stream, a.Rows(ctx, r.To, s.Rows))
		r.Faults = append(r.Faults, faults...)
	}
	slices.SortStableFunc(r.Faults, func(x, y Fault) int { return cmp.Compare(x.First, y.First) })
	return r, err
}

// beyond reports rows that neither stream nor log has.
func beyond(stream string, rows iter.Seq2[tlog.Leaf, error]) ([]Fault, error) {
	c := comparison{stream: stream}
	for l, err := range rows {
		if err != nil {
			return c.faults(), err
		}
		c.add(l.Seq, InLedger, "unexpected", "neither the stream nor the log has it")
	}
	return c.faults(), nil
}

// logKind tells what is wrong with a log.
func logKind(err error) string {
	var tile *tlog.TileError
	switch {
	case errors.Is(err, tlog.ErrFork):
		return "fork"
	case errors.As(err, &tile):
		return "tile"
	}
	return "leaf"
}
