package journal

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
)

// Entry is an event as it stands in a stream.
type Entry struct {
	// Event's Data is nil where it could not be decoded.
	events.Event
	Stream  string
	Channel string
	// Seq is the sequence in the stream, from 1.
	Seq      uint64
	StoredAt time.Time
	// Raw is the message as stored.
	Raw []byte
}

// readAhead is how many messages a reader asks for at once.
const readAhead = 1000

// heartbeat is how often the server tells a reader for whom it has nothing that it
// is still there. After two that are missing, Follow asks again and Replay fails:
// a pull request can be lost with the node that took it.
const heartbeat = 3 * time.Second

// Replay yields what a stream holds at the time of the call, in order, and
// ends. Filters are NATS subjects with wildcards; none means all.
//
// An event that can't be decoded comes as an Entry with Raw and an error; the
// loop may go on. Any other error comes with Seq 0 and ends the loop.
func (j *Journal) Replay(ctx context.Context, stream string, filters ...string) iter.Seq2[Entry, error] {
	return j.ReplayAfter(ctx, stream, 0, filters...)
}

// ReplayAfter is Replay of what has a sequence above after.
func (j *Journal) ReplayAfter(ctx context.Context, stream string, after uint64, filters ...string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		fail := func(err error) { yield(Entry{}, fmt.Errorf("replay %s: %w", stream, err)) }
		consumer, err := j.conn.Load().js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			FilterSubjects:    filters,
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       after + 1,
			AckPolicy:         jetstream.AckNonePolicy,
			MemoryStorage:     true,
			InactiveThreshold: time.Minute,
			Replicas:          1,
		})
		if err != nil {
			fail(err)
			return
		}
		info := consumer.CachedInfo()
		defer func() { _ = j.conn.Load().js.DeleteConsumer(context.WithoutCancel(ctx), stream, info.Name) }()
		left := info.NumPending
		if left == 0 {
			return
		}
		it, err := consumer.Messages(jetstream.PullMaxMessages(readAhead), jetstream.PullHeartbeat(heartbeat))
		if err != nil {
			fail(err)
			return
		}
		defer it.Stop()
		for delivered := uint64(1); left > 0; delivered++ {
			m, err := it.Next(jetstream.NextContext(ctx))
			if err != nil {
				fail(err)
				return
			}
			e, position, err := entry(m)
			if err == nil && position != delivered {
				err = fmt.Errorf("message %d came in place of %d", position, delivered)
			}
			if err != nil && e.Seq == 0 {
				fail(err)
				return
			}
			left--
			if !yield(e, err) {
				return
			}
		}
	}
}

// Follow yields the entries with a sequence above after, those to come
// included, until ctx ends (which is not an error). Errors are as in Replay.
func (j *Journal) Follow(ctx context.Context, stream string, after uint64, filters ...string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			c := j.conn.Load()
			err := j.follow(ctx, c, stream, &after, filters, yield)
			if err == nil || ctx.Err() != nil {
				return
			}
			select {
			case <-c.gone: // over the next connection
			default:
				yield(Entry{}, fmt.Errorf("follow %s after %d: %w", stream, after, err))
				return
			}
		}
	}
}

// follow reads over one connection, until it is gone or yield has enough (nil).
func (j *Journal) follow(ctx context.Context, c *conn, stream string, after *uint64, filters []string, yield func(Entry, error) bool) error {
	ctx, stop := untilGone(ctx, c)
	defer stop()
	consumer, err := c.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: filters,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    *after + 1,
		// Stopping leaves it to the server, which takes 1,000 for a stream unless told
		// otherwise: readers that flap must not fill that up.
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return err
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(readAhead), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			continue // the ordered consumer starts itself again where it was
		}
		if err != nil {
			return err
		}
		e, _, err := entry(m)
		if err != nil && e.Seq == 0 {
			return err
		}
		if e.Seq <= *after {
			return fmt.Errorf("sequence %d came again", e.Seq)
		}
		if !yield(e, err) {
			return nil
		}
		*after = e.Seq // only now: a sequence advances after it was applied
	}
}

// untilGone returns a context that ends with the connection, too.
func untilGone(ctx context.Context, c *conn) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-c.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// entry decodes a message; position is its place in the consumer's delivery.
// The error of a message that is not ours to read comes with Seq set.
func entry(m jetstream.Msg) (e Entry, position uint64, err error) {
	e, position, err = undecoded(m)
	if err != nil {
		return e, position, err
	}
	e.Event, err = events.Decode(e.Raw)
	if err != nil {
		err = fmt.Errorf("%s sequence %d: %w", e.Stream, e.Seq, err)
	}
	return e, position, err
}

// undecoded is entry for who wants the bytes alone.
func undecoded(m jetstream.Msg) (e Entry, position uint64, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return Entry{}, 0, err
	}
	return Entry{
		Stream:   meta.Stream,
		Channel:  m.Subject(),
		Seq:      meta.Sequence.Stream,
		StoredAt: meta.Timestamp,
		Raw:      m.Data(),
	}, meta.Sequence.Consumer, nil
}

// Before returns the sequence of the last event that a stream took before t,
// for Follow to go on from.
func (j *Journal) Before(ctx context.Context, stream string, t time.Time) (uint64, error) {
	consumer, err := j.conn.Load().js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartTimePolicy,
		OptStartTime:      &t,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		InactiveThreshold: time.Minute,
		Replicas:          1,
	})
	if err != nil {
		return 0, fmt.Errorf("stream %s at %s: %w", stream, t.Format(time.RFC3339), err)
	}
	info := consumer.CachedInfo()
	// Nothing was asked for yet: the consumer stands right before what it would give.
	return info.Delivered.Stream, j.conn.Load().js.DeleteConsumer(ctx, stream, info.Name)
}

// Keys returns the keys by which what is on ACCESS now can be verified. roots
// are the broker's CA.
func (j *Journal) Keys(ctx context.Context, roots *x509.CertPool) (*signed.Keys, error) {
	keys := signed.NewKeys(roots)
	for e, err := range j.Replay(ctx, events.Access, "access.key.>", "access.ca") {
		if err != nil && e.Seq == 0 {
			return nil, err
		}
		_ = keys.Verify(e.Channel, e.StoredAt, e.Event, e.Raw) // whoever follows the stream says what is wrong
	}
	return keys, nil
}
