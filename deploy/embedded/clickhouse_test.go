package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

func TestClickHouseInsertAndSelect(t *testing.T) {
	conn := embeddedtest.Open(t, embeddedtest.ClickHouse(t))
	mustExec(t, conn, "CREATE TABLE t (id UInt64, at DateTime64(6, 'UTC'), who LowCardinality(String)) ENGINE = ReplacingMergeTree ORDER BY id")
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	for range 2 { // the same rows again: the table keeps one of each
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO t (id, at, who)")
		if err != nil {
			t.Fatal(err)
		}
		for id := range uint64(1000) {
			if err := batch.Append(id, at, "alice"); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
	}
	var count, ids uint64
	var last time.Time
	if err := conn.QueryRow(t.Context(), "SELECT count(), uniqExact(id), max(at) FROM t FINAL WHERE who = 'alice'").Scan(&count, &ids, &last); err != nil {
		t.Fatal(err)
	}
	if count != 1000 || ids != 1000 || !last.Equal(at) {
		t.Errorf("%d rows, %d ids, last at %s", count, ids, last)
	}
}

// TestClickHouseDeduplicatesInserts: the auditor counts on a token's second
// insert being dropped, without a setting on the table.
func TestClickHouseDeduplicatesInserts(t *testing.T) {
	conn := embeddedtest.Open(t, embeddedtest.ClickHouse(t))
	mustExec(t, conn, "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
	for _, token := range []string{"AUDIT:1-3", "AUDIT:1-3", "AUDIT:4-6"} {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
		if err := conn.Exec(ctx, "INSERT INTO t (id) SELECT number FROM numbers(3)"); err != nil {
			t.Fatal(err)
		}
	}
	if got := count(t, conn, "t"); got != 6 {
		t.Errorf("%d rows, want 6: the second insert with a token is dropped", got)
	}
}

func TestClickHouseReaderOnlyReads(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	owner := embeddedtest.Open(t, dsn)
	mustExec(t, owner, "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
	mustExec(t, owner, "INSERT INTO t (id) VALUES (1)")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustExec(t, owner, "SYSTEM FLUSH LOGS") // makes system.query_log
	reader := embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn))
	if got := count(t, reader, "t"); got != 1 {
		t.Errorf("reader sees %d rows, want 1", got)
	}
	// clickhouse-go turns a deadline into a setting, which readonly=1 forbids but for our exception.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := reader.QueryRow(ctx, "SELECT 1").Err(); err != nil {
		t.Errorf("query with a deadline: %v", err)
	}
	const (
		denied, readonly, constraint = 497, 164, 452
		tooManyRows, memory          = 396, 241
	)
	for _, c := range []struct {
		query string
		code  int32
	}{
		{"INSERT INTO t (id) VALUES (2)", denied},
		{"CREATE TABLE u (id UInt64) ENGINE = Memory", denied},
		{"CREATE TEMPORARY TABLE u (id UInt64)", denied},
		{"DROP TABLE t", denied},
		{"ALTER TABLE t DELETE WHERE 1", denied},
		{"TRUNCATE TABLE t", denied},
		{"OPTIMIZE TABLE t FINAL", denied},
		{"GRANT SELECT ON *.* TO reader", denied},
		{"SYSTEM FLUSH LOGS", denied},
		{"SELECT * FROM system.users", denied},
		{"SELECT * FROM system.grants", denied},
		{"SELECT * FROM system.processes", denied},
		{"SELECT * FROM system.query_log", denied},
		{"SELECT * FROM system.server_settings", denied},
		{"SELECT * FROM file('" + secret + "', 'LineAsString')", denied},
		{"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", denied},
		{"SELECT * FROM remote('127.0.0.1:1', 'system', 'one')", denied},
		{"SELECT * FROM executable('id', 'LineAsString', 's String')", denied},
		{"SET max_memory_usage = 0", readonly},
		{"SET readonly = 0", readonly},
		{"SELECT 1 SETTINGS max_result_rows = 0", readonly},
		{"SELECT 1 SETTINGS max_execution_time = 0", constraint},
		{"SELECT 1 SETTINGS max_execution_time = 3600", constraint},
		{"SELECT number FROM numbers(2000000)", tooManyRows},
		{"SELECT length(groupArray(toString(number) || repeat('x', 1000))) FROM numbers(100000000)", memory},
	} {
		err := drain(t.Context(), reader, c.query)
		exception, ok := errors.AsType[*clickhouse.Exception](err)
		if !ok || exception.Code != c.code {
			t.Errorf("%s: %v, want code %d", c.query, err, c.code)
		}
	}
	// Neither may the owner reach outside the server, nor beyond postern's databases.
	for _, query := range []string{
		"SELECT * FROM file('" + secret + "', 'LineAsString')",
		"CREATE TABLE f (s String) ENGINE = File(LineAsString, '" + secret + "')",
		"CREATE TABLE f (s String) ENGINE = URL('http://127.0.0.1:1/', LineAsString)",
		"CREATE DATABASE elsewhere",
		"CREATE TABLE default.t (id UInt64) ENGINE = Memory",
	} {
		if err := drain(t.Context(), owner, query); err == nil {
			t.Errorf("owner: %s: no error", query)
		}
	}
}

