package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// stored is what the ledger has of a stream.
type stored struct {
	// floor: every sequence up to it is stored, or was never to be had.
	floor uint64
	// above holds the stored sequences beyond the first gap.
	above map[uint64]struct{}
}

func (s *stored) has(seq uint64) bool {
	if seq <= s.floor {
		return true
	}
	_, ok := s.above[seq]
	return ok
}

// add notes a sequence and moves the floor over what is now without gaps.
func (s *stored) add(seq uint64) {
	if seq != s.floor+1 {
		if seq > s.floor {
			s.above[seq] = struct{}{}
		}
		return
	}
	s.floor = seq
	for len(s.above) > 0 {
		if _, ok := s.above[s.floor+1]; !ok {
			return
		}
		s.floor++
		delete(s.above, s.floor)
	}
}

// readStored asks the ledger which sequences of a stream it has. It counts only
// beyond the last floor that was written down, and writes the new one down.
func (s *Store) readStored(ctx context.Context, stream string) (*stored, error) {
	st := &stored{above: map[uint64]struct{}{}}
	row := s.tables.QueryRow(ctx, `SELECT max(floor) FROM ledger_floors WHERE stream = ?`, stream)
	if err := row.Scan(&st.floor); err != nil {
		return nil, fmt.Errorf("floor of %s: %w", stream, err)
	}
	known := st.floor
	first := known == 0
	err := s.eachStored(ctx, stream, known+1, math.MaxUint64, func(seq uint64) {
		if first { // the first batch ever is stored first: what is below was gone by then
			st.floor, first = seq-1, false
		}
		st.add(seq)
	})
	if err != nil {
		return nil, err
	}
	return st, s.writeFloor(ctx, stream, known, st.floor)
}

// Mark reads a place in a stream that a reader of the ledger wrote down.
func (s *Store) Mark(ctx context.Context, name string) (uint64, error) {
	var at uint64
	err := s.tables.QueryRow(ctx, `SELECT max(floor) FROM ledger_floors WHERE stream = ?`, name).Scan(&at)
	if err != nil {
		return 0, fmt.Errorf("mark %s: %w", name, err)
	}
	return at, nil
}

// SetMark writes it down; a mark only ever moves up.
func (s *Store) SetMark(ctx context.Context, name string, at uint64) error {
	return s.writeFloor(ctx, name, 0, at)
}

func (s *Store) writeFloor(ctx context.Context, stream string, known, floor uint64) error {
	if floor <= known {
		return nil
	}
	err := s.tables.Exec(s.inserting(ctx, ""), `INSERT INTO ledger_floors (stream, floor, at) VALUES (?, ?, ?)`, stream, floor, time.Now().UTC())
	if err != nil {
		return fmt.Errorf("floor of %s: %w", stream, err)
	}
	return nil
}

const insertEvents = `INSERT INTO events (stream, seq, stored_at, event_id, type, source, channel, thing, event_time, correlation_id, causation_id, sequence, problem, raw, signature, signature_reason)`

// insertLedger writes entries of one stream and one partition as one block, which
// is stored whole or not at all.
func (k *Sink) insertLedger(ctx context.Context, token string, entries []journal.Entry, signatures Signatures) error {
	id := clickhouse.WithQueryID(k.store.queryPrefix(k.stream) + rand.Text())
	ctx, cancel := context.WithTimeout(ctx, k.store.atMost)
	defer cancel()
	b, err := k.store.ledgerTo.PrepareBatch(clickhouse.Context(k.store.inserting(ctx, token), id), insertEvents)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer b.Abort()
	if k.held != nil && !k.held() { // asked when the server knows of the insert, see TakeOver
		return ErrNotHeld
	}
	for i := range entries {
		e := &entries[i]
		h := head(e)
		sig := signatures[e.Seq]
		err := b.Append(e.Stream, e.Seq, e.StoredAt.UTC(), h.id, h.typ, h.source, e.Channel, h.thing,
			h.time.UTC(), e.CorrelationID, e.CausationID, e.Sequence, h.problem, e.Raw, sig.State, sig.Reason)
		if err != nil {
			return fmt.Errorf("ledger: %s %d: %w", e.Stream, e.Seq, err)
		}
		if err := flushed(b); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	if err := b.Send(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// heading is what the ledger says about a message beside its place.
type heading struct {
	id, typ, source, thing, problem string
	time                            time.Time
}

// head reads a message's heading, also where this version doesn't know its
// type or it is no CloudEvent at all.
func head(e *journal.Entry) heading {
	h := heading{id: e.ID, source: e.Source, time: e.Time}
	if h.time.Year() < 1970 || h.time.Year() > 2200 {
		h.time = e.StoredAt
	}
	if e.Data != nil {
		h.typ, h.thing = string(e.Data.Type()), e.Data.Thing()
		return h
	}
	var ce struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		Source  string `json:"source"`
		Subject string `json:"subject"`
	}
	if err := json.Unmarshal(e.Raw, &ce); err != nil {
		h.problem = "not a CloudEvent in JSON: " + err.Error()
		return h
	}
	h.id, h.typ, h.source, h.thing = ce.ID, ce.Type, ce.Source, ce.Subject
	h.problem = "could not be read as " + ce.Type
	if _, err := events.Decode(e.Raw); err != nil {
		h.problem = err.Error()
		if errors.Is(err, events.ErrUnknownType) {
			h.problem = "unknown event type"
		}
	}
	return h
}
