package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/posternhq/postern/events/journal"
)

// ErrOrigin says that the tables hold events of other streams than those that are read.
var ErrOrigin = errors.New("the tables are of other streams")

// Stream is a stream as CheckOrigin needs it.
type Stream interface {
	// Last is the sequence of the stream's last message, 0 for none.
	Last(ctx context.Context, stream string) (uint64, error)
	// At reads a message, by an error that wraps journal.ErrGone one that is not there.
	At(ctx context.Context, stream string, seq uint64) (journal.Entry, error)
}

// CheckOrigin wraps ErrOrigin if what the ledger has of a stream cannot have come from
// it: because there is more of it, or because the first and the last event that both
// could have are others. One alone that is another was changed, which is for evidence to
// find. What a stream has lost at its beginning, and what the ledger no longer keeps,
// says nothing.
func (s *Store) CheckOrigin(ctx context.Context, from Stream, stream string) error {
	last, err := from.Last(ctx, stream)
	if err != nil {
		return err
	}
	var floor, lowest, highest uint64
	if err := s.tables.QueryRow(ctx, `SELECT max(floor) FROM ledger_floors WHERE stream = ?`, stream).Scan(&floor); err != nil {
		return fmt.Errorf("floor of %s: %w", stream, err)
	}
	if err := s.tables.QueryRow(ctx, `SELECT min(seq), max(seq) FROM events WHERE stream = ?`, stream).Scan(&lowest, &highest); err != nil {
		return fmt.Errorf("sequences of %s: %w", stream, err)
	}
	if has := max(floor, highest); has > last {
		return fmt.Errorf("%w: they have %s up to %d, and the stream ends at %d", ErrOrigin, stream, has, last)
	}
	rows, err := s.tables.Query(ctx, `SELECT seq, event_id FROM events WHERE stream = ? AND seq IN (?, ?)`, stream, lowest, highest)
	if err != nil {
		return fmt.Errorf("events of %s: %w", stream, err)
	}
	defer rows.Close()
	var others, compared int
	for rows.Next() {
		var seq uint64
		var id string
		if err := rows.Scan(&seq, &id); err != nil {
			return fmt.Errorf("events of %s: %w", stream, err)
		}
		e, err := from.At(ctx, stream, seq)
		if errors.Is(err, journal.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		compared++
		if head(&e).id != id {
			others++
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("events of %s: %w", stream, err)
	}
	if compared > 0 && others == compared {
		return fmt.Errorf("%w: they have other events of %s than the stream", ErrOrigin, stream)
	}
	return nil
}
