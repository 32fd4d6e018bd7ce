package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrWentBack is wrapped by the error that ends a reader, or an append, once the stream
// is not the one that this process has read: it was put back to an earlier state, or
// its server lost events that it had acknowledged. What was folded from it has to be
// read anew, from its beginning, by another Journal.
var ErrWentBack = errors.New("the stream was put back to an earlier state, or has lost what it acknowledged")

// errDoubt says the same of a stream of several nodes, of which the one that answered
// may be behind for a moment.
var errDoubt = errors.New("it is behind what was read")

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
	// acknowledged by a stream that went back must not hide what was read before.
	read, acked tip
	doubted     time.Time // since when the stream is behind; zero: it isn't
}

// tip is an event at its place.
type tip struct {
	seq     uint64
	subject string
	at      time.Time // zero where it is not known
	raw     []byte
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

// stored notes that an event was acknowledged at seq, which must be behind all that
// was read before it was sent.
func (k *knownStream) stored(before, seq uint64, subject string, raw []byte) error {
	if before == 0 {
		return nil
	}
	if seq <= before {
		return fmt.Errorf("%w: it has this as %d, and %d was read before", ErrWentBack, seq, before)
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
	return tips
}

// doubt judges that the stream lacks something.
func (k *knownStream) doubt(several bool, lacks string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.doubted.IsZero() {
		k.doubted = time.Now()
	}
	if several && time.Since(k.doubted) < doubtFor {
		return fmt.Errorf("%w: %s", errDoubt, lacks)
	}
	return fmt.Errorf("%w: %s", ErrWentBack, lacks)
}

func (k *knownStream) sure() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubted = time.Time{}
}

// Intact looks whether a stream still has the last event that was read of it here. The
// error wraps [ErrWentBack] if it has another one in its place, or none.
func (j *Journal) Intact(ctx context.Context, stream string) error {
	return j.conn.Load().intact(ctx, stream)
}

func (c *conn) intact(ctx context.Context, stream string) error {
	k := c.known.of(stream)
	tips := k.tips()
	if len(tips) == 0 {
		return nil
	}
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	info := s.CachedInfo()
	several := info.Cluster != nil && len(info.Cluster.Replicas) > 0
	for _, t := range tips {
		if last := info.State.LastSeq; last < t.seq {
			return fmt.Errorf("stream %s: %w", stream, k.doubt(several, fmt.Sprintf("it ends at %d, and was at %d", last, t.seq)))
		}
		if t.seq < info.State.FirstSeq {
			continue // its operator has it keep less
		}
		m, err := s.GetMsg(ctx, t.seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound): // any node may answer, one that is behind, too
			return fmt.Errorf("stream %s: %w", stream, k.doubt(several, fmt.Sprintf("it lacks event %d", t.seq)))
		case err != nil:
			return fmt.Errorf("stream %s at %d: %w", stream, t.seq, err)
		case m.Subject != t.subject || !bytes.Equal(m.Data, t.raw) || !t.at.IsZero() && !t.at.Equal(m.Time):
			return fmt.Errorf("stream %s: %w: event %d is another than before", stream, ErrWentBack, t.seq)
		}
	}
	k.sure()
	return nil
}

// settled is intact once there is no doubt.
func (c *conn) settled(ctx context.Context, stream string) error {
	for {
		err := c.intact(ctx, stream)
		if !errors.Is(err, errDoubt) {
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
			} else if err := c.intact(ctx, stream); errors.Is(err, ErrWentBack) {
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
