package evidence

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/posternhq/postern/auditor/tlog"
)

// Places of a record.
const (
	InStream = "stream"
	InLedger = "clickhouse"
	InLog    = "log"
)

// Fault is what is wrong with consecutive sequences of a stream in one place.
type Fault struct {
	Stream string `json:"stream"`
	// First and Last are the sequences; a log's checkpoint has its size as both.
	First uint64 `json:"first_sequence"`
	Last  uint64 `json:"last_sequence"`
	// Place is "stream", "clickhouse", "log" or "delivery", which a consumer got.
	Place string `json:"place"`
	// Kind is "missing", "changed", "doubled", "unexpected", "derived" (a column that disagrees
	// with its row's event), "forged" (a checkpoint that its key did not sign), "unjudged" (the
	// judge's mark says that it was judged), or of a log "leaf", "tile", "checkpoint", "fork",
	// "rollback", "witness" or "stopped".
	Kind   string `json:"kind"`
	Detail string `json:"detail,omitempty"`
}

func (f Fault) String() string {
	s := fmt.Sprintf("%s %d", f.Stream, f.First)
	if f.Last != f.First {
		s += fmt.Sprintf("–%d", f.Last)
	}
	s += fmt.Sprintf(": %s in the %s", f.Kind, f.Place)
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// Compare holds the three accounts of a stream's sequences after+1 to until
// against each other and returns what is wrong, in the order of sequences. Each
// account comes in that order; one from the log or of a row may come with an
// error that says what is wrong with it. An error with sequence 0 means that an
// account can't be read, and is returned. tick, if not nil, hears of each
// sequence that is done. Rows of sequences up to expired may be gone on purpose:
// these are counted, and are no faults.
func Compare(stream string, after, until, expired uint64, log, messages, rows iter.Seq2[tlog.Leaf, error], tick func(seq uint64)) (faults []Fault, gone uint64, err error) {
	c := comparison{stream: stream, expired: expired}
	accounts := [3]*account{newAccount(log), newAccount(messages), newAccount(rows)}
	for _, a := range accounts {
		defer a.stop()
	}
	for seq := after + 1; seq <= until; seq++ {
		var said [3][]tlog.Leaf
		for i, a := range accounts {
			leaves, wrong, err := a.take(seq)
			if err != nil {
				return c.faults(), c.gone, err
			}
			said[i] = leaves
			for _, w := range wrong {
				c.add(seq, InLog, logKind(w), w.Error())
			}
		}
		c.judge(seq, said)
		if tick != nil {
			tick(seq)
		}
	}
	// What a log has to say after its last leaf: tiles and roots.
	_, wrong, err := accounts[0].take(math.MaxUint64)
	for _, w := range wrong {
		c.add(until, InLog, logKind(w), w.Error())
	}
	c.blame()
	return c.faults(), c.gone, err
}

// blame says who is wrong where the log stands alone: the log, if it isn't what
// its checkpoints say; else the other two.
func (c *comparison) blame() {
	forged := slices.ContainsFunc(c.faults(), func(f Fault) bool { return f.Place == InLog && f.Kind == "fork" })
	for _, seq := range c.alone {
		if forged {
			c.add(seq, InLog, "changed", "")
			continue
		}
		c.add(seq, InStream, "changed", "")
		c.add(seq, InLedger, "changed", "")
	}
}

// account reads one account with a look ahead.
type account struct {
	next func() (tlog.Leaf, error, bool)
	stop func()
	leaf tlog.Leaf
	err  error
	ok   bool
}

func newAccount(s iter.Seq2[tlog.Leaf, error]) *account {
	a := &account{}
	a.next, a.stop = iter.Pull2(s)
	a.leaf, a.err, a.ok = a.next()
	return a
}

// take returns what an account says up to a sequence: the leaves of that very
// sequence, and what is wrong.
func (a *account) take(seq uint64) (leaves []tlog.Leaf, wrong []error, err error) {
	for ; a.ok && a.leaf.Seq <= seq; a.leaf, a.err, a.ok = a.next() {
		switch {
		case a.err != nil && a.leaf.Seq == 0:
			return nil, nil, a.err
		case a.err != nil:
			wrong = append(wrong, a.err)
		case a.leaf.Seq == seq:
			leaves = append(leaves, a.leaf)
		}
	}
	return leaves, wrong, nil
}

type comparison struct {
	stream string
	// expired is up to where rows may be gone on purpose, gone how many are.
	expired, gone uint64
	// alone are sequences of which stream and ledger say the same, and the log
	// something else.
	alone  []uint64
	open   []Fault // that may go on with the next sequence
	closed []Fault
}

// judge compares what the log, the stream and the ledger say of one sequence.
// Where the log says nothing, the other two can only be held against each other.
func (c *comparison) judge(seq uint64, said [3][]tlog.Leaf) {
	log, message, rows := said[0], said[1], said[2]
	if len(log) > 0 && len(message) > 0 && len(rows) == 1 && message[0].Hash != log[0].Hash && message[0].Hash == rows[0].Hash {
		c.alone = append(c.alone, seq)
		return
	}
	if len(log) == 0 {
		c.add(seq, InLog, "missing", "")
	}
	if len(message) == 0 {
		c.add(seq, InStream, "missing", "")
	} else if len(log) > 0 && message[0].Hash != log[0].Hash {
		c.add(seq, InStream, "changed", "")
	}
	measure := log
	if len(measure) == 0 {
		measure = message
	}
	switch {
	case len(rows) == 0 && seq <= c.expired:
		c.gone++
	case len(rows) == 0:
		c.add(seq, InLedger, "missing", "")
	case len(rows) > 1:
		c.add(seq, InLedger, "doubled", fmt.Sprintf("%d rows", len(rows)))
	}
	for _, r := range rows {
		if len(measure) > 0 && r.Hash != measure[0].Hash {
			c.add(seq, InLedger, "changed", "")
			break
		}
	}
}

// add notes a fault, as part of one that ended right before where it can.
func (c *comparison) add(seq uint64, place, kind, detail string) {
	kept := c.open[:0]
	added := false
	for _, f := range c.open {
		switch {
		case f.Place == place && f.Kind == kind && f.Detail == detail && (f.Last+1 == seq || f.Last == seq):
			f.Last, added = seq, true
			kept = append(kept, f)
		case f.Last+1 < seq || f.First > seq:
			c.closed = append(c.closed, f)
		default:
			kept = append(kept, f)
		}
	}
	if !added {
		kept = append(kept, Fault{Stream: c.stream, First: seq, Last: seq, Place: place, Kind: kind, Detail: detail})
	}
	c.open = kept
}

func (c *comparison) faults() []Fault {
	all := slices.Concat(c.closed, c.open)
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Compare(a.First, b.First) })
	return all
}
