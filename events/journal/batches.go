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
	// MaxWait ends a batch that has at least one entry; 0 means 250 ms.
	MaxWait time.Duration
}

// Batches hands consecutive entries to handle, batch by batch, until ctx ends.
// A batch is acknowledged, and the acknowledgement confirmed, only after handle
// returned nil; until then handle gets the very same entries again, with
// growing pauses. So a sink that remembers (stream, first, last) of a batch, or
// the sequences it stored, takes every entry effectively once.
//
// An entry that could not be decoded has no Data but Raw.
func (j *Journal) Batches(ctx context.Context, c BatchConfig, handle func(context.Context, []Entry) error) error {
	if c.MaxEntries == 0 {
		c.MaxEntries = 10_000
	}
	if c.MaxWait == 0 {
		c.MaxWait = 250 * time.Millisecond
	}
	err := j.batches(ctx, c, handle)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("batches of %s for %s: %w", c.Stream, c.Durable, err)
}

func (j *Journal) batches(ctx context.Context, c BatchConfig, handle func(context.Context, []Entry) error) error {
	// A consumer can't be moved, so it is made anew at the caller's position: what
	// an earlier process was given and did not finish comes again, first.
	err := j.js.DeleteConsumer(ctx, c.Stream, c.Durable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	consumer, err := j.js.CreateConsumer(ctx, c.Stream, jetstream.ConsumerConfig{
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
	it, err := consumer.Messages(jetstream.PullMaxMessages(c.MaxEntries))
	if err != nil {
		return err
	}
	defer it.Stop()

	last := c.After
	entries := make([]Entry, 0, c.MaxEntries)
	for {
		entries = entries[:0]
		var final jetstream.Msg
		window, cancel := ctx, context.CancelFunc(func() {})
		for len(entries) < c.MaxEntries {
			m, err := it.Next(jetstream.NextContext(window))
			if err != nil {
				if len(entries) > 0 && window.Err() != nil {
					break // the batch's time is up
				}
				if errors.Is(err, jetstream.ErrNoHeartbeat) {
					continue
				}
				cancel()
				return err
			}
			e, _, err := entry(m)
			if err != nil && e.Seq == 0 {
				cancel()
				return err
			}
			if e.Seq <= last {
				continue // delivered again; handled before
			}
			if e.Seq != last+1 && last != 0 {
				cancel()
				return fmt.Errorf("sequence %d came after %d", e.Seq, last)
			}
			last = e.Seq
			final = m
			if len(entries) == 0 {
				window, cancel = context.WithTimeout(ctx, c.MaxWait)
			}
			entries = append(entries, e)
		}
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := handleUntilDone(ctx, entries, handle); err != nil {
			return err
		}
		if err := final.DoubleAck(ctx); err != nil && ctx.Err() == nil {
			// The sink has the batch; the position is for watchers only.
			continue
		}
	}
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
