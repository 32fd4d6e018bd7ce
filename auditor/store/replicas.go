package store

import (
	"context"
	"fmt"
)

// On a cluster the tables are replicated. Two things keep the ledger exact there besides
// deduplication, of which Keeper knows for all replicas: an insert is acknowledged by
// most of them (Store.inserting), and whoever asks what is stored waits until the replica
// that answers has what any other was given.

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
	if s.cluster == "" || s.onCluster != nil {
		return nil
	}
	if err := s.tables.Exec(ctx, catchUp(table)); err != nil {
		return fmt.Errorf("catch up with other replicas: %w", err)
	}
	return nil
}
