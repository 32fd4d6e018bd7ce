package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// maxCommit bounds the events of one commit; the server allows 1000
// (https://github.com/nats-io/nats-architecture-and-design, ADR-50).
const maxCommit = 500

// minAtomic is the size from which an atomic batch is quicker than as many
// pipelined publishes, where batches are staged in memory (replicated streams, and
// the embedded server): the server makes a store of its own for each.
const minAtomic = 4

// gatherRounds is how often a commit lets others run first. With more, an event waits
// longer than it gains.
const gatherRounds = 2

// commitTimeout bounds one commit's wait for its acknowledgement.
const commitTimeout = 10 * time.Second

// Headers of an atomic batch publish (ADR-50).
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// committer lets concurrent appends to one stream share one disk sync: while a
// commit waits for its acknowledgement, newcomers queue up and go together
// with the next one.
type committer struct {
	conn   *atomic.Pointer[conn] // the journal's
	stream string

	mu      sync.Mutex
	queue   []*pending
	running bool
	// patient are events that nobody waits for: they fill the commits of others,
	// until the timer says that none came.
	patient []*pending
	timer   *time.Timer
}

// pending is an event on its way, one of a group that is waited for together, or one
// that tells what became of it.
type pending struct {
	msg   *nats.Msg
	group *group
	then  func(error)
	seq   uint64
	err   error
}

type group struct {
	left atomic.Int64
	done chan struct{} // closed when none is left
}

// end tells who waits what became of p.
func (p *pending) end(seq uint64, err error) {
	if p.then != nil {
		p.then(err)
		return
	}
	p.seq, p.err = seq, err
	if p.group.left.Add(-1) == 0 {
		close(p.group.done)
	}
}

func (c *committer) append(ctx context.Context, m *nats.Msg) (uint64, error) {
	c.mu.Lock()
	if !c.running {
		// Nobody to share with: straight to the server. Who comes meanwhile queues.
		c.running = true
		c.mu.Unlock()
		seq, err := publish(ctx, c.conn.Load(), c.stream, []*nats.Msg{m})
		c.handOver()
		return seq, err
	}
	g := &group{done: make(chan struct{})}
	g.left.Store(1)
	p := &pending{msg: m, group: g}
	c.queue = append(c.queue, p)
	c.mu.Unlock()
	select {
	case <-g.done:
		return p.seq, p.err
	case <-ctx.Done():
		c.withdraw(g)
		return 0, ctx.Err()
	}
}

// withdraw takes out of the queue what nobody waits for any more. Whoever gave it up was
// told that it failed and may append it again: while the server is away, the queue would
// grow with each try, and all of them would be sent when it is back. What is in a commit
// already is not in the queue.
func (c *committer) withdraw(g *group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.DeleteFunc(c.queue, func(p *pending) bool { return p.group == g })
}

// appendAll waits for all of a group. Unless it returns an error, each has its own.
func (c *committer) appendAll(ctx context.Context, ps []*pending) error {
	g := &group{done: make(chan struct{})}
	g.left.Store(int64(len(ps)))
	for _, p := range ps {
		p.group = g
	}
	c.mu.Lock()
	c.queue = append(c.queue, ps...)
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		c.withdraw(g)
		return ctx.Err()
	}
}

// appendLater adds p to the next commit that is worth a batch, or sends it after hold.
func (c *committer) appendLater(p *pending, hold time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patient = append(c.patient, p)
	switch len(c.patient) {
	case 1:
		c.timer = time.AfterFunc(hold, c.hurry)
	case maxCommit:
		c.hurryLocked()
	}
}

// hurry sends the patient: none took them along.
func (c *committer) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurryLocked()
}

func (c *committer) hurryLocked() {
	c.queue = append(c.queue, c.board(len(c.patient))...)
	if len(c.queue) > 0 && !c.running {
		c.running = true
		go c.run()
	}
}

// board takes up to n of the patient.
func (c *committer) board(n int) []*pending {
	n = min(n, len(c.patient))
	on := c.patient[:n:n]
	c.patient = c.patient[n:]
	if len(c.patient) == 0 {
		c.patient = nil
		if c.timer != nil {
			c.timer.Stop()
		}
	}
	return on
}

// handOver ends a turn: what has queued up goes next.
func (c *committer) handOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.running = false
		return
	}
	go c.run()
}

func (c *committer) run() {
	for {
		// Who can run goes first: what they append goes with this commit, and fewer, larger
		// ones cost less. It waits for nobody who can't.
		for range gatherRounds {
			runtime.Gosched()
		}
		c.mu.Lock()
		n := min(len(c.queue), maxCommit)
		batch := c.queue[:n:n]
		c.queue = c.queue[n:]
		if n == 0 {
			c.queue = nil
			c.running = false
			c.mu.Unlock()
			return
		}
		if n >= minAtomic {
			batch = append(batch, c.board(maxCommit-n)...)
		}
		c.mu.Unlock()
		c.commit(batch)
	}
}

