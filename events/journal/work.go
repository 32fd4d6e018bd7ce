package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// workWait is how long a worker has for an entry before another one gets it.
const workWait = 20 * time.Second

// Work hands the entries of a stream that match a filter to handle, one by one,
// until ctx ends (which is not an error). All who work under the same durable
// name share the entries; one is done when handle returned nil, and comes again,
// to anybody of them, when it did not or its worker died. So handle may see an
// entry more than once. An entry that could not be decoded has no Data but Raw.
func (j *Journal) Work(ctx context.Context, stream, durable, filter string, handle func(context.Context, Entry) error) error {
	for {
		c := j.conn.Load()
		err := work(ctx, c, stream, durable, filter, handle)
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-c.gone: // over the next connection
		default:
			return fmt.Errorf("work on %s of %s: %w", filter, stream, err)
		}
	}
}

// work reads over one connection, until it is gone.
func work(ctx context.Context, c *conn, stream, durable, filter string, handle func(context.Context, Entry) error) error {
	reading, stop := untilGone(ctx, c)
	defer stop()
	consumer, err := c.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy, AckWait: workWait,
	})
	if err != nil {
		return err
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.PullHeartbeat(heartbeat), jetstream.PullExpiry(3*heartbeat))
	if err != nil {
		return err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(reading))
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			if err = vanished(reading, consumer); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		e, err := entry(m)
		if err != nil && e.Seq == 0 {
			return err
		}
		if handle(ctx, e) != nil {
			_ = m.NakWithDelay(time.Second) // or it comes again when its time is over
			continue
		}
		_ = m.Ack() // one that is lost costs a second look
	}
}
