package store_test

import (
	"testing"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// The same story, told to a shard of two replicas through either, is answered as by a
// single server by both.
func TestReplicasStory(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartReplicated(t, 1, 2)
	through := func(i int) *store.Store {
		return openShards(t, c, func(cfg *store.Config) {
			cfg.Sharded = false
			cfg.DSN = c.DSN(i, embedded.Owner, "postern")
		})
	}
	first, second := through(0), through(1)
	for _, s := range []*store.Store{first, second} {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*store.Store{first, second, first} {
		tellStory(t, s)
		askStory(t, s)
	}
}
