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
