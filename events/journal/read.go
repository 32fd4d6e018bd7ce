package journal

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
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

// Place is where the event stands.
func (e Entry) Place() events.Place {
	return events.Place{Stream: e.Stream, Sequence: e.Seq, Subject: e.Channel, StoredAt: e.StoredAt}
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
	return decoded(j.replay(ctx, stream, after, filters))
}

// reader hands on entries that are not decoded, in order, each with how many are
// known to come after it, until yield has enough (nil).
type reader func(yield func(e Entry, more uint64) bool) error

// decoded decodes what is read.
func decoded(read reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := read(func(e Entry, _ uint64) bool {
			var unread error
			e.Event, unread = decode(e)
			return yield(e, unread)
		})
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// replay reads what Replay yields.
func (j *Journal) replay(ctx context.Context, stream string, after uint64, filters []string) reader {
	return func(yield func(Entry, uint64) bool) error {
		if err := j.replayOnce(ctx, stream, after, filters, yield); err != nil {
			return fmt.Errorf("replay %s: %w", stream, err)
		}
		return nil
	}
}

func (j *Journal) replayOnce(ctx context.Context, stream string, after uint64, filters []string, yield func(Entry, uint64) bool) error {
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
		return err
	}
	info := consumer.CachedInfo()
	defer func() { _ = j.conn.Load().js.DeleteConsumer(context.WithoutCancel(ctx), stream, info.Name) }()
	left := info.NumPending
	if left == 0 {
		return nil
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(readAhead), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer it.Stop()
	known := j.conn.Load().known.of(stream)
	var came atomic.Uint64
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go unreadable(ctx, cancel, consumer, &came)
	for delivered := uint64(1); left > 0; delivered++ {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, errUnreadable) {
				err = cause
			}
			return err
		}
		came.Store(delivered)
		e, meta, err := undecoded(m)
		if err != nil {
			return err
		}
		if position := meta.Sequence.Consumer; position != delivered {
			return fmt.Errorf("message %d came in place of %d", position, delivered)
		}
		left--
		known.took(&e)
		if !yield(e, left) {
			return nil
		}
	}
	return nil
}

// errUnreadable says that a server counts messages that it does not give.
var errUnreadable = errors.New("the NATS server cannot read all that it counts: a disk has changed its files, or somebody: put a copy of them back (docs/operations.md, Backup and restore)")

// unreadable ends a replay with errUnreadable once its server has nothing more to give, and
// all that it gave came: the replay would wait for the rest for ever.
func unreadable(ctx context.Context, end context.CancelCauseFunc, consumer jetstream.Consumer, came *atomic.Uint64) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(heartbeat):
		}
		info, err := consumer.Info(ctx)
		if err == nil && info.NumPending == 0 && info.Delivered.Consumer == came.Load() {
			end(errUnreadable) // no matter where that was the last message
			return
		}
	}
}

// Follow yields the entries with a sequence above after, those to come
// included, until ctx ends (which is not an error). Errors are as in Replay; one
// wraps [ErrWentBack] where the stream is no longer the one that was read, by anybody
// through this journal.
func (j *Journal) Follow(ctx context.Context, stream string, after uint64, filters ...string) iter.Seq2[Entry, error] {
	return decoded(j.follow(ctx, stream, after, filters))
}

// follow reads what Follow yields.
func (j *Journal) follow(ctx context.Context, stream string, after uint64, filters []string) reader {
	return func(yield func(Entry, uint64) bool) error {
		for {
			c := j.conn.Load()
			err := followOnce(ctx, c, stream, &after, filters, yield)
			if err == nil || ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, ErrWentBack) {
				return fmt.Errorf("follow: %w", err)
			}
			select {
			case <-c.gone: // over the next connection
			default:
				return fmt.Errorf("follow %s after %d: %w", stream, after, err)
			}
		}
	}
}

// followOnce reads over one connection, until it is gone or yield has enough (nil).
func followOnce(ctx context.Context, c *conn, stream string, after *uint64, filters []string, yield func(Entry, uint64) bool) error {
	ctx, stop := untilGone(ctx, c)
	defer stop()
	if err := c.settled(ctx, stream, *after); err != nil {
		return err
	}
	ctx, unwatch := c.watch(ctx, stream)
	defer unwatch()
	known := c.known.of(stream)
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
	for by := ""; ; {
		m, err := it.Next(jetstream.NextContext(ctx))
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			continue // the ordered consumer starts itself again where it was
		}
		if err != nil {
			return orWentBack(ctx, err)
		}
		e, meta, err := undecoded(m)
		if err != nil {
			return err
		}
		if meta.Consumer != by { // the former one ended with its server, or its stream
			if err := c.settled(ctx, stream, 0); err != nil {
				return orWentBack(ctx, err)
			}
			by = meta.Consumer
		}
		if e.Seq <= *after {
			return fmt.Errorf("sequence %d came again", e.Seq)
		}
		known.took(&e)
		if !yield(e, meta.NumPending) {
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

// entry reads a message. The error of one that is not ours to read comes with Seq
// set.
func entry(m jetstream.Msg) (Entry, error) {
	e, _, err := undecoded(m)
	if err == nil {
		e.Event, err = decode(e)
	}
	return e, err
}

func decode(e Entry) (events.Event, error) {
	out, err := events.Decode(e.Raw)
	if err != nil {
		err = fmt.Errorf("%s sequence %d: %w", e.Stream, e.Seq, err)
	}
	return out, err
}

// undecoded is entry for who wants the bytes alone.
func undecoded(m jetstream.Msg) (Entry, *jetstream.MsgMetadata, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Entry{}, nil, err
	}
	return Entry{
		Stream:   meta.Stream,
		Channel:  m.Subject(),
		Seq:      meta.Sequence.Stream,
		StoredAt: meta.Timestamp,
		Raw:      m.Data(),
	}, meta, nil
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
