package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
)

// ErrWentBack is wrapped by the error that ends a reader, or an append, once the stream
// is not the one that this process has read: it was put back to an earlier state, or
// its server lost events that it had acknowledged. What was folded from it has to be
// read anew, from its beginning, by another Journal.
var ErrWentBack = errors.New("the stream was put back to an earlier state, or has lost what it acknowledged")

// ErrBehind says the same of a stream of several nodes, of which the one that answered
// may be behind for a moment.
var ErrBehind = errors.New("it is behind what was read")

const (
	// doubtFor is how long a stream of several nodes may be behind.
	doubtFor = 10 * time.Second
	// doubtPause is between two looks at it meanwhile.
	doubtPause = 250 * time.Millisecond
)

// known is what of each stream this process has seen for certain. Readers and
// appends share it, so that one that takes up again where another ended, or over
// another connection, still finds that the stream went back.
type known struct {
	mu      sync.Mutex
	streams map[string]*knownStream
}

// knownStream is how far one stream went.
type knownStream struct {
	mu sync.Mutex
	// read is the last event that anybody here has read, acked the last of ours that
	// was acknowledged since there are readers. Each is compared by itself: what is
	// acknowledged by a stream that went back must not hide what was read before. Nor
	// must what is read then: checked is the last that the stream was found to have.
	read, acked, checked tip
	// doubted is since when the stream is behind, with no look that found otherwise, and
	// none left out; lastDoubt is the last look.
	doubted, lastDoubt time.Time
}

// tip is an event at its place.
type tip struct {
	seq     uint64
	subject string
	at      time.Time // zero where it is not known
	raw     []byte
}

// is tells whether m is the event that was seen.
func (t *tip) is(m *jetstream.RawStreamMsg) bool {
	return m.Subject == t.subject && bytes.Equal(m.Data, t.raw) && (t.at.IsZero() || t.at.Equal(m.Time))
}

func (k *known) of(stream string) *knownStream {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.streams[stream]
	if s == nil {
		s = &knownStream{}
		k.streams[stream] = s
	}
	return s
}

// took notes what was read.
func (k *knownStream) took(e *Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.Seq > k.read.seq {
		k.read = tip{e.Seq, e.Channel, e.StoredAt, e.Raw}
	}
}

// end is where the stream has been for certain, 0 while nobody reads it here.
func (k *knownStream) end() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.read.seq
}

// stored notes that n events were acknowledged, of which the last one, at seq, is the one
// given. All must be behind what was read before they were sent.
func (k *knownStream) stored(before, seq uint64, n int, subject string, raw []byte) error {
	if before == 0 {
		return nil
	}
	if seq < before+uint64(n) {
		return fmt.Errorf("%w: it has this as %d, and %d was read before", ErrWentBack, seq+1-uint64(n), before)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if seq > k.acked.seq {
		k.acked = tip{seq: seq, subject: subject, raw: raw}
	}
	return nil
}

// tips are what the stream must have.
func (k *knownStream) tips() (tips []tip) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.read.seq > 0 {
		tips = append(tips, k.read)
	}
	if k.acked.seq > k.read.seq {
		tips = append(tips, k.acked)
	}
	if k.checked.seq > 0 && !slices.ContainsFunc(tips, func(t tip) bool { return t.seq == k.checked.seq }) {
		tips = append(tips, k.checked)
	}
	return tips
}

// doubt judges that the stream lacks something.
func (k *knownStream) doubt(several bool, lacks string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if now.Sub(k.lastDoubt) > 2*heartbeat { // nobody has looked meanwhile
		k.doubted = now
	}
	k.lastDoubt = now
	if several && now.Sub(k.doubted) < doubtFor {
		return fmt.Errorf("%w: %s", ErrBehind, lacks)
	}
	return fmt.Errorf("%w: %s", ErrWentBack, lacks)
}

// sure notes that the stream has what it must, up to t.
func (k *knownStream) sure(t tip) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastDoubt = time.Time{}
	if t.seq > k.checked.seq {
		k.checked = t
	}
}

// Intact looks whether a stream still has the last event that was read of it here. The
// error wraps [ErrWentBack] if it has another one in its place, or none.
func (j *Journal) Intact(ctx context.Context, stream string) error {
	return j.conn.Load().intact(ctx, stream, 0)
}

// IntactTo is Intact of a stream that must not end before a sequence, either, of which
// the caller knows. The error wraps [ErrBehind] as long as that may be so of a node.
func (j *Journal) IntactTo(ctx context.Context, stream string, seq uint64) error {
	return j.conn.Load().intact(ctx, stream, seq)
}

