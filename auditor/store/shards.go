package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// On a cluster of several shards every server has a database of its own part of the
// tables, which migrations make as they make those of a single server, views included,
// and under the asked name a database of Distributed tables over its tables and views
// (https://clickhouse.com/docs/engines/table-engines/special/distributed). Calls,
// tunnels and records are spread by their keys, so that all rows which FINAL merges are
// in one shard. The ledger, and what is small, is in the first shard, whose servers the
// DSN names: it is written and read there as on a cluster of one shard, whole batch by
// whole batch. A batch's rows come before it: if one shard has them and another fails,
// the batch is not in the ledger, and what is written again merges with what is there.
//
// In which shard a key is does not follow from the cluster alone, or a shard more would
// part a call's verdict from the call. Layouts say it: what is older than the first
// moment of a layout stays where the one before it put it.

// ErrShards says that a cluster has several shards, and was not meant to.
var ErrShards = errors.New("has several shards")

// ErrShard says that the cluster is not one that rows can be spread over.
var ErrShard = errors.New("can't be used")

// ErrGrown says that shards were added since this store was migrated.
var ErrGrown = errors.New("the cluster has more shards by now")

// spread are the tables and views whose rows are in all shards, by the columns of their
// keys: the time, then what is hashed.
var spread = map[string][]string{
	"request_rows":    {"received_at", "request_id"},
	"requests":        {"received_at", "request_id"},
	"tunnel_rows":     {"opened_at", "tunnel_id"},
	"tunnels":         {"opened_at", "tunnel_id"},
	"cloudtrail_rows": {"event_time", "recipient_account_id", "event_id"},
	"cloudtrail":      {"event_time", "recipient_account_id", "event_id"},
}

// notShared are tables that are about the first shard's part of the database.
var notShared = []string{"migrations", "ledger_floors", "shard_layouts"}

// layout is how rows are spread since a time of their own.
type layout struct {
	number uint32
	since  time.Time
	// weights are those of the shards in remote_servers, in order.
	weights []uint32
	// done: the Distributed tables are by it.
	done bool
}

const (
	// layoutAhead is how far before its first moment a layout is written down: by then
	// nobody writes by the one before. Clocks may be apart by less.
	layoutAhead = 10 * time.Minute
	// layoutLeft is what must be left of that when Distributed tables change.
	layoutLeft = 5 * time.Minute
)

// sharding is the key by which a table's rows are spread: the remainder picks a shard by
// the weights of its layout, and the same one when shards come after them. It is empty
// for others: by a key ClickHouse judges which groups are whole in one shard, so a view
// of counts must have none.
func sharding(name string, layouts []layout) string {
	key := spread[name]
	if key == nil {
		return ""
	}
	hash := "cityHash64(" + strings.Join(key[1:], ", ") + ")"
	var out []string
	for i, l := range layouts {
		var total uint32
		for _, w := range l.weights {
			total += w
		}
		if i+1 < len(layouts) {
			out = append(out, key[0]+" < "+Timestamp(layouts[i+1].since))
		}
		out = append(out, fmt.Sprintf("%s %% %d", hash, total))
	}
	if len(out) == 1 {
		return out[0]
	}
	return "multiIf(" + strings.Join(out, ", ") + ")"
}

// shardDatabase is the name of the database with a shard's own part of the tables.
func shardDatabase(database string) string { return database + "_shard" }

// onAll runs a statement that is for all servers, ON CLUSTER.
func (s *Store) onAll(ctx context.Context, q string, args ...any) error {
	if s.onCluster != nil {
		return s.onCluster(ctx, s.tablesDatabase(), q, args...)
	}
	return s.tables.Exec(ctx, q, args...)
}

// makeOnAll makes a table by a statement that is for all servers, if one lacks it.
func (s *Store) makeOnAll(ctx context.Context, table, q string) error {
	if have, err := s.haveAll(ctx, s.tablesDatabase(), table); err != nil || have {
		return err
	}
	return s.onAll(ctx, q)
}

