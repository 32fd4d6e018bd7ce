package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Readers who may see some AWS accounts only ask a database of their own. Its
// views run in the name of ScopeUser, who can't log in and under whose row
// policies a row of another account is not there: policies bite before any
// condition of a statement's, and what could get around them (table functions
// that read indexes, say) the readers' own user has no right to. Which accounts
// those are stands in the query's id, which travels beside the statement:
// nothing in a statement can change it, as it could change a setting
// (ClickHouse checks no constraint on the settings of a subquery).

// ScopeUser is the ClickHouse user in whose name the views read.
const ScopeUser = "postern_scope"

// inScope is true of rows whose account is one of the query's.
func inScope(account string) string {
	return "notEmpty(" + account + ") AND has(splitByChar(',', splitByChar('/', initialQueryID())[2]), " + account + ")"
}

// ScopeFilters are the row policies that ScopeUser needs, by table. It may read
// these tables and ScopeViews, and nothing else.
func ScopeFilters() map[string]string {
	return map[string]string{
		"request_rows":      inScope("account"),
		"tunnel_rows":       inScope("account"),
		"cloudtrail_rows":   inScope("recipient_account_id"),
		"finding_rows":      inScope("if(account != '', account, recipient_account_id)"),
		"credential_rows":   inScope("account"),
		"aws_token_rows":    inScope("account"),
		"session_rows":      inScope("account"),
		"trail_rows":        inScope("account"),
		"trail_file_rows":   inScope("account"),
		"trail_digest_rows": inScope("account"),
		// Subjects name the account; of what has none in its subject, the event does.
		"events": inScope("multiIf(stream = 'AUDIT' OR startsWith(channel, 'cloudtrail.files.') OR startsWith(channel, 'cloudtrail.digests.') OR startsWith(channel, 'cloudtrail.trails.'), " +
			"splitByChar('.', channel)[3], stream = 'CLOUDTRAIL', splitByChar('.', channel)[2], " +
			"stream = 'FINDINGS' OR startsWith(type, 'io.postern.session.started.'), " +
			"if(JSONExtractString(raw, 'data', 'account') != '', JSONExtractString(raw, 'data', 'account'), JSONExtractString(raw, 'data', 'recipient_account_id')), '')"),
	}
}

// ScopeViews are what those readers can ask, by the names that others know.
func ScopeViews() []string {
	return []string{"requests", "tunnels", "cloudtrail", "sessions", "findings", "credentials", "aws_tokens", "trails", "trail_files", "trail_digests", "events"}
}

// ScopeTables is all that ScopeUser has to be granted SELECT on.
func ScopeTables() []string {
	all := slices.Concat(slices.Collect(maps.Keys(ScopeFilters())), ScopeViews())
	slices.Sort(all)
	return slices.Compact(all)
}

// ScopeDatabase is the name of the database for readers of some accounts beside
// another.
func ScopeDatabase(database string) string { return database + "_scoped" }

// ErrScope says that answers could not be narrowed to accounts.
var ErrScope = errors.New("clickhouse is not set up for readers of some AWS accounts")

// MigrateScope makes that database as this version has its tables, after it has
// made sure that the row policies stand. Without them the error wraps ErrScope.
func (s *Store) MigrateScope(ctx context.Context) error {
	if err := s.checkPolicies(ctx); err != nil {
		return err
	}
	on := dialect{cluster: s.cluster}.OnCluster()
	under, over := ScopeDatabase(s.tablesDatabase()), ScopeDatabase(s.Database()) // the same but with shards
	for _, name := range slices.Compact([]string{under, over}) {
		if err := s.onAll(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(name)+" "+on); err != nil {
			return fmt.Errorf("create database %s: %w", name, err)
		}
	}
	for _, v := range ScopeViews() {
		columns := "*"
		if v == "events" {
			columns = "*, data, hash" // aliases, which a star leaves out
		}
		q := fmt.Sprintf("CREATE OR REPLACE VIEW %s.%s %s DEFINER = %s SQL SECURITY DEFINER AS SELECT %s FROM %s.%s",
			quote(under), v, on, ScopeUser, columns, quote(s.tablesDatabase()), v)
		if err := s.onAll(ctx, q); err != nil {
			return fmt.Errorf("view %s for readers of some accounts: %w", v, err)
		}
	}
	if s.sharded {
		return s.distributeOver(ctx, under, over)
	}
	return nil
}

