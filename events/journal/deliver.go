package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
)

// deliverAhead is how many entries a delivery has in hand at most.
const deliverAhead = 256

// ackTimeout bounds the wait for an acknowledgement to be confirmed.
const ackTimeout = 2 * time.Second

// redeliverAfter is when what the server sent and nobody acknowledged comes again: a
// message can be lost with a connection, and no later one may show it.
const redeliverAfter = 2 * time.Minute

// CreateDelivery makes the durable consumer that Deliver reads; one that is
// there already with the same filter stays as it is.
func (j *Journal) CreateDelivery(ctx context.Context, c events.ConsumerCreated) error {
	deliver := jetstream.DeliverAllPolicy
	if c.FromNow {
		deliver = jetstream.DeliverNewPolicy
	}
	_, err := j.conn.Load().js.CreateConsumer(ctx, c.Stream, jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubject: c.Filter, DeliverPolicy: deliver, AckPolicy: jetstream.AckAllPolicy,
		AckWait: redeliverAfter, MaxAckPending: deliverAhead,
	})
	if err != nil {
		return fmt.Errorf("consumer %s of %s: %w", c.Name, c.Stream, err)
	}
	return nil
}

// Deliver hands what a durable consumer made by CreateDelivery gets to handle,
// in the order of the stream, at most as many at once as most says, without
// waiting for more than there are. What handle returned nil for is acknowledged;
// whoever delivers next goes on after it. An error of handle, and the end of
// ctx, end Deliver and come back. An entry that could not be decoded has no Data
// but Raw.
//
// One may deliver at a time: see [Journal.Lease]. It first sets the consumer back
// to what is acknowledged (nats-server 2.14 or later), so that what another had in
// hand when it died comes before all else.
func (j *Journal) Deliver(ctx context.Context, stream, durable string, most int, handle func(context.Context, []Entry) error) error {
	for {
		c := j.conn.Load()
		err := deliver(ctx, c, stream, durable, min(most, deliverAhead), handle)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var own *handleError
		if errors.As(err, &own) {
			return own.err
		}
		if errors.Is(err, errGap) {
			continue
		}
		select {
		case <-c.gone: // over the next connection
		default:
			return fmt.Errorf("deliver %s of %s: %w", durable, stream, err)
		}
	}
}

// handleError is what handle returned.
type handleError struct{ err error }

func (e *handleError) Error() string { return e.err.Error() }

// deliver reads over one connection, until it is gone.
func deliver(ctx context.Context, c *conn, stream, durable string, most int, handle func(context.Context, []Entry) error) error {
	reading, stop := untilGone(ctx, c)
	defer stop()
	// First, because setting back what is not there is left unanswered.
	if _, err := c.js.Consumer(reading, stream, durable); errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("how far it was is not known any more, because its durable was removed from the stream: remove the consumer, and add another: %w", err)
	} else if err != nil {
		return err
	}
	if _, err := c.js.ResetConsumer(reading, stream, durable); err != nil {
		return fmt.Errorf("set back to what is acknowledged: %w", err)
	}
	consumer, err := c.js.Consumer(reading, stream, durable)
	if err != nil {
		return err
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(deliverAhead), jetstream.PullHeartbeat(heartbeat), jetstream.PullExpiry(3*heartbeat))
	if err != nil {
		return err
	}
	defer it.Stop()
	defer context.AfterFunc(reading, it.Stop)()
	last := consumer.CachedInfo().AckFloor.Stream
	var position uint64 // of the consumer, which counts from 1 once it was set back
	for {
		entries, final, err := ready(it, most, &last, &position)
		if errors.Is(err, nats.ErrTimeout) {
			if err = ours(reading, consumer); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if err := handle(reading, entries); err != nil {
			return &handleError{err}
		}
		// Confirmed, because setting back overtakes what is on its way.
		confirm, done := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
		err = final.DoubleAck(confirm)
		done()
		if err != nil {
			return err
		}
	}
}

// errGap says that a message got lost on its way, or went to somebody else: to a
// request that the last deliverer left, say.
var errGap = errors.New("a message is missing")

// ours tells, when nothing is in hand, that nothing is in anybody's: a deliverer
// that does not know that it is none any more still asks, and is given.
func ours(ctx context.Context, consumer jetstream.Consumer) error {
	info, err := consumer.Info(ctx)
	if err == nil && info.NumAckPending > 0 {
		err = fmt.Errorf("%w: somebody else has it", errGap)
	}
	return err
}

// ready waits for an entry, for a while, and takes those that are there besides.
func ready(it jetstream.MessagesContext, most int, last, position *uint64) (out []Entry, final jetstream.Msg, err error) {
	for len(out) < most {
		wait := heartbeat
		if len(out) > 0 {
			wait = time.Millisecond
		}
		m, err := it.Next(jetstream.NextMaxWait(wait))
		switch {
		case err != nil && len(out) > 0:
			return out, final, nil // whatever it is, it comes again
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			continue
		case err != nil:
			return nil, nil, err
		}
		e, meta, err := undecoded(m)
		if err != nil {
			return nil, nil, err
		}
		e.Event, _ = decode(e)
		place := meta.Sequence.Consumer
		if place != *position+1 {
			return nil, nil, fmt.Errorf("%w before sequence %d", errGap, e.Seq)
		}
		*position = place
		if e.Seq <= *last {
			continue // it was in hand for so long that it came again
		}
		*last = e.Seq
		out, final = append(out, e), m
	}
	return out, final, nil
}

// ErrGone says that a stream does not have a message, or has it no more.
var ErrGone = errors.New("no such message")

// At returns the entry at a sequence of a stream. The error wraps [ErrGone] if there is
// none.
func (j *Journal) At(ctx context.Context, stream string, seq uint64) (Entry, error) {
	fail := func(err error) (Entry, error) {
		return Entry{}, fmt.Errorf("stream %s at %d: %w", stream, seq, err)
	}
	m, err := j.conn.Load().message(ctx, stream, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return fail(err)
	}
	e := Entry{Stream: stream, Channel: m.Subject, Seq: m.Sequence, StoredAt: m.Time, Raw: m.Data}
	if d, err := events.Decode(m.Data); err == nil {
		e.Event = d
	}
	return e, nil
}
