package broker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/snapshot"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/events/trouble"
)

const (
	// maxTries bounds how often a command is decided again because others were
	// faster. In every round at least one of them succeeds.
	maxTries = 64
	// conflictPause is the wait while the stream refuses a command for another that
	// nobody can read yet: several nodes have still to agree on it.
	conflictPause = 100 * time.Millisecond
	// commandTimeout bounds one command from its decision to its effect here.
	commandTimeout = 15 * time.Second
	// forgetAfter is for ledger.forgetAfter.
	forgetAfter = 10_000
	// followPause is the wait before following again after the stream was lost.
	followPause = 500 * time.Millisecond
)

// ledger keeps the state that the ACCESS stream folds to, and adds to the
// stream what commands decide. There may be any number of brokers on one
// stream: the expected sequence of an aggregate's channel decides who was first.
type ledger struct {
	journal *journal.Journal
	roots   *x509.CertPool
	log     zerolog.Logger
	now     func() time.Time
	ready   chan struct{} // closed when the state has caught up once
	// snapshots is the file that the state is kept in, "" for none.
	snapshots string
	// snapshotKey is what only brokers have, so that a snapshot is one's own.
	snapshotKey []byte

	mu      sync.RWMutex
	state   *access.State
	seq     uint64 // of the last event in state; advances only after Apply
	waiting []waiter
	touched access.Touched // since the janitor looked
	// unread is the first event that this version does not understand, or before
	// which others are missing, or that the stream went back: what it meant may be a
	// refusal, so nothing is granted any more.
	unread error
	// lost is closed once the stream went back: the state is of a history that is no
	// more, and nothing is decided by it.
	lost     chan struct{}
	believed atomic.Pointer[signed.Keys] // nil before follow
	// refused are the sequences of events that no broker decided.
	refused map[uint64]bool
	// unattested is what was read since the last attestation.
	unattested []attestable
	// attestable has room for one: it wakes attest.
	attestable chan struct{}

	// snapshot is where the file ends; checked is set once its last event was
	// compared with the stream's, or written from it.
	snapshot snapshot.End
	checked  bool

	// observe, if set before follow, sees every event that counts, once it is in.
	observe func(events.Event)

	// forgetAfter is how many events are read, when catching up, before what is over
	// is dropped, kept those since that was.
	forgetAfter, kept int

	// changed has room for one: it wakes the janitor.
	changed chan struct{}

	meters *meters
}

type waiter struct {
	seq  uint64
	done chan struct{}
}

func newLedger(j *journal.Journal, roots *x509.CertPool, snapshots string, now func() time.Time, log zerolog.Logger) *ledger {
	return &ledger{
		journal:   j,
		roots:     roots,
		snapshots: snapshots,
		refused:   map[uint64]bool{},
		log:       log,
		now:       now,
		ready:     make(chan struct{}),
		state:     access.NewState(),
		touched:   access.Touched{All: true},
		changed:   make(chan struct{}, 1),
		lost:      make(chan struct{}),

		attestable: make(chan struct{}, 1),

		forgetAfter: forgetAfter,
		meters:      newMeters(),
	}
}

