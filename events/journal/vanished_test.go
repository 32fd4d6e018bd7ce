package journal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// A reader whose consumer went while it was not connected ends with an error, so that
// whoever runs it makes another: nobody tells it, and nothing would come any more.
func TestVanishedConsumer(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(ctx context.Context, j *journal.Journal, saw func(uint64)) error{
		"batches": func(ctx context.Context, j *journal.Journal, saw func(uint64)) error {
			return j.Batches(ctx, journal.BatchConfig{Stream: events.Access, Durable: "reader"}, func(_ context.Context, es []journal.Entry) error {
				for _, e := range es {
					saw(e.Seq)
				}
				return nil
			})
		},
		"work": func(ctx context.Context, j *journal.Journal, saw func(uint64)) error {
			return j.Work(ctx, events.Access, "reader", "access.>", func(_ context.Context, e journal.Entry) error {
				saw(e.Seq)
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := embeddedtest.StartNATS(t)
			admin := embeddedtest.Connect(t, server, "admin", embedded.Admin())
			if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
				t.Fatal(err)
			}
			other, l := eventstest.Open(t, admin), &line{}
			nc := embeddedtest.Connect(t, server, "test", embedded.Admin(), nats.SetCustomDialer(l), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			came, ended := make(chan uint64, 10), make(chan error, 1)
			go func() { ended <- read(ctx, eventstest.Open(t, nc), func(seq uint64) { came <- seq }) }()
			if _, err := other.Append(ctx, drop(1)); err != nil {
				t.Fatal(err)
			}
			if seq := <-came; seq != 1 {
				t.Errorf("%d came first", seq)
			}
			l.set(true)
			for nc.IsConnected() {
				time.Sleep(time.Millisecond)
			}
			if err := other.DeleteConsumer(ctx, events.Access, "reader"); err != nil {
				t.Fatal(err)
			}
			if _, err := other.Append(ctx, drop(2)); err != nil {
				t.Fatal(err)
			}
			l.set(false)
			select {
			case err := <-ended:
				if !errors.Is(err, jetstream.ErrConsumerNotFound) {
					t.Errorf("it ended with %v", err)
				}
			case seq := <-came:
				t.Errorf("%d came by a consumer that is none", seq)
			case <-time.After(45 * time.Second):
				t.Error("it waits for ever")
			}
		})
	}
}
