package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
)

// StreamsConfig is how postern's streams are kept.
type StreamsConfig struct {
	// Replicas of each stream: 1 (with sync_interval: always), 3 or 5.
	Replicas int
	// DuplicateWindow is how long message ids are remembered; 0 means 2 minutes.
	DuplicateWindow time.Duration
}

// Setup creates the streams, and the bucket of what proxies issue, or brings them up
// to date. It never deletes.
func Setup(ctx context.Context, nc *nats.Conn, c StreamsConfig) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("set up streams: %w", err)
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.DuplicateWindow == 0 {
		c.DuplicateWindow = 2 * time.Minute
	}
	for _, name := range events.Streams() {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:        name,
			Description: descriptions[name],
			Subjects:    []string{events.StreamSubjects(name)},
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardNew, // a full disk refuses new events, it never eats old ones
			Storage:     jetstream.FileStorage,
			Replicas:    c.Replicas,
			Duplicates:  c.DuplicateWindow,
			DenyDelete:  true,
			DenyPurge:   true,
			AllowDirect: true,
			// AppendIf with several events and the sharing of commits.
			AllowAtomicPublish: true,
		})
		if err != nil {
			return fmt.Errorf("set up stream %s: %w", name, err)
		}
	}
	return setUpDeposits(ctx, js, c.Replicas)
}

var descriptions = map[string]string{
	events.Access:     "who may do what: users, roles, apps, access requests, sessions, locks",
	events.Audit:      "what was done through postern",
	events.CloudTrail: "what AWS says was done",
	events.Findings:   "where the two differ",
}
