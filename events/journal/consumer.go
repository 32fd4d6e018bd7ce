package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
)

// Place is how far a durable consumer has come.
type Place struct {
	// Pending events have not been delivered yet, Unacknowledged ones have been.
	Pending, Unacknowledged uint64
	// AckedTo is the stream sequence to which all are acknowledged.
	AckedTo uint64
	// LastAck is zero before the first.
	LastAck time.Time
}

// CreateConsumer makes the durable pull consumer of somebody outside; one that
// is there already with the same filter stays as it is. It holds nothing of the
// stream back and costs the server its place alone, however far behind it is.
func (j *Journal) CreateConsumer(ctx context.Context, c events.ConsumerCreated) error {
	deliver := jetstream.DeliverAllPolicy
	if c.FromNow {
		deliver = jetstream.DeliverNewPolicy
	}
	_, err := j.conn.Load().js.CreateConsumer(ctx, c.Stream, jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubject: c.Filter, DeliverPolicy: deliver, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		return fmt.Errorf("consumer %s of %s: %w", c.Name, c.Stream, err)
	}
	return nil
}

// DeleteConsumer ends a durable consumer, if there is one.
func (j *Journal) DeleteConsumer(ctx context.Context, stream, name string) error {
	err := j.conn.Load().js.DeleteConsumer(ctx, stream, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("consumer %s of %s: %w", name, stream, err)
	}
	return nil
}

// PlaceOf looks at a durable consumer.
func (j *Journal) PlaceOf(ctx context.Context, stream, name string) (Place, error) {
	c, err := j.conn.Load().js.Consumer(ctx, stream, name)
	if err != nil {
		return Place{}, fmt.Errorf("consumer %s of %s: %w", name, stream, err)
	}
	info := c.CachedInfo()
	p := Place{Pending: info.NumPending, Unacknowledged: uint64(info.NumAckPending), AckedTo: info.AckFloor.Stream}
	if t := info.AckFloor.Last; t != nil {
		p.LastAck = *t
	}
	return p, nil
}

// fetchMost is how many events a reader has in hand.
const fetchMost = 100

// fetchWait is how long one question for more stays open.
const fetchWait = 2 * time.Second

// Read hands what a durable consumer made by CreateConsumer gets to handle, one
// by one, and acknowledges what handle returned nil for; an error of handle ends
// it. It goes on until ctx ends (which is not an error) or, unless follow, until
// there is nothing more. Whatever a reader before had in hand when it died comes
// again, later and once more. An entry that could not be decoded has no Data but Raw.
func (j *Journal) Read(ctx context.Context, stream, durable string, follow bool, handle func(context.Context, Entry) error) error {
	fail := func(err error) error { return fmt.Errorf("read consumer %s of %s: %w", durable, stream, err) }
	c := j.conn.Load()
	defer c.nc.FlushTimeout(commitTimeout) // acknowledgements
	consumer, err := c.js.Consumer(ctx, stream, durable)
	if err != nil {
		return fail(err)
	}
	for ctx.Err() == nil {
		batch, err := fetch(ctx, consumer, follow)
		if err != nil {
			return fail(err)
		}
		n := 0
		for m := range batch.Messages() {
			n++
			e, err := entry(m)
			if err != nil && e.Seq == 0 {
				return fail(err)
			}
			if err := handle(ctx, e); err != nil {
				return err
			}
			if err := m.Ack(); err != nil {
				return fail(err)
			}
		}
		switch err := batch.Error(); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fail(err)
		case n == 0 && !follow:
			return nil
		}
	}
	return nil
}

// fetch takes what there is; where there is nothing, following waits for one.
func fetch(ctx context.Context, c jetstream.Consumer, follow bool) (jetstream.MessageBatch, error) {
	if info, err := c.Info(ctx); err != nil || follow && info.NumPending == 0 {
		if err != nil {
			return nil, err
		}
		return c.Fetch(1, jetstream.FetchMaxWait(fetchWait))
	}
	return c.FetchNoWait(fetchMost)
}
