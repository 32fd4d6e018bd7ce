// Package journal is postern's only JetStream code: it sets the streams up,
// appends events to them and reads them back, in order, with no skip and no
// repeat.
//
// The invariants that every room leans on:
//
//   - Append and AppendIf return nil only when the stream has the event on
//     disk (sync_interval: always, or a quorum of replicas; see docs/nats.md).
//   - An event is in a stream at most once: its ID is the JetStream message id,
//     and AppendIf is refused when somebody else wrote to the channel first. One that
//     was stored and not acknowledged for longer than the stream remembers ids, and is
//     appended again then, stands there twice, with the same ID.
//   - Nothing here deletes: the streams deny deletion and purging.
//   - What was read stays: a stream that turns out to have gone back ends its readers
//     with ErrWentBack, and what it acknowledges at a place that was read is an error.
package journal

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/posternhq/postern/events"
)

// ErrConflict is wrapped by AppendIf's error when the channel has moved on:
// catch up, decide again, and retry.
var ErrConflict = errors.New("channel has newer events")

// Journal appends to and reads from postern's streams.
// It is safe for concurrent use.
type Journal struct {
	conn   atomic.Pointer[conn]
	source string
	now    func() time.Time
	sign   func(channel string, event []byte) []byte // nil: nothing is signed
	// sequence numbers the events of this source, from 1, without gaps unless
	// an append failed.
	sequence atomic.Uint64

	mu         sync.Mutex
	committers map[string]*committer // by stream
}

// conn is the connection of the moment.
type conn struct {
	nc *nats.Conn
	js jetstream.JetStream
	// gone is closed when another has taken its place.
	gone  chan struct{}
	known *known // the journal's
	// link ends, with ErrLost, when the server is not reached any more; then there is another.
	link atomic.Pointer[context.Context]
}

func newConn(nc *nats.Conn, k *known) (*conn, error) {
	// Acknowledgements that never come would else be waited for as long as the connection
	// lasts, and no more be published once there are thousands of them.
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(commitTimeout))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	c := &conn{nc: nc, js: js, gone: make(chan struct{}), known: k}
	c.watchLink()
	return c, nil
}

// watchLink keeps c.link until the connection is closed.
func (c *conn) watchLink() {
	fresh := func() context.CancelCauseFunc {
		link, lose := context.WithCancelCause(context.Background())
		c.link.Store(&link)
		return lose
	}
	lose, changes := fresh(), c.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		for status := range changes {
			former := lose
			lose = fresh()
			former(ErrLost)
			if status == nats.CLOSED {
				c.nc.RemoveStatusListener(changes)
			}
		}
	}()
}

// New returns a journal that writes as source, such as "/postern/broker/NAME".
// The part after the last slash of what it writes is new for every Journal, so
// that (source, sequence) is unique over restarts.
func New(nc *nats.Conn, source string) (*Journal, error) {
	if source == "" {
		return nil, errors.New("journal: source is empty")
	}
	c, err := newConn(nc, &known{streams: map[string]*knownStream{}})
	if err != nil {
		return nil, err
	}
	j := &Journal{source: source + "/" + NewID(), now: time.Now, committers: map[string]*committer{}}
	j.conn.Store(c)
	return j, nil
}

// Use goes on over another connection, such as one with newer credentials:
// what is appended from now on goes over it, and readers take up over it where
// they are. Appends under way end on the former one, which the caller must
// leave open for [Grace].
func (j *Journal) Use(nc *nats.Conn) error {
	c, err := newConn(nc, j.conn.Load().known)
	if err != nil {
		return err
	}
	close(j.conn.Swap(c).gone)
	return nil
}

// Grace is the longest that an append takes.
const Grace = commitTimeout

// NewID returns a new ULID: unique, and sortable by its time.
func NewID() string { return ulid.Make().String() }

// Server names the servers that the journal is on, for messages.
func (j *Journal) Server() string {
	var hosts []string
	for _, s := range j.conn.Load().nc.Servers() {
		if u, err := url.Parse(s); err == nil { // without credentials
			hosts = append(hosts, u.Host)
		}
	}
	return strings.Join(hosts, ", ")
}

// Source is the CloudEvents source of what this journal writes.
func (j *Journal) Source() string { return j.source }

// SignWith has what is appended to ACCESS signed, as package signed tells. It
// is for before the first append.
func (j *Journal) SignWith(sign func(channel string, event []byte) []byte) { j.sign = sign }

// Append adds e to its stream and waits until it is durable. Appends that run
// at the same time share one commit. It fills in what Meta leaves empty and
// returns the stream sequence.
//
// After an error the event may or may not be in the stream; appending it again
// with the same ID is safe within the stream's duplicate window.
func (j *Journal) Append(ctx context.Context, e events.Event) (uint64, error) {
	m, stream, err := j.message(e)
	if err != nil {
		return 0, err
	}
	seq, err := j.committer(stream).append(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("append %s to %s: %w", e.Data.Type(), m.Subject, err)
	}
	return seq, nil
}

