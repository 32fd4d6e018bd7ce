package store

import (
	"context"
	"fmt"
	"iter"

	"github.com/posternhq/postern/auditor/tlog"
)

// Highest is the highest sequence of a stream in the ledger, 0 if there is none.
func (s *Store) Highest(ctx context.Context, stream string) (uint64, error) {
	var seq uint64
	if err := s.conn.QueryRow(ctx, `SELECT max(seq) FROM events WHERE stream = ?`, stream).Scan(&seq); err != nil {
		return 0, fmt.Errorf("highest sequence of %s: %w", stream, err)
	}
	return seq, nil
}

// leafHash is what the column hash is made by. That one could be made otherwise, to say of
// rows that were changed what it said before.
const leafHash = `lower(hex(SHA256(concat(channel, '\n', toString(toUnixTimestamp64Nano(stored_at)), '\n', raw))))`

// Leaves yields what the ledger has of a stream after a sequence up to another,
// every row as the transparency log should have it. An error ends it.
func (s *Store) Leaves(ctx context.Context, stream string, after, until uint64) iter.Seq2[tlog.Leaf, error] {
	return func(yield func(tlog.Leaf, error) bool) {
		fail := func(err error) { yield(tlog.Leaf{}, fmt.Errorf("leaves of %s: %w", stream, err)) }
		rows, err := s.conn.Query(ctx, `SELECT seq, `+leafHash+` FROM events WHERE stream = ? AND seq > ? AND seq <= ? ORDER BY stream, seq`, stream, after, until)
		if err != nil {
			fail(err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			l := tlog.Leaf{Stream: stream}
			var hash string
			err := rows.Scan(&l.Seq, &hash)
			if err == nil {
				l.Hash, err = tlog.ParseHash(hash)
			}
			if err != nil {
				fail(err)
				return
			}
			if !yield(l, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			fail(err)
		}
	}
}