func (c *conn) intact(ctx context.Context, stream string, to uint64) error {
	k := c.known.of(stream)
	tips := k.tips()
	if len(tips) == 0 && to == 0 {
		return nil
	}
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	info := s.CachedInfo()
	several := info.Cluster != nil && len(info.Cluster.Replicas) > 0
	lacks := func(what string, of ...any) error {
		// A leader that is cut off from the others, and does not know it yet, says nothing.
		if age, err := certainty(info.Cluster); several && (err != nil || age > heartbeat) {
			return fmt.Errorf("stream %s: %w: %s", stream, ErrBehind, fmt.Sprintf(what, of...))
		}
		return fmt.Errorf("stream %s: %w", stream, k.doubt(several, fmt.Sprintf(what, of...)))
	}
	last := info.State.LastSeq
	if last < to {
		return lacks("it ends at %d, and was at %d", last, to)
	}
	var found tip
	for _, t := range tips {
		if last < t.seq {
			return lacks("it ends at %d, and was at %d", last, t.seq)
		}
		if t.seq < info.State.FirstSeq {
			if stream == events.Access {
				return lacks("it begins at %d, and has nothing of what was read, up to %d", info.State.FirstSeq, t.seq)
			}
			continue // its operator has it keep less
		}
		m, err := c.message(ctx, stream, t.seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return lacks("it lacks event %d", t.seq)
		case err != nil:
			return fmt.Errorf("stream %s at %d: %w", stream, t.seq, err)
		case !t.is(m):
			return fmt.Errorf("stream %s: %w: event %d is another than before", stream, ErrWentBack, t.seq)
		}
		if t.seq > found.seq {
			found = t
		}
	}
	if found.seq > 0 {
		k.sure(found)
	}
	return nil
}

// message is one of a stream, as its leader has it: other nodes may be behind. Nor is it
// asked for directly: a direct answer says in headers what it is, and so does an event that
// is a copy of such an answer, made by whoever may ask and name where the answer goes
// (deploy/embedded/permissions.go).
func (c *conn) message(ctx context.Context, stream string, seq uint64) (*jetstream.RawStreamMsg, error) {
	return c.fromLeader(ctx, stream, map[string]uint64{"seq": seq})
}

// fromLeader asks the node that leads a stream for one message, as the API's
// STREAM.MSG.GET takes the question.
func (c *conn) fromLeader(ctx context.Context, stream string, ask any) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	question, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	reply, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, question)
	if err != nil {
		return nil, err
	}
	var got struct {
		Message *struct {
			Seq     uint64    `json:"seq"`
			Subject string    `json:"subject"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &got); {
	case err != nil:
		return nil, fmt.Errorf("message of %s: %w", stream, err)
	case got.Error != nil && got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case got.Error != nil:
		return nil, got.Error
	case got.Message == nil:
		return nil, fmt.Errorf("message of %s: an answer without one", stream)
	}
	return &jetstream.RawStreamMsg{Sequence: got.Message.Seq, Subject: got.Message.Subject, Data: got.Message.Data, Time: got.Message.Time}, nil
}

// begin notes what a reader has that goes on after a sequence, where nobody has read the
// stream here: of one who reads nothing for long, too, it is found that it went back. A
// stream that has no such event, or has it no more, says nothing: what the caller has may
// be of another one.
func (c *conn) begin(ctx context.Context, stream string, after uint64) error {
	k := c.known.of(stream)
	if after == 0 || k.end() > 0 {
		return nil
	}
	m, err := c.message(ctx, stream, after)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("stream %s at %d: %w", stream, after, err)
	}
	k.took(&Entry{Channel: m.Subject, Seq: after, StoredAt: m.Time, Raw: m.Data})
	return nil
}

// settled is intact once there is no doubt, and a server to ask; for who begins after a
// sequence, 0 for others, see begin.
func (c *conn) settled(ctx context.Context, stream string, after uint64) error {
	for {
		err := c.begin(ctx, stream, after)
		if err == nil {
			err = c.intact(ctx, stream, 0)
		}
		if !errors.Is(err, ErrBehind) && !errors.Is(err, nats.ErrDisconnected) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(doubtPause):
		}
	}
}

// watch returns a context that ends, with the cause, once the stream went back.
func (c *conn) watch(ctx context.Context, stream string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for pause := heartbeat; ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = heartbeat
			if !c.nc.IsConnected() {
				pause = doubtPause // to ask as soon as the server is back
			} else if err := c.intact(ctx, stream, 0); errors.Is(err, ErrWentBack) {
				cancel(err)
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// orWentBack is why reading ended: what the context of watch ended for comes first.
func orWentBack(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrWentBack) {
		return cause
	}
	return err
}
