package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/posternhq/postern/events/journal"
)

// Sink writes one stream into the store, batch by batch. It is not safe for
// concurrent use: batches come in the stream's order.
type Sink struct {
	store  *Store
	stream string
	stored *stored
	// doubt: an earlier write of this or another process may have been cut off,
	// so the ledger is asked what it has before and after the next one.
	doubt   bool
	written uint64 // the floor that is written down
	held    func() bool
}

// ErrNotHeld says that the stream is another one's to write.
var ErrNotHeld = errors.New("the stream is another auditor's to write by now")

// TakeOver is Sink for who writes while others may try to, for as long as held
// says so. An insert that another process has begun is cancelled, and one of this
// process goes on only if the stream is held once the server knows of it. So a
// process that was stopped in the middle of a batch, and goes on when it holds
// the stream no longer, writes nothing.
func (s *Store) TakeOver(ctx context.Context, stream string, held func() bool) (*Sink, error) {
	if err := s.countReplicas(ctx); err != nil {
		return nil, err
	}
	if err := s.CancelInserts(ctx, stream); err != nil {
		return nil, err
	}
	k, err := s.Sink(ctx, stream)
	if err != nil {
		return nil, err
	}
	k.held = held
	return k, nil
}

// CancelInserts ends what another process may be inserting of a stream, as TakeOver
// does first.
func (s *Store) CancelInserts(ctx context.Context, stream string) error {
	fail := func(err error) error { return fmt.Errorf("take %s over: %w", stream, err) }
	prefix := s.queryPrefix(stream)
	for begun := time.Now(); ; { // what was too far gone to be cancelled is waited for
		up, all, err := s.answering(ctx)
		if err != nil {
			return fail(err)
		}
		var running, alive uint64
		err = s.tables.QueryRow(ctx, `SELECT count(), countIf(NOT is_cancelled) FROM `+s.everywhere("system.processes")+` WHERE startsWith(query_id, ?)`+thatAnswer, prefix).Scan(&running, &alive)
		if err != nil {
			return fail(err)
		}
		if alive > 0 {
			kill := `KILL QUERY ` + dialect{cluster: s.cluster}.OnCluster() + ` WHERE startsWith(query_id, ?) ASYNC`
			if s.cluster != "" { // not until servers do it that are down
				kill += ` SETTINGS distributed_ddl_task_timeout = 10, distributed_ddl_output_mode = 'null_status_on_timeout'`
			}
			if err := s.onAll(ctx, kill, prefix); err != nil {
				return fail(err)
			}
		}
		if running == 0 && (up == all || time.Since(begun) > s.atMost) || running > 0 && alive == 0 && time.Since(begun) > lastWords {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// queryPrefix begins the ids of the inserts of a stream into the ledger.
func (s *Store) queryPrefix(stream string) string {
	return "ledger/" + s.Database() + "/" + stream + "/"
}

// lastWords is how long a cancelled insert may take to its end. One that takes
// longer waits for a process that was stopped.
const lastWords = 2 * time.Second

// floorEvery is after how many entries the floor is written down again.
const floorEvery = 100_000

// Sink reads from the ledger where a stream's writing has to go on.
func (s *Store) Sink(ctx context.Context, stream string) (*Sink, error) {
	st, err := s.readStored(ctx, stream)
	if err != nil {
		return nil, err
	}
	return &Sink{store: s, stream: stream, stored: st, doubt: true, written: st.floor}, nil
}

// Floor is the sequence up to which nothing is missing: for
// journal.BatchConfig.After.
func (k *Sink) Floor() uint64 { return k.stored.floor }

// Write stores entries, of which some may be stored already, and returns those
// that were not. After an error the same entries can be given again. Entries that
// signatures say are forged are in the ledger alone.
func (k *Sink) Write(ctx context.Context, entries []journal.Entry, signatures Signatures) ([]journal.Entry, error) {
	if k.doubt && len(entries) > 0 {
		if err := k.lookBack(ctx, entries[0].Seq, entries[len(entries)-1].Seq); err != nil {
			return nil, err
		}
	}
	fresh := make([]journal.Entry, 0, len(entries))
	for _, e := range entries {
		if !k.stored.has(e.Seq) {
			fresh = append(fresh, e)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	if k.stored.floor == 0 && len(k.stored.above) == 0 {
		k.stored.floor = fresh[0].Seq - 1 // what came before is gone from the stream
	}
	if err := k.store.insertRows(ctx, signatures.Genuine(fresh)); err != nil {
		return nil, err
	}
	inDoubt := k.doubt
	k.doubt = true
	for _, part := range byMonth(fresh) {
		if err := k.insert(ctx, part, signatures, inDoubt); err != nil {
			return nil, err
		}
	}
	k.doubt = false
	for _, e := range fresh {
		k.stored.add(e.Seq)
	}
	if k.stored.floor >= k.written+floorEvery {
		if err := k.store.writeFloor(ctx, k.stream, k.written, k.stored.floor); err != nil {
			return nil, err
		}
		k.written = k.stored.floor
	}
	return fresh, nil
}

// insert writes one block, and where an earlier try is in doubt makes sure that
// the server didn't take it for a double of something it then lost.
func (k *Sink) insert(ctx context.Context, part []journal.Entry, signatures Signatures, inDoubt bool) error {
	first, last := part[0].Seq, part[len(part)-1].Seq
	token := fmt.Sprintf("%s:%d-%d", k.stream, first, last)
	if err := k.insertLedger(ctx, token, part, signatures); err != nil || !inDoubt {
		return err
	}
	for try := 1; ; try++ {
		had, err := k.store.sequences(ctx, k.stream, first, last)
		if err != nil {
			return err
		}
		var lost []journal.Entry
		for _, e := range part {
			if _, ok := had[e.Seq]; !ok {
				lost = append(lost, e)
			}
		}
		if len(lost) == 0 {
			return nil
		}
		if try < 3 { // the other try may be committing at this very moment
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
			continue
		}
		again := fmt.Sprintf("%s#%d", token, time.Now().UnixNano())
		if err := k.insertLedger(ctx, again, lost, signatures); err != nil {
			return err
		}
	}
}

// lookBack notes which sequences of a range the ledger has.
func (k *Sink) lookBack(ctx context.Context, first, last uint64) error {
	had, err := k.store.sequences(ctx, k.stream, first, last)
	if err != nil {
		return err
	}
	for seq := range had {
		k.stored.add(seq)
	}
	return nil
}

func (s *Store) sequences(ctx context.Context, stream string, first, last uint64) (map[uint64]struct{}, error) {
	had := map[uint64]struct{}{}
	return had, s.eachStored(ctx, stream, first, last, func(seq uint64) { had[seq] = struct{}{} })
}

// byMonth cuts entries where the ledger's partition changes.
func byMonth(entries []journal.Entry) [][]journal.Entry {
	var parts [][]journal.Entry
	start := 0
	for i := 1; i <= len(entries); i++ {
		if i == len(entries) || month(entries[i]) != month(entries[start]) {
			parts = append(parts, entries[start:i])
			start = i
		}
	}
	return parts
}

func month(e journal.Entry) int {
	t := e.StoredAt.UTC()
	return 12*t.Year() + int(t.Month())
}
