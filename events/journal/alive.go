package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// End returns the sequence at which a stream ends, and how long before the
// question that is certain: every event that was acknowledged up to age ago has
// last or a lower sequence.
//
// On one server that is at once. Of several, one answers, and it need not know
// that it is cut off: a leader finds out after ten seconds and more that others
// have elected another, and a node that has lost its leader tells what it has
// itself. So the heartbeats of the stream's group count. A follower that answers
// a leader knows of no later one, and no later one comes to be without the votes
// of a majority: what the leader says is certain as of when a majority, itself
// included, last answered it. Without such a majority there is an error.
func (j *Journal) End(ctx context.Context, stream string) (last uint64, age time.Duration, err error) {
	s, err := j.conn.Load().js.Stream(ctx, stream)
	if err != nil {
		return 0, 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	info := s.CachedInfo()
	if age, err = certainty(info.Cluster); err != nil {
		return 0, 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	return info.State.LastSeq, age, nil
}

// certainty is how long ago a majority of a stream's nodes last followed the one
// that answered.
func certainty(c *jetstream.ClusterInfo) (time.Duration, error) {
	switch {
	case c == nil:
		return 0, nil // one server
	case c.Leader == "":
		return 0, errors.New("it has no leader")
	}
	var ages []time.Duration
	for _, r := range c.Replicas {
		if r.Active > 0 { // 0: it has never answered
			ages = append(ages, r.Active)
		}
	}
	slices.Sort(ages)
	others := (len(c.Replicas) + 1) / 2 // with the leader, the majority
	switch {
	case others == 0:
		return 0, nil
	case len(ages) < others:
		return 0, fmt.Errorf("only %d of %d nodes besides its leader %s have answered it", len(ages), len(c.Replicas), c.Leader)
	}
	return ages[others-1], nil
}
