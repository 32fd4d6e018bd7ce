package journal_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// A consumer that passes over the beginning of its stream is an error to who has nothing of
// that yet, and not taken for a stream that begins later.
func TestBeginningPassedOver(t *testing.T) {
	nc := eventstest.Connect(t)
	j := eventstest.Open(t, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := j.Append(t.Context(), drop(i)); err != nil {
			t.Fatal(err)
		}
	}
	for from, good := range map[uint64]bool{1: true, 2: false} {
		c, err := js.CreateConsumer(t.Context(), events.Access, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, AckPolicy: jetstream.AckAllPolicy})
		if err != nil {
			t.Fatal(err)
		}
		if seq, err := j.First(t.Context(), events.Access, c); (err == nil) != good || seq != from {
			t.Errorf("a consumer that begins at %d: %d, %v", from, seq, err)
		}
	}
}