// follow applies the stream until ctx ends. It takes up again where it was when
// the connection is lost. The error wraps [journal.ErrWentBack] once the stream is no
// longer the one that was read: it is for another ledger to read it, from the beginning.
func (l *ledger) follow(ctx context.Context) error {
	last, err := l.journal.Last(ctx, events.Access)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	keys, err := l.journal.Keys(ctx, l.roots)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	l.believed.Store(keys)
	l.restore(last)
	caughtUp := last == 0
	if caughtUp {
		close(l.ready)
	}
	var said trouble.Said
	for {
		for e := range l.journal.FollowVerified(ctx, events.Access, l.unattestedSince(), keys) {
			if errors.Is(e.Unread, journal.ErrWentBack) && e.Seq == 0 {
				return fmt.Errorf("broker: %w; it ends, to read ACCESS anew when it is started again", l.lose(e.Unread))
			}
			if e.Seq == 0 {
				if said.News(e.Unread) {
					l.log.Warn().Err(e.Unread).Uint64("seq", l.seq).Msg("lost the access stream; following again")
				}
				break
			}
			if said.Over() {
				l.log.Info().Msg("the access stream is followed again")
			}
			if e.Seq <= l.seq { // the state has it, from the snapshot
				l.note(e)
				continue
			}
			if l.foreign(e.Seq, e.Raw) {
				break
			}
			l.apply(e)
			if caughtUp {
				continue // the janitor has it forget
			}
			l.forgetOften()
			if e.Seq >= last {
				caughtUp = true
				close(l.ready)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
	}
}

// lose has nothing decided any more: the stream went back.
func (l *ledger) lose(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.lost:
	default:
		l.unread = err
		close(l.lost)
		l.log.Error().Err(err).Uint64("seq", l.seq).Msg("nothing is decided any more by what was read of it")
	}
	return err
}

// goneBack is why nothing is decided any more, nil while the stream stands.
func (l *ledger) goneBack() error {
	select {
	case <-l.lost:
		l.mu.RLock()
		defer l.mu.RUnlock()
		return l.unread
	default:
		return nil
	}
}

// forgetOften drops what is over while a long history is read, of which most is: at a
// cost in proportion to what is read.
func (l *ledger) forgetOften() {
	if l.kept++; l.kept < max(l.forgetAfter, len(l.state.Sessions)) {
		return
	}
	l.kept = 0
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.Forget(l.now().Add(-remember))
}

// apply folds an entry in.
func (l *ledger) apply(e journal.Verified) {
	l.mu.Lock()
	defer l.mu.Unlock()
	unread, forged := e.Unread, e.Forged
	if forged == nil && signed.Ordered(e.Channel) {
		forged = signed.Place(e.Event, l.state.Head(e.Channel).Revision)
	}
	woken := false
	switch {
	case errors.Is(forged, signed.ErrGap) && l.state.Gone(e.Data):
		// Its session is over and forgotten: nothing is left to end.
	case errors.Is(forged, signed.ErrGap):
		unread = forged
		fallthrough
	case forged == nil && unread != nil:
		l.state.Pass(e.Event, e.Channel, e.Seq)
		if l.unread == nil {
			l.unread = fmt.Errorf("event %d on %s cannot be taken for what it is: %w", e.Seq, e.Channel, unread)
			l.log.Error().Err(l.unread).Msg("nothing is granted any more; upgrade this broker, or find out who changed the stream")
		}
	case forged != nil:
		l.state.Skip(e.Channel, e.Seq)
		l.refused[e.Seq] = true
		l.log.Error().Err(forged).Str("channel", e.Channel).Uint64("seq", e.Seq).Msg("an event that no broker decided is passed over")
	default:
		l.state.Apply(e.Event, e.Seq)
		woken = l.touched.Add(e.Data)
		if l.observe != nil {
			l.observe(e.Event)
		}
	}
	l.seq = e.Seq
	l.noted(e)
	kept := l.waiting[:0]
	for _, w := range l.waiting {
		if w.seq <= l.seq {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	l.waiting = kept
	if woken {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}

// reach waits until the state includes sequence seq.
func (l *ledger) reach(ctx context.Context, seq uint64) error {
	l.mu.Lock()
	if l.seq >= seq {
		l.mu.Unlock()
		return nil
	}
	w := waiter{seq: seq, done: make(chan struct{})}
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-l.lost:
		return l.goneBack()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keys are those that events are verified with.
func (l *ledger) keys() *signed.Keys { return l.believed.Load() }

// refusals returns the sequences of events that no broker decided, of all that
// the stream holds now.
func (l *ledger) refusals(ctx context.Context) (map[uint64]bool, error) {
	last, err := l.journal.Last(ctx, events.Access)
	if err == nil {
		err = l.reach(ctx, last)
	}
	if err != nil {
		return nil, fmt.Errorf("catch up: %w", err)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return maps.Clone(l.refused), nil
}

// read lets look at the state, which stands still meanwhile.
func (l *ledger) read(look func(s *access.State, now time.Time)) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	look(l.state, l.now())
}

// decision turns the state into the events of one aggregate, or a refusal.
type decision func(s *access.State, env access.Env) ([]events.Event, error)

// do carries a command out: it decides, appends on condition that the
// aggregate has not moved, and decides again if it has. It returns when the
// state here includes the events, which are its result; none means that there
// was nothing to do. A refusal is an *access.Error.
func (l *ledger) do(ctx context.Context, by string, decide decision) (done []events.Event, err error) {
	defer func() { l.meters.done(done, err) }()
	select {
	case <-l.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Once decided it is carried through, whether or not the asker still waits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	var former access.Head
	for range maxTries {
		if err := l.goneBack(); err != nil {
			return nil, err
		}
		es, head, read, err := l.decide(by, decide)
		if err != nil || len(es) == 0 {
			return nil, err
		}
		for i := range es {
			es[i].Sequence = head.Revision + 1 + uint64(i)
		}
		seq, err := l.journal.AppendIf(ctx, head.Seq, es...)
		if errors.Is(err, journal.ErrConflict) {
			l.meters.conflicts.Inc()
			seq, err = l.journal.Last(ctx, events.Access)
			behind := err == nil && seq < read
			if behind {
				err = l.behind(ctx, read)
			} else if err == nil {
				err = l.reach(ctx, seq)
			}
			if err != nil {
				return nil, fmt.Errorf("catch up: %w", err)
			}
			if head == former || behind { // what was first is not committed yet
				select {
				case <-time.After(conflictPause):
				case <-ctx.Done():
				}
			}
			former = head
			continue
		}
		if n := uint64(len(es)); err == nil && seq < read+n {
			err = fmt.Errorf("%w: it has this as %d, and %d was read before", journal.ErrWentBack, seq+1-n, read)
		}
		if errors.Is(err, journal.ErrWentBack) {
			return nil, fmt.Errorf("whether this counts is not certain: look in a while, and do it again if need be: %w", l.lose(err))
		}
		if err != nil {
			if errors.Is(err, journal.ErrUnsent) {
				return nil, err
			}
			return nil, fmt.Errorf("whether it was recorded is not certain, look before you do it again (postern users ls, lock ls, request ls, …): %w", err)
		}
		if err := l.reach(ctx, seq); err != nil {
			return nil, fmt.Errorf("recorded as %d, but not read back in time: %w", seq, err)
		}
		if l.void(seq, len(es)) {
			return nil, fmt.Errorf("recorded as %d, but it does not count, because nobody takes it for a broker's decision (this broker's log says why): are the clocks of the broker and of NATS apart? Set them right, and do it again ten seconds later", seq)
		}
		return es, nil
	}
	return nil, fmt.Errorf("others were faster %d times: try again", maxTries)
}

// void is whether some of n events up to a sequence were refused here, as everybody refuses
// them: those of a key whose time, by the clock of the stream, has not come.
func (l *ledger) void(last uint64, n int) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := range uint64(n) {
		if l.refused[last-i] {
			return true
		}
	}
	return false
}

// behind judges that the stream ends before what was read of it. It is no error where
// that may be so of the node alone that answered: the command is tried again.
func (l *ledger) behind(ctx context.Context, read uint64) error {
	if err := l.journal.IntactTo(ctx, events.Access, read); errors.Is(err, journal.ErrWentBack) {
		return l.lose(err)
	}
	return nil
}

// decide returns with what was decided the place of its aggregate, and of the last
// event, that it was decided by.
func (l *ledger) decide(by string, decide decision) (es []events.Event, head access.Head, read uint64, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	es, err = decide(l.state, access.Env{Now: l.now(), NewID: journal.NewID, By: by})
	if err != nil || len(es) == 0 {
		return nil, access.Head{}, 0, err
	}
	return es, l.state.Head(es[0].Data.Channel()), l.seq, nil
}

// grant is do for what gives access: not while events are not understood.
func (l *ledger) grant(ctx context.Context, by string, decide decision) ([]events.Event, error) {
	l.mu.RLock()
	unread := l.unread
	l.mu.RUnlock()
	if unread != nil {
		return nil, unread
	}
	return l.do(ctx, by, decide)
}
