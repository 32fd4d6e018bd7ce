package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed migrations/*.sql
var migrations embed.FS

// made is what the migrations make of a new database on a single server, as ClickHouse
// writes it, after a line that says so.
//
//go:generate env POSTERN_WRITE_SCHEMA=1 go test -count=1 -run TestNewDatabase .
//go:embed schema.sql
var made string

const madeBy = "-- Made from migrations/*.sql by go generate: do not edit.\n\n"

// ErrForeign says that a migration was applied in another form than this one.
var ErrForeign = errors.New("was applied in another form: the database belongs to another version of postern")

// ErrNewer says that the tables are of a newer version than this one, which must
// not write what it doesn't know all of.
var ErrNewer = errors.New("the tables are of a newer version of postern")

// schemaMark is where, besides in migrations, it is written down which schema the
// tables have or are about to get.
const schemaMark = "schema"

// migrationAtMost bounds a migration, which may go over all rows.
const migrationAtMost = 24 * time.Hour

// unknownDatabase is ClickHouse's error code for a database that isn't there.
const unknownDatabase = 81

// Migrate makes the database if need be, a new one at once, and applies the migrations
// that it has not had yet, in order. Every statement can be applied again, so a crash in
// the middle of one, or two auditors starting at once, do no harm. A migration
// that was applied and has changed since is refused: released ones never change. So
// are tables that a newer version has migrated. Where Behind says so, nobody may
// write meanwhile.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.CheckSchema(ctx); err != nil {
		return err
	}
	if _, err := s.checkShards(ctx); err != nil {
		return err
	}
	if err := s.countReplicas(ctx); err != nil {
		return err
	}
	if err := s.shard(ctx); err != nil {
		return err
	}
	d := dialect{cluster: s.cluster}
	record := `CREATE TABLE IF NOT EXISTS migrations ` + d.OnCluster() + ` (version UInt32, name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = ` + d.Engine("ReplacingMergeTree") + ` ORDER BY version`
	if err := s.makeOnAll(ctx, "migrations", record); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	applied := map[uint32]string{}
	rows, err := s.tables.Query(ctx, `SELECT version, sha256 FROM migrations FINAL`)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var v uint32
		var sum string
		if err := rows.Scan(&v, &sum); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		applied[v] = sum
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	names, err := s.migrationNames()
	if err != nil {
		return err
	}
	if len(applied) == 0 {
		if applied, err = s.create(ctx, names); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	for _, name := range names {
		if err := s.apply(ctx, d, name, applied); err != nil {
			return fmt.Errorf("migration %s: %w", strings.TrimPrefix(name, "migrations/"), err)
		}
	}
	if err := s.distribute(ctx); err != nil {
		return err
	}
	s.dropForgotten(ctx)
	return s.noteLayout(ctx)
}

func (s *Store) migrationNames() ([]string, error) { return fs.Glob(s.migrations, "migrations/*.sql") } // sorted

func numberOf(name string) (uint64, error) {
	number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
	version, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("migration %s has no number: %w", name, err)
	}
	return version, nil
}

// schema is the number of this version's last migration.
func (s *Store) schema() (uint64, error) {
	names, err := s.migrationNames()
	if err != nil || len(names) == 0 {
		return 0, err
	}
	return numberOf(names[len(names)-1])
}

// tablesSchema is that of the last one that was applied to the tables, and that of
// the last one that is about to be; 0 of a new database.
func (s *Store) tablesSchema(ctx context.Context) (applied, wanted uint64, err error) {
	for _, of := range []struct {
		table, q string
		to       *uint64
	}{{"migrations", `SELECT toUInt64(max(version)) FROM migrations`, &applied}, {"ledger_floors", `SELECT max(floor) FROM ledger_floors WHERE stream = '` + schemaMark + `'`, &wanted}} {
		var there uint64
		if err = s.tables.QueryRow(ctx, `SELECT count() FROM system.tables WHERE database = ? AND name = ?`, s.tablesDatabase(), of.table).Scan(&there); err == nil && there > 0 {
			err = s.tables.QueryRow(ctx, of.q).Scan(of.to)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("schema: %w", err)
		}
	}
	return applied, wanted, nil
}

// CheckSchema makes the database if need be, and wraps ErrNewer if its tables have,
// or are about to get, a schema of a newer version.
func (s *Store) CheckSchema(ctx context.Context) error {
	if err := s.createDatabase(ctx); err != nil {
		return err
	}
	own, err := s.schema()
	if err != nil {
		return err
	}
	applied, wanted, err := s.tablesSchema(ctx)
	if err == nil && max(applied, wanted) > own {
		err = fmt.Errorf("database %s: %w: schema %d, this version knows %d", s.Database(), ErrNewer, max(applied, wanted), own)
	}
	if err == nil {
		err = s.checkLayout(ctx)
	}
	return err
}

// Filled makes the database if need be, and tells whether it has tables.
func (s *Store) Filled(ctx context.Context) (bool, error) {
	if err := s.createDatabase(ctx); err != nil {
		return false, err
	}
	applied, _, err := s.tablesSchema(ctx)
	return applied > 0, err
}

// Behind tells whether tables that somebody may be writing to lack migrations. If
// so, it has said so to auditors of earlier versions, which stop at CheckSchema.
func (s *Store) Behind(ctx context.Context) (bool, error) {
	if err := s.CheckSchema(ctx); err != nil {
		return false, err
	}
	own, err := s.schema()
	if err != nil {
		return false, err
	}
	names, err := s.migrationNames()
	if err != nil {
		return false, err
	}
	applied, _, err := s.tablesSchema(ctx)
	if err != nil || applied == 0 {
		return false, err
	}
	if err := s.countReplicas(ctx); err != nil {
		return false, err
	}
	var had uint64
	if grows, err := s.planLayout(ctx); err != nil || grows {
		return grows, err
	}
	if err := s.tables.QueryRow(ctx, `SELECT uniqExact(version) FROM migrations`).Scan(&had); err != nil || had >= uint64(len(names)) {
		return false, err
	}
	return true, s.SetMark(ctx, schemaMark, own)
}

// create makes the tables of a new database as the migrations would have left them, in a
// fraction of their time, and notes those. It leaves it to them where several servers take part,
// and where there are tables already that are not these.
func (s *Store) create(ctx context.Context, names []string) (applied map[uint32]string, err error) {
	if s.cluster != "" || s.onCluster != nil || s.migrations != fs.FS(migrations) {
		return nil, nil
	}
	statements := strings.Split(strings.TrimSuffix(strings.TrimPrefix(made, madeBy), ";\n"), ";\n")
	if unlike, err := s.hasUnlike(ctx, statements); err != nil || unlike {
		return nil, err
	}
	for _, q := range statements {
		err := s.tables.Exec(ctx, q)
		if e := (*clickhouse.Exception)(nil); errors.As(err, &e) { // a server of another version may not take what this one's wrote
			s.log.Debug().Err(err).Msg("clickhouse: the tables are made migration by migration")
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	applied = map[uint32]string{}
	var rows []string
	for _, name := range names {
		version, err := numberOf(name)
		if err != nil {
			return nil, err
		}
		sum, _, err := s.sumOf(name)
		if err != nil {
			return nil, err
		}
		applied[uint32(version)] = sum
		rows = append(rows, fmt.Sprintf("(%d, '%s', '%s')", version, strings.TrimPrefix(name, "migrations/"), sum))
	}
	return applied, s.tables.Exec(s.inserting(ctx, ""), `INSERT INTO migrations (version, name, sha256) VALUES `+strings.Join(rows, ", "))
}

// hasUnlike tells whether there are tables or views that statements don't make as they are: of
// a start that was cut off, or of another auditor that starts just now, they do.
func (s *Store) hasUnlike(ctx context.Context, statements []string) (bool, error) {
	rows, err := s.tables.Query(ctx, `SELECT `+definition+` FROM system.tables WHERE database = currentDatabase() AND `+ofSchema)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	known := map[string]bool{}
	for _, q := range statements {
		known[strings.ReplaceAll(strings.Replace(q, " IF NOT EXISTS", "", 1), s.tablesDatabase()+".", "")] = true
	}
	for rows.Next() {
		var there string
		if err := rows.Scan(&there); err != nil {
			return false, err
		}
		if !known[there] {
			return true, nil
		}
	}
	return false, rows.Err()
}

// What the schema is made of, in system.tables, and how ClickHouse writes it there.
const (
	definition = `formatQuery(replaceAll(create_table_query, concat(database, '.'), ''))`
	ofSchema   = `name NOT LIKE '.inner%' AND name != 'migrations'`
)

// sumOf is the SHA-256 of a migration, which is noted with it, and its text.
func (s *Store) sumOf(name string) (sum string, text []byte, err error) {
	text, err = fs.ReadFile(s.migrations, name)
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:]), text, err
}

func (s *Store) apply(ctx context.Context, d dialect, name string, applied map[uint32]string) error {
	sum, text, err := s.sumOf(name)
	if err != nil {
		return err
	}
	base := strings.TrimPrefix(name, "migrations/")
	version, err := numberOf(name)
	if err != nil {
		return err
	}
	if was, ok := applied[uint32(version)]; ok {
		if was != sum {
			return ErrForeign
		}
		return nil
	}
	statements, err := d.statements(base, text)
	if err == nil && version > 1 { // some read what is there
		err = s.caughtUp(ctx)
	}
	if err != nil {
		return err
	}
	// The driver gives a statement five minutes unless it hears of a deadline.
	long, cancel := context.WithTimeout(ctx, migrationAtMost)
	defer cancel()
	for i, q := range statements {
		exec, by := s.onAll, long
		if insertion.MatchString(q) {
			exec, by = s.tables.Exec, clickhouse.Context(long, clickhouse.WithSettings(acknowledged(s.rowsQuorum.Load())))
			if s.sharded {
				if err := s.distribute(ctx); err != nil {
					return err
				}
				exec = s.conn.Exec // rows of all shards, to where each belongs
			}
		}
		if err := exec(by, q); err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
	}
	return s.tables.Exec(s.inserting(ctx, ""), `INSERT INTO migrations (version, name, sha256) VALUES (?, ?, ?)`, version, base, sum)
}

func (s *Store) createDatabase(ctx context.Context) error {
	err := s.createDatabaseOf(ctx, s.conn, s.Database())
	if err == nil && s.sharded {
		err = s.createDatabaseOf(ctx, s.tables, s.tablesDatabase())
	}
	return err
}

func (s *Store) createDatabaseOf(ctx context.Context, of driver.Conn, name string) error {
	err := of.Ping(ctx)
	var e *clickhouse.Exception
	if err == nil || !errors.As(err, &e) || e.Code != unknownDatabase {
		if err != nil {
			return fmt.Errorf("connect to clickhouse at %s: %w", strings.Join(s.options.Addr, ", "), err)
		}
		return nil
	}
	if s.sharded && name == s.tablesDatabase() { // not beside tables of one shard, which are to be renamed
		if err := s.checkOver(ctx, s.Database()); err != nil {
			return err
		}
	}
	o := *s.options
	o.Auth.Database = "default"
	conn, err := clickhouse.Open(&o)
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.createOnCluster(ctx, conn.Exec, name)
}

func (s *Store) createOnCluster(ctx context.Context, exec func(ctx context.Context, q string, args ...any) error, name string) error {
	if s.onCluster != nil {
		exec = func(ctx context.Context, q string, args ...any) error { return s.onCluster(ctx, "default", q, args...) }
	}
	q := "CREATE DATABASE IF NOT EXISTS `" + strings.ReplaceAll(name, "`", "``") + "` " + dialect{cluster: s.cluster}.OnCluster()
	if err := exec(ctx, q); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// insertion is true of statements that write rows, whatever is said before.
var insertion = regexp.MustCompile(`^(--[^\n]*\n|\s)*INSERT `)

// dialect fills in what differs between a node and a cluster.
type dialect struct{ cluster string }

// OnCluster is the ON CLUSTER clause, empty on a single node.
func (d dialect) OnCluster() string {
	if d.cluster == "" {
		return ""
	}
	return "ON CLUSTER `" + strings.ReplaceAll(d.cluster, "`", "``") + "`"
}

// Engine names a table engine: MergeTree on a node, ReplicatedMergeTree on a
// cluster (paths by the server's default_replica_path).
func (d dialect) Engine(name string, args ...string) string {
	if d.cluster != "" {
		name = "Replicated" + name
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// DeduplicationWindow is the setting that keeps tokens of inserted blocks.
func (d dialect) DeduplicationWindow() string {
	if d.cluster != "" {
		return "replicated_deduplication_window"
	}
	return "non_replicated_deduplication_window"
}

// statements renders a migration and cuts it at semicolons that end a line.
func (d dialect) statements(name string, text []byte) ([]string, error) {
	t, err := template.New(name).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, d); err != nil {
		return nil, err
	}
	var out []string
	for q := range strings.SplitSeq(b.String()+"\n", ";\n") {
		if q = strings.TrimSpace(q); q != "" {
			out = append(out, q)
		}
	}
	return out, nil
}
