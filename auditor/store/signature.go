package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Signature says whether a broker decided an event of ACCESS.
type Signature struct {
	// State is one of the constants below; empty where it was not looked at.
	State string
	// Reason is what is wrong with it.
	Reason string
}

// The states of a signature.
const (
	SignatureValid    = "valid"
	SignatureUnsigned = "unsigned"
	SignatureInvalid  = "invalid"
)

// Forged is whether no broker decided the event.
func (s Signature) Forged() bool { return s.State == SignatureUnsigned || s.State == SignatureInvalid }

// Signatures are those of a batch, by sequence.
type Signatures map[uint64]Signature

// Genuine leaves out what is forged.
func (s Signatures) Genuine(entries []journal.Entry) []journal.Entry {
	forged := func(e journal.Entry) bool { return s[e.Seq].Forged() }
	if !slices.ContainsFunc(entries, forged) {
		return entries
	}
	return slices.DeleteFunc(slices.Clone(entries), forged)
}

// headsAtOnce bounds the channels in one statement.
const headsAtOnce = 500

// Revisions returns the last genuine revision of each of some channels of ACCESS
// below a sequence.
func (s *Store) Revisions(ctx context.Context, channels []string, below uint64) (map[string]uint64, error) {
	out := map[string]uint64{}
	for part := range slices.Chunk(channels, headsAtOnce) {
		rows, err := s.tables.Query(ctx, `SELECT channel, max(sequence) FROM events
			WHERE stream = ? AND seq < ? AND signature = ? AND channel IN (?) GROUP BY channel`, events.Access, below, SignatureValid, part)
		if err != nil {
			return nil, fmt.Errorf("revisions of ACCESS: %w", err)
		}
		for rows.Next() {
			var channel string
			var revision uint64
			if err = rows.Scan(&channel, &revision); err != nil {
				break
			}
			out[channel] = revision
		}
		if err == nil {
			err = rows.Err()
		}
		_ = rows.Close()
		if err != nil {
			return nil, fmt.Errorf("revisions of ACCESS: %w", err)
		}
	}
	return out, nil
}
