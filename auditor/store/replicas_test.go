package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// The same story, told to a shard of two replicas through either, is answered by both as by
// a single server, and every table is replicated.
func TestReplicatedStory(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartReplicated(t, 1, 2)
	through := func(i int) *store.Store {
		s := openShards(t, c, func(cfg *store.Config) {
			cfg.Sharded = false
			cfg.DSN = c.ServerDSN(i, embedded.Owner, "postern")
		})
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, second := through(0), through(1)
	for _, s := range []*store.Store{first, second, first} {
		tellStory(t, s)
		askStory(t, s)
	}
	if n := count(t, first, `SELECT count() FROM system.tables WHERE database = 'postern' AND engine LIKE '%MergeTree' AND engine NOT LIKE 'Replicated%'`); n != 0 {
		t.Errorf("%d tables are not replicated", n)
	}
	if err := first.Retain(t.Context(), store.Retention{Requests: 100 * 365 * 24 * time.Hour}, store.Tiers{}); err != nil {
		t.Fatal(err)
	}
}

// While one of three replicas is down everything goes on, also for an auditor that starts
// then. While two are, nothing is stored. Whoever comes back is given what it missed, and no
// event is there twice, whichever of them were written through.
func TestReplicaDown(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartReplicated(t, 1, 3)
	auditor := func() (*store.Store, *store.Sink) {
		s := openShards(t, c, func(cfg *store.Config) {
			cfg.Sharded, cfg.InsertAtMost = false, 5*time.Second
			cfg.DSN = c.DSNs(0, embedded.Owner, "postern")
		})
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		k, err := s.TakeOver(t.Context(), events.Audit, func() bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		return s, k
	}
	_, k := auditor()
	if _, err := k.Write(t.Context(), calls(1, 10, storyTime), nil); err != nil {
		t.Fatal(err)
	}
	c.Stop(0)
	if _, err := k.Write(t.Context(), calls(11, 10, storyTime), nil); err != nil {
		t.Log(err) // what its connection said
	}
	if _, err := k.Write(t.Context(), calls(11, 10, storyTime), nil); err != nil {
		t.Fatal(err)
	}
	s, k := auditor()
	if _, err := k.Write(t.Context(), calls(21, 10, storyTime), nil); err != nil {
		t.Fatal(err)
	}
	c.Stop(1)
	few, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := k.Write(few, calls(31, 10, storyTime), nil); err == nil {
		t.Fatal("a batch is stored that one of three replicas has")
	}
	// As an insert leaves it that was cut off before most had it.
	last := embeddedtest.Open(t, c.ServerDSN(2, embedded.Owner, "postern"))
	if err := last.Exec(t.Context(), `INSERT INTO events SELECT * REPLACE (seq + 10 AS seq, concat('AUDIT-', toString(seq)) AS event_id) FROM (SELECT * FROM events WHERE seq BETWEEN 21 AND 30)`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sink(t.Context(), events.Audit); !errors.Is(err, store.ErrFewReplicas) {
		t.Errorf("a batch that one of three replicas has: %v", err)
	}
	c.Start(0)
	c.Start(1)
	_, k = auditor()
	if _, err := k.Write(t.Context(), calls(31, 20, storyTime), nil); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		conn := embeddedtest.Open(t, c.ServerDSN(i, embedded.Owner, "postern"))
		for _, table := range []string{"events", "request_rows"} {
			if err := conn.Exec(t.Context(), "SYSTEM SYNC REPLICA "+table); err != nil {
				t.Fatal(err)
			}
		}
		var rows, seqs, calls uint64
		if err := conn.QueryRow(t.Context(), `SELECT count(), uniqExact(seq), (SELECT count() FROM requests) FROM events`).Scan(&rows, &seqs, &calls); err != nil || rows != 50 || seqs != 50 || calls != 50 {
			t.Errorf("replica %d has %d events of %d sequences, and %d calls: %v", i+1, rows, seqs, calls, err)
		}
	}
}
