package journal

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Known is the last sequence of a stream that was read here.
func (j *Journal) Known(stream string) uint64 { return j.conn.Load().known.of(stream).end() }

// Tell gives the journal a clock, before it is used.
func (j *Journal) Tell(now func() time.Time) { j.now = now }

// Busy tells whether a commit to a stream is under way.
func (j *Journal) Busy(stream string) bool {
	c := j.committer(stream)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// Queued counts the events that wait for their commit.
func (j *Journal) Queued(stream string) int {
	c := j.committer(stream)
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

// Unacknowledged counts the events that were published one by one and are waited for.
func (j *Journal) Unacknowledged() int { return j.conn.Load().js.PublishAsyncPending() }

// First is the first entry that a consumer gives a reader who has nothing yet.
func (j *Journal) First(ctx context.Context, stream string, by jetstream.Consumer) (uint64, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	read := make(chan arrival)
	go arrivals(ctx, j.conn.Load(), by, BatchConfig{Stream: stream, MaxEntries: 1000}, 0, read)
	a := <-read
	return a.entry.Seq, a.err
}