// AppendAll adds events of one stream, each for itself, and waits until they are
// durable. It returns the stream sequence of the last of those that are, and those
// that may not be, and why one of them is not; they can be appended again as with
// Append, if their IDs were set.
func (j *Journal) AppendAll(ctx context.Context, es ...events.Event) (last uint64, failed []events.Event, err error) {
	ps := make([]*pending, 0, len(es))
	of := make([]int, 0, len(es)) // which event each is
	var stream string
	for i, e := range es {
		m, s, bad := j.message(e)
		if bad == nil && stream != "" && s != stream {
			bad = fmt.Errorf("append: events for %s and %s at once", stream, s)
		}
		if bad != nil {
			failed, err = append(failed, e), bad
			continue
		}
		stream, ps, of = s, append(ps, &pending{msg: m}), append(of, i)
	}
	if len(ps) == 0 {
		return 0, failed, err
	}
	if err := j.committer(stream).appendAll(ctx, ps); err != nil {
		return 0, es, fmt.Errorf("append %d events to %s: %w", len(ps), stream, err)
	}
	for i, p := range ps {
		if p.err != nil {
			failed, err = append(failed, es[of[i]]), fmt.Errorf("append %s to %s: %w", es[of[i]].Data.Type(), p.msg.Subject, p.err)
			continue
		}
		last = max(last, p.seq)
	}
	return last, failed, err
}

// AppendLater adds e with the next commit of several events to its stream, or by itself
// after hold, and calls then, not to be held up, with what became of it.
func (j *Journal) AppendLater(e events.Event, hold time.Duration, then func(error)) {
	m, stream, err := j.message(e)
	if err != nil {
		then(err)
		return
	}
	j.committer(stream).appendLater(&pending{msg: m, then: func(err error) {
		if err != nil {
			err = fmt.Errorf("append %s to %s: %w", e.Data.Type(), m.Subject, err)
		}
		then(err)
	}}, hold)
}

// AppendIf adds events of one channel, all or none, if the last event of that
// channel has the stream sequence last (0: the channel is empty). Otherwise the
// error wraps ErrConflict. It returns the new last sequence.
func (j *Journal) AppendIf(ctx context.Context, last uint64, es ...events.Event) (uint64, error) {
	if len(es) == 0 {
		return last, nil
	}
	msgs := make([]*nats.Msg, len(es))
	var stream string
	for i, e := range es {
		m, s, err := j.message(e)
		if err != nil {
			return 0, err
		}
		if i > 0 && m.Subject != msgs[0].Subject {
			return 0, fmt.Errorf("append: events for %s and %s in one append", msgs[0].Subject, m.Subject)
		}
		msgs[i], stream = m, s
	}
	msgs[0].Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(last))
	seq, err := publish(ctx, j.conn.Load(), stream, msgs)
	if err != nil {
		return 0, fmt.Errorf("append %s to %s after %d: %w", es[0].Data.Type(), msgs[0].Subject, last, err)
	}
	return seq, nil
}

// message completes e and encodes it.
func (j *Journal) message(e events.Event) (*nats.Msg, string, error) {
	if e.Data == nil {
		return nil, "", errors.New("append: event has no data")
	}
	if e.ID == "" {
		e.ID = NewID()
	}
	if e.Source == "" {
		e.Source = j.source
	}
	if e.Time.IsZero() {
		e.Time = j.now()
	}
	m := &nats.Msg{Subject: e.Data.Channel()}
	stream := events.StreamOf(m.Subject)
	if stream == "" {
		return nil, "", fmt.Errorf("append: no stream takes %s", m.Subject)
	}
	if e.CorrelationID == "" && e.Data.Type() != events.TypeCloudTrailRecordReceived { // there are too many of these
		e.CorrelationID = e.ID // it is all that there is of the action, so far
	}
	decision := stream == events.Access && j.sign != nil
	// A decision's number is its place on its channel, which is not ours to say.
	if e.Sequence == 0 && !decision {
		e.Sequence = j.sequence.Add(1)
	}
	body, err := events.Encode(e)
	if err != nil {
		return nil, "", err
	}
	if decision {
		body = j.sign(m.Subject, body)
	}
	m.Data = body
	m.Header = nats.Header{jetstream.MsgIDHeader: {e.ID}, "content-type": {events.ContentType}}
	return m, stream, nil
}

func (j *Journal) committer(stream string) *committer {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.committers[stream]
	if c == nil {
		c = &committer{conn: &j.conn, stream: stream}
		j.committers[stream] = c
	}
	return c
}

// Last returns the sequence of the last event in a stream, 0 when it is empty.
func (j *Journal) Last(ctx context.Context, stream string) (uint64, error) {
	s, err := j.conn.Load().js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	return s.CachedInfo().State.LastSeq, nil
}

// Readers counts the consumers of a stream that the server knows, those that follow it
// included.
func (j *Journal) Readers(ctx context.Context, stream string) (int, error) {
	s, err := j.conn.Load().js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	return s.CachedInfo().State.Consumers, nil
}
