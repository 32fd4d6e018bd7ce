package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// On a cluster the tables are replicated. Three things keep the ledger exact there besides
// deduplication, of which Keeper knows for all replicas: an insert is acknowledged by
// most of them (Store.inserting), whoever asks what is stored waits until the replica
// that answers has what any other was given, and what fewer than most of them have, because
// an insert was cut off, is neither stored nor to be stored again, but waited for.

// ErrFewReplicas says that an insert of earlier is on too few replicas to count on.
var ErrFewReplicas = errors.New("is on fewer than most of its replicas")

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

// eachStored calls f with the sequences in a range that the ledger has of a stream, in order.
// Every replica that answers is asked: statements may come to different ones. What fewer of
// them have than acknowledge an insert is an error.
func (s *Store) eachStored(ctx context.Context, stream string, first, last uint64, f func(seq uint64)) error {
	fail := func(err error) error { return fmt.Errorf("sequences of %s: %w", stream, err) }
	if err := s.caughtUp(ctx); err != nil {
		return fail(err)
	}
	q := `SELECT seq, toUInt64(1) FROM events WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq`
	if s.cluster != "" {
		q = `SELECT seq, uniqExact(_shard_num) FROM ` + s.everywhere(quote(s.tablesDatabase())+".events") + ` WHERE stream = ? AND seq BETWEEN ? AND ? GROUP BY seq ORDER BY seq` + thatAnswer
	}
	rows, err := s.tables.Query(ctx, q, stream, first, last)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		var seq, replicas uint64
		if err := rows.Scan(&seq, &replicas); err != nil {
			return fail(err)
		}
		if replicas < s.quorum.Load() {
			return fmt.Errorf("what %s has of %d %w: it is waited for", stream, seq, ErrFewReplicas)
		}
		f(seq)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return nil
}

// everywhere is a table of every server; each is a shard of its own.
func (s *Store) everywhere(table string) string {
	if s.cluster == "" {
		return table
	}
	return "clusterAllReplicas('" + strings.ReplaceAll(s.cluster, "'", "\\'") + "', " + table + ")"
}

// thatAnswer ends a statement about everywhere that leaves out servers that are down.
const thatAnswer = " SETTINGS skip_unavailable_shards = 1"

// answering counts the servers that do, and all.
func (s *Store) answering(ctx context.Context) (up, all uint64, err error) {
	if s.cluster == "" {
		return 1, 1, nil
	}
	err = s.tables.QueryRow(ctx, `SELECT count(), (SELECT count() FROM system.clusters WHERE cluster = ?) FROM `+s.everywhere("system.one")+thatAnswer, s.cluster).Scan(&up, &all)
	return up, all, err
}

// haveAll tells whether each server that answers has a table, or without its name a
// database. To make ON CLUSTER what there is would wait for those that are down.
func (s *Store) haveAll(ctx context.Context, database, table string) (bool, error) {
	q := `SELECT count() FROM ` + s.everywhere("system.databases") + ` WHERE name = ?`
	args := []any{database}
	if table != "" {
		q = `SELECT count() FROM ` + s.everywhere("system.tables") + ` WHERE database = ? AND name = ?`
		args = append(args, table)
	}
	up, _, err := s.answering(ctx)
	if err != nil {
		return false, err
	}
	var have uint64
	err = s.tables.QueryRow(ctx, q+thatAnswer, args...).Scan(&have)
	return have >= up, err
}
