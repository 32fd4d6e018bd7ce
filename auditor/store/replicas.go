package store

import (
	"context"
	"errors"
	"fmt"
)

// On a cluster the tables are replicated, in one shard; docs/tables.md says why.
// Two things keep the ledger exact there besides deduplication, of which Keeper
// knows for all replicas: an insert is acknowledged by most of them
// (Store.inserting), and whoever asks what is stored waits until the replica that
// answers has what any other was given.

// ErrShards says that a cluster has more than one shard.
var ErrShards = errors.New("has several shards: a ledger in parts could not be told whole")

func (s *Store) checkShards(ctx context.Context) error {
	if s.cluster == "" {
		return nil
	}
	var shards uint64
	if err := s.conn.QueryRow(ctx, `SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = ?`, s.cluster).Scan(&shards); err != nil {
		return fmt.Errorf("cluster %s: %w", s.cluster, err)
	}
	if shards > 1 { // one that is not there is refused by the first statement ON CLUSTER
		return fmt.Errorf("cluster %s %w", s.cluster, ErrShards)
	}
	return nil
}

// catchUp are the statements by which a replica waits for what others were given:
// all that Keeper has for the tables that say what is stored
// (https://clickhouse.com/docs/sql-reference/statements/system#sync-replica).
func catchUp() []string {
	return []string{"SYSTEM SYNC REPLICA events LIGHTWEIGHT", "SYSTEM SYNC REPLICA ledger_floors LIGHTWEIGHT"}
}

func (s *Store) caughtUp(ctx context.Context) error {
	if s.cluster == "" {
		return nil
	}
	for _, q := range catchUp() {
		if err := s.conn.Exec(ctx, q); err != nil {
			return fmt.Errorf("catch up with other replicas: %w", err)
		}
	}
	return nil
}