// checkPolicies compares the row policies in force with those wanted, as
// ClickHouse writes them, and with what ScopeUser may read beside.
func (s *Store) checkPolicies(ctx context.Context) error {
	for table, filter := range ScopeFilters() {
		var fitting, all uint64
		err := s.tables.QueryRow(ctx, `SELECT countIf(formatQuerySingleLine(concat('SELECT ', select_filter)) = formatQuerySingleLine(concat('SELECT ', ?)) AND NOT is_restrictive), countIf(NOT is_restrictive)
			FROM system.row_policies WHERE database = ? AND table IN (?, '') AND (apply_to_all AND NOT has(apply_to_except, ?) OR has(apply_to_list, ?))`,
			filter, s.tablesDatabase(), table, ScopeUser, ScopeUser).Scan(&fitting, &all)
		if err != nil {
			return fmt.Errorf("ask for row policies: %w", err)
		}
		if fitting == 0 || fitting != all { // policies that permit add up
			return fmt.Errorf("%w: table %s needs exactly this version's row policy for user %s; `postern config clickhouse` prints all statements", ErrScope, table, ScopeUser)
		}
	}
	var more []string
	rows, err := s.tables.Query(ctx, `SELECT DISTINCT concat(toString(access_type), ' ON ', ifNull(database, '*'), '.', ifNull(table, '*')) FROM system.grants
		WHERE user_name = ? AND NOT (access_type = 'SELECT' AND database = ? AND table IN (?))`, ScopeUser, s.tablesDatabase(), ScopeTables())
	if err != nil {
		return fmt.Errorf("ask for grants: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var g string
		if err := rows.Scan(&g); err != nil {
			return fmt.Errorf("ask for grants: %w", err)
		}
		more = append(more, g)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("ask for grants: %w", err)
	}
	if len(more) > 0 {
		return fmt.Errorf("%w: user %s has more rights than it should: %s", ErrScope, ScopeUser, strings.Join(more, ", "))
	}
	return nil
}

// ScopeStatements are what an administrator runs on a ClickHouse server, once and
// after an upgrade that asks for it. The owner is the user of clickhouse.dsn; a
// cluster's name, where it is not empty, makes all on each of its servers. On a sharded
// one the policies are on each shard's tables.
func ScopeStatements(database, owner, cluster string, sharded bool) []string {
	on, settings := "", ""
	var more []string
	if cluster != "" {
		on = dialect{cluster: cluster}.OnCluster() + " "
	}
	grant := func(what, to string) string { return "GRANT " + on + what + " TO " + to }
	if sharded {
		settings = ", distributed_product_mode = 'global'"
		more = []string{grant("SELECT ON "+ScopeDatabase(database)+".*", "scoped"), grant("ALL ON "+ScopeDatabase(database)+".*", owner)}
		database = shardDatabase(database)
	}
	out := []string{
		"CREATE USER IF NOT EXISTS " + ScopeUser + " " + on + "HOST NONE",
		"CREATE USER IF NOT EXISTS scoped " + on + "IDENTIFIED BY 'CHANGE ME' SETTINGS readonly = 1, max_execution_time = 60 MIN 1 MAX 300 CHANGEABLE_IN_READONLY, max_memory_usage = 1073741824, max_result_rows = 1000000" + settings,
		grant("SELECT ON "+ScopeDatabase(database)+".*", "scoped"),
		grant("SET DEFINER ON "+ScopeUser, owner),
		grant("ALL ON "+ScopeDatabase(database)+".*", owner),
		// by which the owner makes sure that all of this stands
		grant("SHOW ROW POLICIES, SHOW USERS, SHOW ROLES ON *.*", owner),
		grant("SELECT ON system.row_policies", owner),
		grant("SELECT ON system.grants", owner),
	}
	out = append(out, more...)
	for _, table := range ScopeTables() {
		out = append(out, grant("SELECT ON "+database+"."+table, ScopeUser))
	}
	filters := ScopeFilters()
	for _, table := range slices.Sorted(maps.Keys(filters)) {
		out = append(out, fmt.Sprintf("CREATE ROW POLICY OR REPLACE %s %sON %s.%s USING %s TO %s", ScopeUser, on, database, table, filters[table], ScopeUser))
	}
	return out
}

// Scoped narrows a connection of a user who may read the database for readers of
// some accounts to these accounts. It only asks.
func Scoped(conn driver.Conn, accounts []string) driver.Conn {
	return scoped{conn, "scope/" + strings.Join(accounts, ",") + "/"}
}

type scoped struct {
	driver.Conn
	id string
}

func (s scoped) narrow(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithQueryID(s.id+rand.Text()))
}

func (s scoped) Select(ctx context.Context, into any, query string, args ...any) error {
	return s.Conn.Select(s.narrow(ctx), into, query, args...)
}

func (s scoped) Query(ctx context.Context, query string, args ...any) (driver.Rows, error) {
	return s.Conn.Query(s.narrow(ctx), query, args...)
}

func (s scoped) QueryRow(ctx context.Context, query string, args ...any) driver.Row {
	return s.Conn.QueryRow(s.narrow(ctx), query, args...)
}