// TestClickHouseStrangers: the engine's own user has no password, and may do
// nothing once the server has started.
func TestClickHouseStrangers(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	opts, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, auth := range []clickhouse.Auth{
		{Username: "default"}, {Username: embedded.Owner}, {Username: embedded.Owner, Password: "guess"}, {Username: embedded.Reader}, {Username: "root"},
	} {
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: opts.Addr, Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, query := range []string{
			"SYSTEM STOP LISTEN TCP", "SELECT * FROM postern.t", "SYSTEM SHUTDOWN",
			"SELECT length(range(100000000))", "SELECT length(range(100000000)) SETTINGS max_memory_usage = 0",
			"SELECT 1 SETTINGS max_execution_time = 0",
			"SELECT 1", "SELECT file('/proc/self/status')", "SELECT file('/proc/self/status') SETTINGS max_ast_elements = 1000", "SET max_ast_elements = 1000",
			"DESCRIBE format(CSV, file('/proc/self/status'))", "EXPLAIN SELECT file('/proc/self/status')",
		} {
			if err := drain(t.Context(), conn, query); err == nil {
				t.Errorf("%q: %s: no error", auth.Username, query)
			}
		}
	}
}

// TestClickHouseConfined: the function file needs no grant, so the engine itself can
// open nothing but what it needs.
func TestClickHouseConfined(t *testing.T) {
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := embeddedtest.StartClickHouse(t, func(cfg *embedded.ClickHouseConfig) { cfg.Dir, cfg.Log = dir, zerolog.New(log) })
	if said, err := os.ReadFile(log.Name()); err != nil || strings.Contains(string(said), "Landlock") {
		t.Skip("this kernel can't confine a process: ", string(said), err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	owner := embeddedtest.Open(t, c.DSN(embedded.Owner))
	for _, path := range []string{secret, filepath.Join(dir, "passwords.json"), filepath.Join(dir, "data", "..", "passwords.json"), "/proc/self/root" + secret, fmt.Sprintf("/proc/%d/environ", os.Getpid())} {
		var got string
		err := owner.QueryRow(t.Context(), "SELECT file(?)", path).Scan(&got)
		if err == nil || !strings.Contains(err.Error(), "Permission denied") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestClickHouseRestartKeepsDataAndPasswords(t *testing.T) {
	if info, err := os.Stat(os.DevNull); err == nil { // root's engine could change it
		defer func() {
			if after, err := os.Stat(os.DevNull); err != nil || after.Mode() != info.Mode() {
				t.Errorf("%s: mode %v, was %v", os.DevNull, after.Mode(), info.Mode())
			}
		}()
	}
	dir := t.TempDir()
	set := func(c *embedded.ClickHouseConfig) { c.Dir = dir }
	c := embeddedtest.NewClickHouse(t, set)
	if c.DSN(embedded.Owner) != "" {
		t.Error("an address before the server runs")
	}
	stop := embeddedtest.Run(t, c)
	conn := embeddedtest.Open(t, c.DSN(embedded.Owner))
	mustExec(t, conn, "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
	mustExec(t, conn, "INSERT INTO t (id) VALUES (1), (2)")
	user := password(t, c)
	conn.Close()
	stop()
	c = embeddedtest.StartClickHouse(t, set)
	if got := count(t, embeddedtest.Open(t, c.DSN(embedded.Owner)), "t"); got != 2 {
		t.Errorf("%d rows after a restart, want 2", got)
	}
	if diff := cmp.Diff(user, password(t, c)); diff != "" {
		t.Error("the password changed over a restart")
	}
	if c.DSN("default") != "" || c.DSN("") != "" {
		t.Error("an address for a user that isn't ours")
	}
	for _, name := range []string{"passwords.json", "users.xml", "server.xml", "lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o", name, info.Mode().Perm())
		}
	}
}

func TestClickHouseStartErrors(t *testing.T) {
	lib := embeddedtest.Lib(t)
	dir := t.TempDir()
	running := embeddedtest.StartClickHouse(t, func(c *embedded.ClickHouseConfig) { c.Dir = dir })
	opts, err := clickhouse.ParseDSN(running.DSN(embedded.Owner))
	if err != nil {
		t.Fatal(err)
	}
	var taken int
	if _, err := fmt.Sscanf(opts.Addr[0], "127.0.0.1:%d", &taken); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit func(*embedded.ClickHouseConfig)
		want string
	}{
		"directory in use":  {func(c *embedded.ClickHouseConfig) { c.Dir = dir }, "another postern uses this directory"},
		"port taken":        {func(c *embedded.ClickHouseConfig) { c.TCPPort = taken }, "port is taken"},
		"not a library":     {func(c *embedded.ClickHouseConfig) { c.Lib = text }, "task setup"},
		"no such program":   {func(c *embedded.ClickHouseConfig) { c.Command = []string{"/nonexistent/engine"} }, "run the engine"},
		"unusable memory":   {func(c *embedded.ClickHouseConfig) { c.MaxMemory = 1 << 10 }, "memory limit exceeded"},
		"another's program": {func(c *embedded.ClickHouseConfig) { c.Command = []string{"/bin/false"} }, "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := embeddedtest.NewClickHouse(t, func(cfg *embedded.ClickHouseConfig) {
				cfg.Lib, cfg.Log = lib, zerolog.Nop()
				c.edit(cfg)
			})
			err := s.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestFindLib(t *testing.T) {
	data := t.TempDir()
	t.Setenv("POSTERN_CLICKHOUSE_LIB", "")
	t.Setenv("XDG_DATA_HOME", data)
	_, err := embedded.FindLib("")
	if err == nil || !strings.Contains(err.Error(), "task setup") || !strings.Contains(err.Error(), "clickhouse.dsn") {
		t.Errorf("nowhere: %v, want what to do", err)
	}
	lib := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(lib, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := embedded.FindLib(lib); err != nil || got != lib {
		t.Errorf("explicit: %s, %v", got, err)
	}
	if got, err := embedded.FindLib(lib + ".not"); err == nil {
		t.Errorf("explicit path that doesn't exist gave %s", got)
	}
	t.Setenv("POSTERN_CLICKHOUSE_LIB", lib)
	if got, err := embedded.FindLib(""); err != nil || got != lib {
		t.Errorf("environment: %s, %v", got, err)
	}
}

func mustExec(t *testing.T, conn clickhouse.Conn, query string) {
	t.Helper()
	if err := conn.Exec(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, conn clickhouse.Conn, table string) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// drain reads a query's whole result: some errors come with the last block.
func drain(ctx context.Context, conn clickhouse.Conn, query string) error {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

func password(t *testing.T, c *embedded.ClickHouse) string {
	t.Helper()
	opts, err := clickhouse.ParseDSN(c.DSN(embedded.Owner))
	if err != nil {
		t.Fatal(err)
	}
	return opts.Auth.Password
}
