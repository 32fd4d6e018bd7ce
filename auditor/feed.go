package auditor

import (
	"context"
	"sync"
	"time"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

// judgedStreams are what verdicts follow from.
func judgedStreams() []string { return []string{events.Access, events.Audit, events.CloudTrail} }

// feed is the judge's place in one stream. What a sink of this process has stored it
// hands over; what another auditor stored is read from the ledger. An entry may come
// twice: the state doesn't mind.
type feed struct {
	mu      sync.Mutex // held by who hands over
	started bool
	at      uint64 // everything up to it was handed over
	said    trouble.Said
}

// stop ends it: who hands over something at the time gets rid of it, as it is stored.
func (f *feed) stop(j *judge) {
	for !f.mu.TryLock() {
		select {
		case <-j.in:
		case <-j.trail:
		case <-time.After(time.Millisecond):
		}
	}
	defer f.mu.Unlock()
	f.started = false
}

// start begins after what is stored and will be read otherwise.
func (f *feed) start(at uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started, f.at = true, at
	return at
}

// feedEvery is how often the judge looks for what others stored: more seldom than
// batches are written.
const feedEvery = 2 * batchWait

const (
	// farBehind is how old entries are that wait for others without anybody noticing,
	// waitAtMost how long.
	farBehind  = 30 * time.Second
	waitAtMost = time.Second
)

// together lets AUDIT wait for CLOUDTRAIL while both are taken in after the fact. Then
// requests find their records in memory rather than in the store.
func (j *judge) together(ctx context.Context, entries []journal.Entry) {
	if len(entries) == 0 || time.Since(entries[len(entries)-1].StoredAt) < farBehind {
		return
	}
	j.farBehind.Store(time.Now().UnixNano())
	for begun := time.Now(); j.crowded.Load() && time.Since(begun) < waitAtMost && sleep(ctx, 10*time.Millisecond); {
	}
}

// unhurried lets verdicts wait for others while the judge catches up: they come faster than
// they are worth inserts of their own.
func (j *judge) unhurried(ctx context.Context, stream string, entries []journal.Entry) {
	if stream == events.Findings && time.Since(time.Unix(0, j.farBehind.Load())) < 2*waitAtMost && len(entries) < batchEntries/2 {
		sleep(ctx, 2*batchWait)
	}
}

// take hands over what was just stored, after what was stored before it.
func (j *judge) take(ctx context.Context, stream string, entries []journal.Entry, floor, before uint64) error {
	f := j.feeds[stream]
	if f == nil {
		return nil
	}
	f.mu.Lock() // from here on nobody reads it from the ledger
	defer f.mu.Unlock()
	if stream == events.Audit {
		j.together(ctx, entries)
	}
	if !f.started || floor <= f.at {
		return nil
	}
	if f.at < before {
		if err := j.fill(ctx, f, stream, before); err != nil {
			return nil // it is stored: follow reads it
		}
	}
	j.hand(ctx, f, j.portion(stream, entries, floor))
	return nil
}

// portion is what the judge reads of entries: a small part of their bytes, and the
// rest is not kept while they wait. Of a request that ended among them it reads the end,
// which says all that its beginning does.
func (j *judge) portion(stream string, entries []journal.Entry, floor uint64) portion {
	p := portion{stream: stream, floor: floor}
	if stream == events.CloudTrail {
		p.records = make([]correlate.Record, 0, len(entries))
	} else {
		p.told = make([]any, 0, len(entries))
	}
	ended := map[string]bool{}
	for i := range entries {
		switch d := entries[i].Data.(type) {
		case *events.AWSRequestCompleted:
			ended[d.RequestID] = true
		case *events.AWSRequestFailed:
			ended[d.RequestID] = true
		}
	}
	for i := range entries {
		seq := entries[i].Seq
		switch d := entries[i].Data.(type) {
		case *events.CloudTrailRecordReceived:
			if r, ok := record(d, seq); ok && !j.a.tooOld(r.EventTime) {
				p.records = append(p.records, r)
			}
		case *events.AWSRequestAdmitted:
			if !ended[d.RequestID] {
				p.told = append(p.told, request(&d.AWSRequest, correlate.InFlight, seq))
			}
		case *events.AWSRequestCompleted:
			r := request(&d.AWSRequest, correlate.Completed, seq)
			r.AWSRequestID, r.Took = d.AWSRequestID, time.Duration(d.DurationMicros)*time.Microsecond
			p.told = append(p.told, r)
		case *events.AWSRequestFailed:
			if d.Stage == "forward" {
				p.told = append(p.told, request(&d.AWSRequest, correlate.Failed, seq))
			} else {
				p.told = append(p.told, withdrawn(d.RequestID))
			}
		case nil, *events.AWSRequestDenied:
		default:
			p.told = append(p.told, entries[i].Event)
		}
	}
	return p
}

// follow hands over what others stored, as far as it is stored without gaps. What a
// sink of this process stores is left to it, but for what it found stored.
func (j *judge) follow(ctx context.Context, stream string) {
	f := j.feeds[stream]
	var seen uint64 // the floor of the last look
	for sleep(ctx, feedEvery) {
		floor := j.a.Floor(stream)
		moved := floor != seen
		seen = floor
		if moved && j.a.sinking[stream].Load() || !f.mu.TryLock() {
			continue
		}
		if f.started && f.at < floor {
			_ = j.fill(ctx, f, stream, floor)
		}
		f.mu.Unlock()
	}
}

// fill reads from the ledger what was not handed over, up to a sequence. It says why it
// cannot; whoever calls it does again.
func (j *judge) fill(ctx context.Context, f *feed, stream string, until uint64) error {
	for f.at < until {
		p, err := j.stored(ctx, stream, f.at, until)
		switch log := &j.a.c.Log; {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && f.said.News(err):
			log.Warn().Err(err).Str("stream", stream).Msg("judge: what was stored cannot be read; trying again")
		case err == nil && f.said.Over():
			log.Info().Str("stream", stream).Msg("judge: what was stored is read again")
		}
		if err != nil {
			return err
		}
		if !j.hand(ctx, f, p) {
			return ctx.Err()
		}
	}
	return nil
}

// hand waits until the judge takes a portion.
func (j *judge) hand(ctx context.Context, f *feed, p portion) bool {
	to := j.in
	if p.stream == events.CloudTrail {
		to = j.trail
	}
	select {
	case to <- p:
		f.at = p.floor
		return true
	case <-j.ended:
	case <-ctx.Done():
	}
	return false // it is stored; the next start reads it from there
}

// stored reads a page of the ledger: what is genuine in it.
func (j *judge) stored(ctx context.Context, stream string, after, until uint64) (portion, error) {
	rows, err := j.a.store.Conn().Query(ctx, `SELECT seq, channel, stored_at, signature IN ('', 'valid'), raw FROM events WHERE stream = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?`, stream, after, until, batchRecords)
	if err != nil {
		return portion{}, err
	}
	defer rows.Close()
	var entries []journal.Entry
	read, floor := 0, until
	for rows.Next() {
		e := journal.Entry{Stream: stream}
		var genuine bool
		var raw string
		if err := rows.Scan(&e.Seq, &e.Channel, &e.StoredAt, &genuine, &raw); err != nil {
			return portion{}, err
		}
		if read++; read == batchRecords {
			floor = e.Seq
		}
		e.Raw = []byte(raw)
		if e.Event, err = events.Decode(e.Raw); err == nil && genuine {
			entries = append(entries, e)
		}
	}
	return j.portion(stream, entries, floor), rows.Err()
}