// checkShards reads which shards there are, and makes sure that the ledger is where it
// should be.
func (s *Store) checkShards(ctx context.Context) (weights []uint32, err error) {
	if !s.sharded { // or migrations would make its tables where those over all shards are
		var over uint64
		if err := s.tables.QueryRow(ctx, `SELECT count() FROM system.tables WHERE database = ? AND engine = 'Distributed'`, s.Database()).Scan(&over); err != nil {
			return nil, fmt.Errorf("shards: %w", err)
		}
		if over > 0 {
			return nil, fmt.Errorf("database %s %w: its rows are spread over shards, and this auditor is not told so (clickhouse.sharded)", s.Database(), ErrShard)
		}
	}
	if s.cluster == "" {
		return nil, nil
	}
	if !s.sharded {
		var shards uint64
		if err := s.tables.QueryRow(ctx, `SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = ?`, s.cluster).Scan(&shards); err != nil {
			return nil, fmt.Errorf("cluster %s: %w", s.cluster, err)
		}
		if shards > 1 { // one that is not there is refused by the first statement ON CLUSTER
			return nil, fmt.Errorf("cluster %s %w", s.cluster, ErrShards)
		}
		return nil, nil
	}
	rows, err := s.tables.Query(ctx, `SELECT shard_num, any(shard_weight), max(is_local), count() > 1 AND min(internal_replication) = 0 FROM system.clusters
		WHERE cluster = ? GROUP BY shard_num ORDER BY shard_num`, s.cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", s.cluster, err)
	}
	defer rows.Close()
	ours, doubles := 0, false
	for rows.Next() {
		var number, weight uint32
		var local, doubled uint8
		if err := rows.Scan(&number, &weight, &local, &doubled); err != nil {
			return nil, fmt.Errorf("cluster %s: %w", s.cluster, err)
		}
		weights = append(weights, weight)
		doubles = doubles || doubled != 0
		if local != 0 {
			ours = len(weights)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", s.cluster, err)
	}
	switch {
	case len(weights) == 0: // as above
	case ours != 1:
		return nil, fmt.Errorf("cluster %s %w: the server of clickhouse.dsn is not of its first shard, which has the ledger (is_local in its system.clusters)", s.cluster, ErrShard)
	case doubles:
		return nil, fmt.Errorf("cluster %s %w: its shards have no internal_replication, so all rows would come to each replica from two sides", s.cluster, ErrShard)
	case slices.Contains(weights, 0):
		return nil, fmt.Errorf("cluster %s %w: a shard has weight 0", s.cluster, ErrShard)
	}
	return weights, nil
}

// layouts reads how rows were and are spread; none of a new database.
func (s *Store) layouts(ctx context.Context) ([]layout, error) {
	fail := func(err error) ([]layout, error) { return nil, fmt.Errorf("shards: %w", err) }
	var there uint64
	err := s.tables.QueryRow(ctx, `SELECT count() FROM system.tables WHERE database = ? AND name = 'shard_layouts'`, s.tablesDatabase()).Scan(&there)
	if err != nil || there == 0 {
		return nil, err
	}
	if err := s.sync(ctx, "shard_layouts"); err != nil {
		return fail(err)
	}
	rows, err := s.tables.Query(ctx, `SELECT number, since, weights, done FROM shard_layouts FINAL ORDER BY number`)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var out []layout
	for rows.Next() {
		var l layout
		if err := rows.Scan(&l.number, &l.since, &l.weights, &l.done); err != nil {
			return fail(err)
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

func (s *Store) writeLayout(ctx context.Context, l layout) error {
	err := s.tables.Exec(s.inserting(ctx, ""), `INSERT INTO shard_layouts (number, since, weights, done, at) VALUES (?, ?, ?, ?, ?)`, l.number, l.since, l.weights, l.done, time.Now().UTC())
	if err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	return nil
}

// planLayout tells whether shards were added since the tables were made, or are being
// added, and writes it down for auditors that write meanwhile.
func (s *Store) planLayout(ctx context.Context) (grows bool, err error) {
	if !s.sharded {
		return false, nil
	}
	weights, err := s.checkShards(ctx)
	if err != nil {
		return false, err
	}
	all, err := s.layouts(ctx)
	if err != nil || len(all) == 0 { // tables of one shard, which become the first one's
		return err == nil, err
	}
	last := all[len(all)-1]
	if slices.Equal(weights, last.weights) {
		return !last.done, nil
	}
	if len(weights) < len(last.weights) || !slices.Equal(weights[:len(last.weights)], last.weights) || !last.done {
		return false, fmt.Errorf("cluster %s %w: rows are spread over shards of weights %v, and it has %v; shards can only be added, after those that are there", s.cluster, ErrShard, last.weights, weights)
	}
	return true, s.writeLayout(ctx, layout{number: last.number + 1, since: time.Now().Add(layoutAhead).UTC(), weights: weights})
}

// nextLayout is a time that no row has reached, and none will before all auditors know:
// the one that was planned, or a later one.
func (s *Store) nextLayout(ctx context.Context, since time.Time) (time.Time, error) {
	if time.Until(since) < layoutLeft { // an earlier try was cut off
		since = time.Now().Add(layoutAhead)
	}
	for _, name := range []string{"request_rows", "tunnel_rows", "cloudtrail_rows"} {
		var at time.Time
		if err := s.tables.QueryRow(ctx, "SELECT max("+spread[name][0]+") FROM "+s.everywhere(quote(s.tablesDatabase())+"."+name)).Scan(&at); err != nil {
			return since, fmt.Errorf("shards: %w", err)
		}
		if !at.Before(since) {
			since = at.Add(time.Second)
			s.log.Warn().Str("table", name).Time("until", at).Msg("rows are of the future: new shards get none until then")
		}
	}
	return since.UTC().Truncate(time.Microsecond), nil
}

// shard makes ready what rows are spread by. Where shards were added, nobody may write.
func (s *Store) shard(ctx context.Context) error {
	if !s.sharded {
		return nil
	}
	for _, name := range []string{s.tablesDatabase(), s.Database()} { // of a shard that was added
		have, err := s.haveAll(ctx, name, "")
		if err == nil && !have {
			err = s.createOnCluster(ctx, s.tables.Exec, name)
		}
		if err != nil {
			return fmt.Errorf("shards: %w", err)
		}
	}
	d := dialect{cluster: s.cluster}
	err := s.makeOnAll(ctx, "shard_layouts", `CREATE TABLE IF NOT EXISTS shard_layouts `+d.OnCluster()+` (number UInt32, since DateTime64(6, 'UTC'), weights Array(UInt32), done Bool, at DateTime64(6, 'UTC'))
		ENGINE = `+d.Engine("ReplacingMergeTree", "at")+` ORDER BY number`)
	if err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	all, err := s.layouts(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		weights, err := s.checkShards(ctx)
		if err != nil {
			return err
		}
		var there uint64
		if err := s.tables.QueryRow(ctx, `SELECT count() FROM system.tables WHERE database = ? AND name = 'migrations'`, s.tablesDatabase()).Scan(&there); err != nil {
			return fmt.Errorf("shards: %w", err)
		}
		if there > 0 { // they were those of a cluster of one shard
			weights = weights[:min(1, len(weights))]
			if err := s.copyTables(ctx); err != nil {
				return err
			}
		}
		if err := s.writeLayout(ctx, layout{since: time.Unix(0, 0).UTC(), weights: weights, done: true}); err != nil {
			return err
		}
	}
	if grows, err := s.planLayout(ctx); err != nil || !grows {
		return err
	}
	if all, err = s.layouts(ctx); err != nil {
		return err
	}
	last := all[len(all)-1]
	if err := s.copyTables(ctx); err != nil {
		return err
	}
	if last.since, err = s.nextLayout(ctx, last.since); err != nil {
		return err
	}
	if err := s.writeLayout(ctx, last); err != nil {
		return err
	}
	if err := s.distribute(ctx); err != nil {
		return err
	}
	last.done = true
	return s.writeLayout(ctx, last)
}

// copyTables makes the tables and views of this server on servers that lack them, with
// the same ids, by which replicas know each other. Views over tables of the asked name,
// made before its database was renamed, are made over those beside them.
func (s *Store) copyTables(ctx context.Context) error {
	rows, err := s.tables.Query(ctx, `SELECT name, create_table_query, as_select FROM system.tables WHERE database = ? AND NOT startsWith(name, '.') ORDER BY engine = 'View'
		SETTINGS show_table_uuid_in_table_create_query_if_not_nil = 1`, s.tablesDatabase())
	if err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	defer rows.Close()
	over := regexp.MustCompile(`\b(FROM|JOIN) (?:` + regexp.QuoteMeta(s.Database()) + "|" + regexp.QuoteMeta(quote(s.Database())) + `)\.`)
	for rows.Next() {
		var name, q, view string
		if err := rows.Scan(&name, &q, &view); err != nil {
			return fmt.Errorf("shards: %w", err)
		}
		if over.MatchString(view) {
			q = "CREATE OR REPLACE VIEW " + quote(name) + " " + dialect{cluster: s.cluster}.OnCluster() + " AS " + over.ReplaceAllString(view, "$1 ")
		} else {
			q = copied(q, s.cluster)
		}
		if err := s.onAll(ctx, q); err != nil {
			return fmt.Errorf("shards: make %s: %w", name, err)
		}
	}
	return rows.Err()
}

// copied is a table's statement as ClickHouse writes it, "CREATE TABLE DATABASE.NAME UUID
// 'ID' (…", for all servers that have no such table.
func copied(q, cluster string) string {
	for _, kind := range []string{"TABLE ", "VIEW "} {
		if rest, ok := strings.CutPrefix(q, "CREATE "+kind); ok {
			q = "CREATE " + kind + "IF NOT EXISTS " + rest
			break
		}
	}
	head, rest, _ := strings.Cut(q, " (")
	return head + " " + dialect{cluster: cluster}.OnCluster() + " (" + rest
}

// distribute makes the Distributed tables over all tables and views of the shards, where
// they are not as they should be on every server.
func (s *Store) distribute(ctx context.Context) error {
	if !s.sharded {
		return nil
	}
	return s.distributeOver(ctx, s.tablesDatabase(), s.Database())
}

// layoutMark begins the comment of a Distributed table, which says what it was made by.
const layoutMark = "postern shards "

func (s *Store) distributeOver(ctx context.Context, under, over string) error {
	fail := func(err error) error { return fmt.Errorf("shards: database %s: %w", over, err) }
	keys, err := s.shardingKeys(ctx, under)
	if err != nil {
		return fail(err)
	}
	columns, err := namedStrings(s.tables.Query(ctx, `SELECT table, toString(cityHash64(groupArray((name, type, toString(default_kind), default_expression))))
		FROM (SELECT * FROM system.columns WHERE database = ? ORDER BY table, position) GROUP BY table`, under))
	if err != nil {
		return fail(err)
	}
	up, _, err := s.answering(ctx)
	if err != nil {
		return fail(err)
	}
	// That of every server that answers, or of none.
	made, err := namedStrings(s.tables.Query(ctx, `SELECT name, if(uniqExact(comment, engine) = 1 AND count() = ?, any(comment), '')
		FROM `+s.everywhere("system.tables")+` WHERE database = ? GROUP BY name`+thatAnswer, up, over))
	if err != nil {
		return fail(err)
	}
	if err := s.checkOver(ctx, over); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		comment := layoutMark + columns[name] + " " + keys[name]
		if made[name] == comment {
			continue
		}
		q := fmt.Sprintf("CREATE OR REPLACE TABLE %s.%s %s AS %s.%s ENGINE = %s COMMENT %s", quote(over), quote(name), dialect{cluster: s.cluster}.OnCluster(),
			quote(under), quote(name), s.distributed(under, name, keys[name]), literal(comment))
		if err := s.onAll(ctx, q); err != nil {
			return fail(fmt.Errorf("%s: %w", name, err))
		}
	}
	return nil
}

// shardingKeys are those of the tables and views over which there are Distributed tables,
// by name.
func (s *Store) shardingKeys(ctx context.Context, under string) (map[string]string, error) {
	all, err := s.layouts(ctx)
	if err != nil {
		return nil, err
	}
	engines, err := namedStrings(s.tables.Query(ctx, `SELECT name, engine FROM system.tables WHERE database = ?`, under))
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for name, engine := range engines {
		if slices.Contains(notShared, name) || strings.HasPrefix(name, ".") {
			continue
		}
		keys[name] = sharding(name, all)
		if keys[name] == "" && engine != "View" {
			keys[name] = "0" // the first shard
		}
	}
	return keys, nil
}

// distributed is the engine of a table over that of every shard.
func (s *Store) distributed(under, name, key string) string {
	args := []string{literal(s.cluster), literal(under), literal(name)}
	if key != "" {
		args = append(args, key)
	}
	return "Distributed(" + strings.Join(args, ", ") + ")"
}

// checkOver makes sure that a database for Distributed tables has no others: they would be
// replaced.
func (s *Store) checkOver(ctx context.Context, over string) error {
	var own uint64
	err := s.conn.QueryRow(ctx, `SELECT count() FROM `+s.everywhere("system.tables")+` WHERE database = ? AND engine != 'Distributed'`+thatAnswer, over).Scan(&own)
	if err == nil && own > 0 {
		err = fmt.Errorf("%w: it has tables of its own; see docs/tables.md, \"From one shard to several\"", ErrShard)
	}
	if err != nil {
		return fmt.Errorf("shards: database %s: %w", over, err)
	}
	return nil
}

func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

func namedStrings(rows driver.Rows, err error) (map[string]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, rows.Err()
}

// CheckReader makes sure that a reader's questions that take two tables are answered
// whole: of a server that asks each shard for its part of both, the answer would be wrong
// or refused.
func (s *Store) CheckReader(ctx context.Context, conn driver.Conn) error {
	if !s.sharded {
		return nil
	}
	var mode string
	if err := conn.QueryRow(ctx, `SELECT getSetting('distributed_product_mode')`).Scan(&mode); err != nil {
		return fmt.Errorf("ask for a reader's settings: %w", err)
	}
	if mode != "global" {
		return fmt.Errorf("cluster %s %w: users who read need the setting distributed_product_mode = 'global', and have '%s'", s.cluster, ErrShard, mode)
	}
	return nil
}

// noteLayout remembers by which layout this store writes.
func (s *Store) noteLayout(ctx context.Context) error {
	all, err := s.layouts(ctx)
	if err == nil && len(all) > 0 {
		s.layout.Store(1 + all[len(all)-1].number)
	}
	return err
}

// checkLayout wraps ErrGrown if another store has begun to add shards.
func (s *Store) checkLayout(ctx context.Context) error {
	if !s.sharded || s.layout.Load() == 0 {
		return nil
	}
	all, err := s.layouts(ctx)
	if err == nil && len(all) > 0 && 1+all[len(all)-1].number > s.layout.Load() {
		err = ErrGrown
	}
	return err
}
