package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// BatchConfig says what Batches reads and in what portions.
type BatchConfig struct {
	Stream string
	// Durable is the name of the consumer, by which its lag can be watched.
	Durable string
	// After is the last sequence that the caller has for certain. The caller's
	// own store, not the consumer, is the truth about what was handled.
	After uint64
	// MaxEntries ends a batch; 0 means 10,000.
	MaxEntries int
	// MaxWait ends a batch that has at least one entry, since that arrived; 0 means
	// 250 ms.
	MaxWait time.Duration
	// Undecoded entries have their Raw bytes alone.
	Undecoded bool
}

// Batches hands consecutive entries to handle, batch by batch, until ctx ends.
// A batch is acknowledged, and the acknowledgement confirmed, only after handle
// returned nil; until then handle gets the very same entries again, with
// growing pauses. So a sink that remembers (stream, first, last) of a batch, or
// the sequences it stored, takes every entry effectively once.
//
// An entry that could not be decoded has no Data but Raw. The error wraps [ErrWentBack]
// where the stream is no longer the one that was read through this journal.
func (j *Journal) Batches(ctx context.Context, c BatchConfig, handle func(context.Context, []Entry) error) error {
	if c.MaxEntries == 0 {
		c.MaxEntries = 10_000
	}
	if c.MaxWait == 0 {
		c.MaxWait = 250 * time.Millisecond
	}
	for {
		conn := j.conn.Load()
		err := j.batches(ctx, conn, &c, handle)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrWentBack) {
			return fmt.Errorf("batches for %s: %w", c.Durable, err)
		}
		select {
		case <-conn.gone: // over the next connection
		default:
			return fmt.Errorf("batches of %s for %s: %w", c.Stream, c.Durable, err)
		}
	}
}

// batches reads over one connection. c.After goes on with what handle has taken.
func (j *Journal) batches(ctx context.Context, conn *conn, c *BatchConfig, handle func(context.Context, []Entry) error) error {
	reconnects := conn.nc.Stats().Reconnects // before it is looked at
	if err := conn.settled(ctx, c.Stream, c.After); err != nil {
		return err
	}
	// A consumer can't be moved, so it is made anew at the caller's position: what
	// an earlier process was given and did not finish comes again, first.
	err := conn.js.DeleteConsumer(ctx, c.Stream, c.Durable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	consumer, err := conn.js.CreateConsumer(ctx, c.Stream, jetstream.ConsumerConfig{
		Durable:       c.Durable,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   c.After + 1,
		AckPolicy:     jetstream.AckAllPolicy,
		AckWait:       time.Hour, // a batch waits for its sink for as long as it takes
		MaxAckPending: 4 * c.MaxEntries,
	})
	if err != nil {
		return err
	}
	// The connection's end stops the reading; a batch that the sink has begun stays
	// as it is until it is in.
	reading, stop := untilGone(ctx, conn)
	defer stop()
	reading, unwatch := conn.watch(reading, c.Stream)
	defer unwatch()
	read := make(chan arrival, c.MaxEntries/4)
	go func() {
		defer close(read)
		arrivals(reading, conn, consumer, *c, reconnects, read)
	}()
	entries := make([]Entry, 0, c.MaxEntries)
	for {
		clear(entries) // the next are gathered while these would be held
		entries = entries[:0]
		final, err := gather(reading, *c, read, &entries)
		if err != nil {
			return orWentBack(reading, err)
		}
		if err := handleUntilDone(ctx, entries, handle); err != nil {
			return err
		}
		c.After = entries[len(entries)-1].Seq
		// The sink has the batch, so a lost acknowledgement costs watchers a moment
		// of their view, and nobody an entry.
		_ = final.DoubleAck(ctx)
	}
}

// arrival is an entry on its way to a batch.
type arrival struct {
	at    time.Time
	entry Entry
	msg   jetstream.Msg
	err   error
}

// arrivals reads and decodes ahead of the sink. reconnects is how often the connection was
// made again when the stream was last looked at.
func arrivals(ctx context.Context, conn *conn, consumer jetstream.Consumer, c BatchConfig, reconnects uint64, to chan<- arrival) {
	it, err := consumer.Messages(jetstream.PullMaxMessages(max(100, c.MaxEntries/8)), jetstream.PullHeartbeat(heartbeat), jetstream.PullExpiry(3*heartbeat))
	if err != nil {
		to <- arrival{err: err}
		return
	}
	defer it.Stop()
	last := c.After
	known, doubtful := conn.known.of(c.Stream), false
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			if doubtful, err = true, vanished(ctx, consumer); err == nil {
				continue
			}
		}
		// The consumer outlives its server, and goes on in whatever stream that has now.
		// Where that is another than the one that we are connected to, it shows by what
		// comes again, or does not come, alone.
		if n := conn.nc.Stats().Reconnects; err == nil && (n != reconnects || doubtful && !comesAgain(m, last)) {
			if err = conn.settled(ctx, c.Stream, 0); err == nil {
				reconnects, doubtful = n, false
			}
		}
		a := arrival{at: time.Now(), msg: m, err: err}
		if err == nil {
			var undecodable error
			if c.Undecoded {
				a.entry, _, undecodable = undecoded(m)
			} else {
				a.entry, undecodable = entry(m)
			}
			switch seq := a.entry.Seq; {
			case seq == 0:
				a.err = undecodable
			case seq <= last:
				doubtful = true
				continue // delivered again; handled before
			case seq != last+1 && (last != 0 || conn.holdsBefore(ctx, c.Stream, seq)):
				a.err = fmt.Errorf("sequence %d came after %d", seq, last)
			default:
				last = seq
				known.took(&a.entry)
			}
		}
		select {
		case to <- a:
		case <-ctx.Done():
			return
		}
		if a.err != nil {
			return
		}
	}
}

