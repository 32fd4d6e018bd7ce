package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// leaseFor is how long a lease outlives its holder.
	leaseFor = 5 * time.Second
	// leaseRound is how often a holder makes sure that it holds it.
	leaseRound = time.Second
	// leaseSafe is how long a holder goes on without having made sure: less than
	// leaseFor, so that nobody else holds it yet.
	leaseSafe = 3 * time.Second
)

// Lease runs hold in one process at a time of all that ask for the lease of a
// name on a stream, as soon as it is free, and again whenever it was lost; until
// ctx ends (nil) or hold returns an error. The context of hold ends when the
// lease can no longer be made sure of; held tells so even to a process that was
// stopped for a while and goes on.
//
// The lease is a durable consumer that gets nothing. The server makes one for
// the first who asks, and forgets it when its maker no longer pulls; so there is
// one clock, the server's, and on a cluster it is agreed upon as the stream is.
func (j *Journal) Lease(ctx context.Context, stream, name string, hold func(ctx context.Context, held func() bool) error) error {
	for ctx.Err() == nil {
		l, err := j.leased(ctx, stream, name)
		if err == nil {
			err = l.run(ctx, hold)
			if err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		select { // another has it, or the server is away
		case <-ctx.Done():
		case <-time.After(leaseRound):
		}
	}
	return nil
}

// Leased tells whether anybody holds the lease of a name, or held it until moments ago.
func (j *Journal) Leased(ctx context.Context, stream, name string) (bool, error) {
	_, err := j.conn.Load().js.Consumer(ctx, stream, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lease %s: %w", name, err)
	}
	return true, nil
}

type lease struct {
	js       jetstream.JetStream
	consumer jetstream.Consumer
	stream   string
	name     string
	owner    string
}

// leased makes the consumer, unless there is one.
func (j *Journal) leased(ctx context.Context, stream, name string) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseSafe)
	defer cancel()
	l := &lease{js: j.conn.Load().js, stream: stream, name: name, owner: nuid.Next()}
	var err error
	l.consumer, err = l.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: name, InactiveThreshold: leaseFor, AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverNewPolicy,
		FilterSubject: strings.ToLower(stream) + ".lease", Metadata: map[string]string{"owner": l.owner},
	})
	if err != nil {
		return nil, fmt.Errorf("lease %s: %w", name, err)
	}
	return l, nil
}

// run holds the lease for as long as it is this one's.
func (l *lease) run(ctx context.Context, hold func(context.Context, func() bool) error) error {
	holding, lost := context.WithCancel(ctx)
	defer lost()
	var sure atomic.Pointer[time.Time]
	begin := time.Now()
	sure.Store(&begin)
	safe := func() bool { return since(*sure.Load(), time.Now()) < leaseSafe }
	done := make(chan error, 1)
	go func() { done <- hold(holding, func() bool { return safe() && holding.Err() == nil }) }()
	for holding.Err() == nil {
		asked := time.Now()
		mine, err := l.ask(holding)
		if err == nil && mine {
			sure.Store(&asked)
		} else if err == nil || !safe() {
			lost()
		}
		select {
		case err := <-done:
			l.giveUp(ctx)
			return err
		case <-holding.Done():
		case <-time.After(leaseRound / 4):
		}
	}
	err := <-done
	l.giveUp(ctx)
	return err
}

// since is how long ago t was, by the clock that says longer: the machine's may have been set
// back, and the monotonic one stands still while the machine sleeps.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t))
}

// ask says whether the lease is this one's, and shows that its holder lives. A server
// that has much to do has most of the time for its answer.
func (l *lease) ask(ctx context.Context) (bool, error) {
	if got, err := l.consumer.Fetch(1, jetstream.FetchMaxWait(leaseRound/2)); err == nil {
		for range got.Messages() {
		}
	}
	ctx, cancel := context.WithTimeout(ctx, leaseSafe/2)
	defer cancel()
	c, err := l.js.Consumer(ctx, l.stream, l.name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return c.CachedInfo().Config.Metadata["owner"] == l.owner, nil
}

// giveUp ends the lease at once, if it is still this one's.
func (l *lease) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseSafe/2)
	defer cancel()
	c, err := l.js.Consumer(ctx, l.stream, l.name)
	if err == nil && c.CachedInfo().Config.Metadata["owner"] == l.owner {
		_ = l.js.DeleteConsumer(ctx, l.stream, l.name)
	}
}
