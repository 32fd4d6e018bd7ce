package journal_test

import (
	"context"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// While credentials change again and again, appends go through and readers
// neither skip nor repeat.
func TestUseAnotherConnection(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	connect := func() *nats.Conn { return embeddedtest.Connect(t, server, "test", embedded.Admin()) }
	nc := connect()
	if err := journal.Setup(t.Context(), nc, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	j, err := journal.New(nc, "/postern/test")
	if err != nil {
		t.Fatal(err)
	}
	const writers, each, changes = 4, 300, 5
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var read sync.WaitGroup
	all := func(name string, follow func(saw func(seq uint64))) {
		read.Go(func() {
			var last uint64
			follow(func(seq uint64) {
				if seq != last+1 {
					t.Errorf("%s: %d came after %d", name, seq, last)
				}
				last = seq
			})
			if last != writers*each {
				t.Errorf("%s ended at %d", name, last)
			}
		})
	}
	all("Follow", func(saw func(uint64)) {
		for e, err := range j.Follow(ctx, events.Access, 0) {
			if err != nil {
				t.Error(err)
				return
			}
			if saw(e.Seq); e.Seq == writers*each {
				return
			}
		}
	})
	all("Batches", func(saw func(uint64)) {
		ctx, stop := context.WithCancel(ctx)
		err := j.Batches(ctx, journal.BatchConfig{Stream: events.Access, Durable: "sink", MaxEntries: 50}, func(_ context.Context, es []journal.Entry) error {
			for _, e := range es {
				if saw(e.Seq); e.Seq == writers*each {
					stop()
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})

	former := []*nats.Conn{nc}
	var write sync.WaitGroup
	done := make(chan struct{}, writers*each)
	for w := range writers {
		write.Go(func() {
			for i := range each {
				if _, err := j.Append(ctx, drop(w*each+i)); err != nil {
					t.Error(err)
				}
				done <- struct{}{}
			}
		})
	}
	for range changes {
		for range writers * each / (changes + 1) {
			<-done
		}
		next := connect()
		if err := j.Use(next); err != nil {
			t.Fatal(err)
		}
		former = append(former, next)
	}
	write.Wait()
	for _, nc := range former[:changes] {
		nc.Close() // whoever still reads there would notice
	}
	read.Wait()
}