// vanished is the error of a consumer that the server does not have any more: one that went
// while nobody was connected ends no reader by itself, and gives it nothing for ever.
func vanished(ctx context.Context, consumer jetstream.Consumer) error {
	_, err := consumer.Info(ctx)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return nil
}

// holdsBefore says that a stream begins before seq. A consumer of an empty one may pass over
// the first message if its server could not store that at once.
func (c *conn) holdsBefore(ctx context.Context, stream string, seq uint64) bool {
	s, err := c.js.Stream(ctx, stream)
	return err == nil && s.CachedInfo().State.FirstSeq < seq
}

// comesAgain says that a message is up to last in its stream.
func comesAgain(m jetstream.Msg, last uint64) bool {
	meta, err := m.Metadata()
	return err == nil && meta.Sequence.Stream <= last
}

// gather fills a batch: until it is full, or its first entry's time is up. That runs
// since the entry arrived, while the sink may have been busy; for a sink that is behind
// since now, so that it gets whole batches.
func gather(ctx context.Context, c BatchConfig, from <-chan arrival, entries *[]Entry) (final jetstream.Msg, err error) {
	behind := len(from) == cap(from)
	var up <-chan time.Time
	for waited := false; len(*entries) < c.MaxEntries; {
		if waited && len(from) == 0 {
			return final, nil
		}
		select {
		case a, ok := <-from:
			if !ok {
				return nil, ctx.Err()
			}
			if a.err != nil {
				return nil, a.err
			}
			if up == nil {
				wait := c.MaxWait
				if !behind {
					wait -= time.Since(a.at)
				}
				up = time.After(wait)
			}
			*entries, final = append(*entries, a.entry), a.msg
		case <-up:
			waited = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return final, nil
}

// handleUntilDone calls handle with the same entries until it takes them.
func handleUntilDone(ctx context.Context, entries []Entry, handle func(context.Context, []Entry) error) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		if handle(ctx, entries) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
