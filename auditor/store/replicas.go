package store

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// On a cluster the tables are replicated. Two things keep the ledger exact there besides
// deduplication, of which Keeper knows for all replicas: an insert is acknowledged by
// most of them (Store.inserting), and whoever asks what is stored waits until the replica
// that answers has what any other was given.

// countReplicas finds out how many replicas make most of the first shard's, which has the
// ledger, and of the one's that has the fewest. ClickHouse's own "auto" waits in vain where
// a shard has but one.
func (s *Store) countReplicas(ctx context.Context) error {
	if s.cluster == "" {
		return nil
	}
	var first, fewest uint64
	err := s.tables.QueryRow(ctx, `SELECT argMin(n, shard_num), min(n) FROM (SELECT shard_num, count() AS n FROM system.clusters WHERE cluster = ? GROUP BY shard_num)`, s.cluster).Scan(&first, &fewest)
	if err != nil {
		return fmt.Errorf("count replicas: %w", err)
	}
	s.quorum.Store(first/2 + 1)
	s.rowsQuorum.Store(fewest/2 + 1)
	return nil
}

// acknowledged is what sets an insert to be acknowledged by so many replicas.
func acknowledged(quorum uint64) clickhouse.Settings {
	if quorum < 2 {
		return clickhouse.Settings{}
	}
	return clickhouse.Settings{"insert_quorum": quorum}
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
