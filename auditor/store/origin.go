package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/posternhq/postern/events/journal"
)

// ErrOrigin says that the tables hold events of other streams than those that are read.
var ErrOrigin = errors.New("the tables are of other streams")

// CheckOrigin wraps ErrOrigin if what the ledger has of a stream cannot have come from
// it: the first and the last event that both could have are others, or none is in both
// and the ledger is ahead. One alone that is another was changed, which is for evidence to
// find; so is a stream that was put back to an earlier state, which it warns of, also where
// that has grown past what is stored by now, with the first sequence from which on the
// ledger has what the stream has not. What a stream has lost at its beginning, and what
// the ledger no longer keeps, says nothing.
func (s *Store) CheckOrigin(ctx context.Context, from *journal.Journal, stream string) error {
	var floor, highest, lowest uint64
	if err := s.tables.QueryRow(ctx, `SELECT max(floor) FROM ledger_floors WHERE stream = ?`, stream).Scan(&floor); err != nil {
		return fmt.Errorf("floor of %s: %w", stream, err)
	}
	if err := s.tables.QueryRow(ctx, `SELECT max(seq), min(seq) FROM events WHERE stream = ?`, stream).Scan(&highest, &lowest); err != nil {
		return fmt.Errorf("sequences of %s: %w", stream, err)
	}
	// After the ledger, to which others may add meanwhile what the stream has.
	last, err := from.Last(ctx, stream)
	if err != nil {
		return err
	}
	common := highest
	if highest > last {
		if err := s.tables.QueryRow(ctx, `SELECT max(seq) FROM events WHERE stream = ? AND seq <= ?`, stream, last).Scan(&common); err != nil {
			return fmt.Errorf("sequences of %s: %w", stream, err)
		}
	}
	rows, err := s.tables.Query(ctx, `SELECT seq, event_id FROM events WHERE stream = ? AND seq <= ? AND seq IN (?, ?)`, stream, last, lowest, common)
	if err != nil {
		return fmt.Errorf("events of %s: %w", stream, err)
	}
	defer rows.Close()
	var same, others int
	var sameAt, otherAt uint64 // the last of each
	for rows.Next() {
		var seq uint64
		var id string
		if err := rows.Scan(&seq, &id); err != nil {
			return fmt.Errorf("events of %s: %w", stream, err)
		}
		switch is, err := compare(ctx, from, stream, seq, id); {
		case errors.Is(err, journal.ErrGone):
		case err != nil:
			return err
		case is:
			same++
			sameAt = max(sameAt, seq)
		default:
			others++
			otherAt = max(otherAt, seq)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("events of %s: %w", stream, err)
	}
	has := max(floor, highest)
	first := last + 1
	switch {
	case same == 0 || others == 0:
	case otherAt < sameAt:
		first = otherAt
	default:
		if first, err = s.firstOther(ctx, from, stream, sameAt, otherAt); err != nil {
			return err
		}
	}
	switch {
	case same == 0 && others > 0:
		return fmt.Errorf("%w: they have other events of %s than the stream", ErrOrigin, stream)
	case same == 0 && has > last:
		return fmt.Errorf("%w: they have %s up to %d, and the stream ends at %d", ErrOrigin, stream, has, last)
	case others > 0:
		s.log.Error().Str("stream", stream).Uint64("stored", has).Uint64("last", last).Uint64("first", first).
			Msg("the stream has another event than the last, or the first, that is stored of it: it was put back to an earlier state and went on, or the tables were changed; what it has in place of what is stored is not stored; see postern audit verify")
	case has > last:
		s.log.Error().Str("stream", stream).Uint64("stored", has).Uint64("last", last).Uint64("first", first).
			Msg("the stream was put back to an earlier state: what is written to it now is not stored until it is past what is stored; see postern audit verify")
	}
	return nil
}

// firstOther is the first sequence after same of which the ledger has another event than
// the stream, in a ledger and a stream that parted once: somewhere up to other.
func (s *Store) firstOther(ctx context.Context, from *journal.Journal, stream string, same, other uint64) (uint64, error) {
	for other-same > 1 {
		half := same + (other-same)/2
		var seq uint64
		var id string
		err := s.tables.QueryRow(ctx, `SELECT max(seq), argMax(event_id, seq) FROM events WHERE stream = ? AND seq > ? AND seq <= ?`, stream, same, half).Scan(&seq, &id)
		if err != nil {
			return 0, fmt.Errorf("events of %s: %w", stream, err)
		}
		if seq == 0 { // the ledger has none of these
			same = half
			continue
		}
		switch is, err := compare(ctx, from, stream, seq, id); {
		case errors.Is(err, journal.ErrGone):
			same = half
		case err != nil:
			return 0, err
		case is:
			same = half
		default:
			other = seq
		}
	}
	return other, nil
}

// compare says whether a stream has an event at a sequence. The error wraps
// [journal.ErrGone] if it has none.
func compare(ctx context.Context, from *journal.Journal, stream string, seq uint64, id string) (bool, error) {
	e, err := from.At(ctx, stream, seq)
	return err == nil && head(&e).id == id, err
}
