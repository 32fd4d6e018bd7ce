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

// lastWait is how long the last one does, of a reader that does not follow.
const lastWait = 500 * time.Millisecond

// OutstandingError is of a reader that wanted all there is and leaves some behind.
type OutstandingError struct {
	// Pending events were not delivered, Unacknowledged ones were, to somebody who did
	// not acknowledge them.
	Pending, Unacknowledged uint64
}

func (e *OutstandingError) Error() string {
	return fmt.Sprintf("%d events were not delivered and %d, which were, are not acknowledged: another reader has them, or they are no events: read again later", e.Pending, e.Unacknowledged)
}

// Read hands what a durable consumer made by CreateConsumer gets to handle, one
// by one, and acknowledges what handle returned nil for; an error of handle ends
// it, and gives back what else was in hand. It goes on until ctx ends (which is not an
// error) or, unless follow, until there is nothing more: what a reader before had in hand
// when it died, and which comes again and once more, is waited for. What does not come
// then is an *OutstandingError. An entry that could not be decoded has no Data but Raw.
func (j *Journal) Read(ctx context.Context, stream, durable string, follow bool, handle func(context.Context, Entry) error) error {
	c := j.conn.Load()
	fail := func(err error) error {
		if !c.nc.IsConnected() {
			err = fmt.Errorf("the connection to NATS is lost: read again once it is there: %w", err)
		}
		return fmt.Errorf("read consumer %s of %s: %w", durable, stream, err)
	}
	defer c.nc.FlushTimeout(commitTimeout) // acknowledgements
	consumer, err := c.js.Consumer(ctx, stream, durable)
	if err != nil {
		return fail(err)
	}
	r := &read{consumer: consumer, follow: follow, now: j.now, came: j.now()}
	for ctx.Err() == nil {
		batch, err := r.fetch(ctx)
		if batch == nil || err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fail(err)
			}
			return nil
		}
		for m := range batch.Messages() {
			e, err := entry(m)
			if err != nil && e.Seq == 0 {
				return fail(err)
			}
			if err := handle(ctx, e); err != nil {
				giveBack(m, batch)
				return err
			}
			if err := m.Ack(); err != nil {
				return fail(err)
			}
			r.came, r.idle, r.last = r.now(), 0, false // after it was handled, which may take long
		}
		if err := batch.Error(); err != nil && ctx.Err() == nil {
			return fail(err)
		}
	}
	return nil
}

// giveBack has the server deliver a message, and those of a batch that were not looked
// at, again at once. It is a favour: else they come again by themselves, later.
func giveBack(m jetstream.Msg, rest jetstream.MessageBatch) {
	_ = m.Nak()
	for m := range rest.Messages() {
		_ = m.Nak()
	}
}

// read is what one call of Read remembers.
type read struct {
	consumer jetstream.Consumer
	follow   bool
	now      func() time.Time
	came     time.Time // when the last message was handled, or the start
	idle     int       // questions since
	last     bool      // asked whether there is really nothing more
}

// fetch takes what there is; where there is nothing, it waits for one. It returns nil
// where nothing can come.
func (r *read) fetch(ctx context.Context) (jetstream.MessageBatch, error) {
	info, err := r.consumer.Info(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case r.follow && info.NumPending == 0:
		return r.consumer.Fetch(1, jetstream.FetchMaxWait(fetchWait))
	case !r.follow && info.NumPending == 0 && info.NumAckPending == 0:
		if r.last {
			return nil, nil
		}
		// The server tells consumers what is stored a moment after it told the publisher;
		// one who asks for a message has it look.
		r.last = true
		return r.consumer.Fetch(1, jetstream.FetchMaxWait(lastWait))
	case !r.follow && r.now().Sub(r.came) > info.Config.AckWait+2*fetchWait:
		return nil, &OutstandingError{info.NumPending, uint64(info.NumAckPending)}
	case info.NumPending > 0 && r.idle == 0:
		r.idle++
		return r.consumer.FetchNoWait(fetchMost)
	}
	// In somebody's hands: our own, for a moment, where they were acknowledged just now.
	wait := min(fetchWait, 20*time.Millisecond<<min(r.idle, 8))
	r.idle++
	return r.consumer.Fetch(1, jetstream.FetchMaxWait(wait))
}
