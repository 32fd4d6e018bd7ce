package store

import (
	"context"
	"fmt"
)

// On a cluster the tables are replicated. Two things keep the ledger exact there besides
// deduplication, of which Keeper knows for all replicas: an insert is acknowledged by
// most of them (Store.inserting), and whoever asks what is stored waits until the replica
// that answers has what any other was given.

// countReplicas finds out how many replicas make most of a shard's, of the one that has
// the fewest. ClickHouse's own "auto" waits in vain where a shard has but one.
func (s *Store) countReplicas(ctx context.Context) error {
	if s.cluster == "" {
		return nil
	}
	var fewest uint64
	err := s.tables.QueryRow(ctx, `SELECT min(n) FROM (SELECT count() AS n FROM system.clusters WHERE cluster = ? GROUP BY shard_num)`, s.cluster).Scan(&fewest)
	if err != nil {
		return fmt.Errorf("count replicas: %w", err)
	}
	s.quorum.Store(fewest/2 + 1)
	return nil
}

// catchUp is the statement by which a replica waits for what others were given: all that
// Keeper has for a table
// (https://clickhouse.com/docs/sql-reference/statements/system#sync-replica).
func catchUp(table string) string { return "SYSTEM SYNC REPLICA " + table + " LIGHTWEIGHT" }

// ledgerTables say what is stored.
var ledgerTables = []string{"events", "ledger_floors"}

func (s *Store) caughtUp(ctx context.Context) error {
	for _, table := range ledgerTables {
		if err := s.sync(ctx, table); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) sync(ctx context.Context, table string) error {
	if s.cluster == "" || s.onCluster != nil && !s.keeper {
		return nil
	}
	if err := s.tables.Exec(ctx, catchUp(table)); err != nil {
		return fmt.Errorf("catch up with other replicas: %w", err)
	}
	return nil
}