func (c *committer) commit(batch []*pending) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	if len(batch) < minAtomic {
		c.each(ctx, batch)
		return
	}
	msgs := make([]*nats.Msg, len(batch))
	for i, p := range batch {
		msgs[i] = p.msg
	}
	last, err := publish(ctx, c.conn.Load(), c.stream, msgs)
	var refused *jetstream.APIError
	if errors.As(err, &refused) {
		// One event spoiled the batch (a duplicate, say), or more batches are open
		// than the server likes: nothing was stored, so let each stand for itself.
		c.each(ctx, batch)
		return
	}
	for i, p := range batch {
		p.end(last-uint64(len(batch)-1-i), err)
	}
}

// each publishes the events one by one, pipelined, and waits for all of them.
func (c *committer) each(ctx context.Context, batch []*pending) {
	futures := make([]jetstream.PubAckFuture, len(batch))
	errs := make([]error, len(batch))
	conn := c.conn.Load()
	known := conn.known.of(c.stream)
	before := known.end()
	unsent := connected(ctx, conn.nc)
	for i, p := range batch {
		if errs[i] = unsent; unsent != nil {
			continue
		}
		for _, h := range []string{batchIDHeader, batchSequenceHeader, batchCommitHeader} {
			p.msg.Header.Del(h)
		}
		p.msg.Reply = ""
		futures[i], errs[i] = conn.js.PublishMsgAsync(p.msg)
	}
	for i, p := range batch {
		if errs[i] != nil {
			p.end(0, errs[i])
			continue
		}
		select {
		case ack := <-futures[i].Ok():
			var err error
			if !ack.Duplicate {
				err = known.stored(before, ack.Sequence, 1, p.msg.Subject, p.msg.Data)
			}
			p.end(ack.Sequence, err)
		case err := <-futures[i].Err():
			p.end(0, asConflict(err))
		case <-ctx.Done():
			p.end(0, ctx.Err())
		}
	}
}

// publish stores msgs in one stream, all or none, and returns the sequence of
// the last one.
func publish(ctx context.Context, c *conn, stream string, msgs []*nats.Msg) (uint64, error) {
	known := c.known.of(stream)
	before := known.end()
	seq, again, err := c.publish(ctx, msgs)
	if err != nil {
		return 0, err
	}
	if !again {
		final := msgs[len(msgs)-1]
		err = known.stored(before, seq, len(msgs), final.Subject, final.Data)
	}
	return seq, err
}

// publish is that alone. again says that the stream had the message before.
func (c *conn) publish(ctx context.Context, msgs []*nats.Msg) (seq uint64, again bool, err error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commitTimeout)
		defer cancel()
	}
	if err := connected(ctx, c.nc); err != nil {
		return 0, false, err
	}
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	link := *c.link.Load()
	defer context.AfterFunc(link, func() { lose(ErrLost) })()
	if len(msgs) == 1 {
		ack, err := c.js.PublishMsg(ctx, msgs[0])
		if err != nil {
			return 0, false, asConflict(orLost(ctx, err))
		}
		return ack.Sequence, ack.Duplicate, nil
	}
	id := nuid.Next()
	for i, m := range msgs {
		m.Header.Set(batchIDHeader, id)
		m.Header.Set(batchSequenceHeader, strconv.Itoa(i+1))
		if i < len(msgs)-1 {
			if err := c.nc.PublishMsg(m); err != nil {
				return 0, false, err
			}
		}
	}
	final := msgs[len(msgs)-1]
	final.Header.Set(batchCommitHeader, "1")
	reply, err := c.nc.RequestMsgWithContext(ctx, final)
	if err != nil {
		return 0, false, orLost(ctx, err)
	}
	var ack struct {
		Sequence uint64              `json:"seq"`
		Count    int                 `json:"count"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, false, fmt.Errorf("acknowledgement of a batch: %w", err)
	}
	if ack.Error != nil {
		return 0, false, asConflict(ack.Error)
	}
	if ack.Count != len(msgs) {
		return 0, false, fmt.Errorf("acknowledgement of a batch: %d of %d events stored", ack.Count, len(msgs))
	}
	return ack.Sequence, false, nil
}

// ErrUnsent says that events were not sent for want of NATS: they are not recorded, and
// will not be.
var ErrUnsent = errors.New("the connection to NATS is lost, nothing was recorded")

// ErrLost says that the connection to NATS was lost before it acknowledged events: whether
// they are recorded is not known. No acknowledgement comes any more, and who waited for it
// would keep all that comes after it waiting.
var ErrLost = errors.New("the connection to NATS was lost before it said whether this is recorded")

// orLost is why ctx ended, if the connection's loss is why.
func orLost(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), ErrLost) {
		return ErrLost
	}
	return err
}

// connected waits for a connection. Messages that nats.go kept until there is one would
// come to pass after whoever sent them was told that they failed.
func connected(ctx context.Context, nc *nats.Conn) error {
	for !nc.IsConnected() {
		select {
		case <-ctx.Done():
			return ErrUnsent
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// asConflict makes the server's "wrong last sequence" an ErrConflict.
func asConflict(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == wrongLastSequence || api.ErrorCode == wrongLastSequenceConstant) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// Error codes of nats-server (server/errors.json).
const (
	wrongLastSequence         jetstream.ErrorCode = 10071
	wrongLastSequenceConstant jetstream.ErrorCode = 10164
)
