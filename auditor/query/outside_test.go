package query

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// TestSQLReadsNoFiles: whatever way the function file is named, nothing of a file is
// in the answer; what only looks like it is answered.
func TestSQLReadsNoFiles(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	owner := embeddedtest.Open(t, dsn)
	if err := owner.Exec(t.Context(), "CREATE TABLE t (file String, x String) ENGINE = MergeTree ORDER BY x"); err != nil {
		t.Fatal(err)
	}
	if err := owner.Exec(t.Context(), "INSERT INTO t (file, x) VALUES ('a', 'b')"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	sql := NewSQL(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), Limits{})
	for _, q := range []string{
		"SELECT file('PATH')", "SELECT file /* f */ ('PATH')", "SELECT `file`('PATH')", "SELECT \"file\"('PATH')", "SELECT `fi\\x6ce`('PATH')",
		"file('PATH')", "EXPLAIN SELECT file('PATH')", "DESCRIBE format(CSV, file('PATH'))", "SELECT 1 WHERE file('PATH') = 'secret'",
		"SELECT * APPLY(file) FROM (SELECT 'PATH' AS p)", "SELECT * APPLY file FROM (SELECT 'PATH' AS p)", "SELECT * APPLY(x -> file(x)) FROM (SELECT 'PATH' AS p)",
		"SELECT arrayMap(file, ['PATH'])", "SELECT arrayMap(x -> file(x), ['PATH'])", "WITH file AS f SELECT arrayMap(f, ['PATH'])", "WITH f AS (SELECT file('PATH')) SELECT * FROM f",
		"SELECT arrayMap({f:Identifier}, ['PATH']) SETTINGS param_f = 'file'", "SELECT * FROM view(SELECT file('PATH'))", "SELECT t.file('PATH') FROM t",
		"SELECT 'it''s', file('PATH'), 'x'", "SELECT '\\'', file('PATH'), '\\''", "SELECT $$'$$, file('PATH')", "SELECT 1 -- '\n, file('PATH')",
	} {
		table, err := sql.Run(t.Context(), strings.ReplaceAll(q, "PATH", path))
		var refused *BadInput
		var failed *SQLError
		if !errors.As(err, &refused) && !errors.As(err, &failed) {
			t.Errorf("%s: %v, %v", q, table, err)
		}
	}
	for _, q := range []string{"SELECT t.file FROM t", "SELECT f.file AS x FROM t AS f WHERE f.file = 'a' ORDER BY f.file", "SELECT 'file', 'file(', x AS files, x AS _file FROM t -- file",
		"SELECT 'it''s file', 'file\\'file'", "SELECT map('a', 1)", "SHOW TABLES"} {
		if _, err := sql.Run(t.Context(), q); err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
	// An error of syntax is of the statement that was given.
	_, err := sql.Run(t.Context(), "SELECT 1\nFRM t")
	var syntax *SQLError
	if !errors.As(err, &syntax) || syntax.Line != 2 || strings.Contains(syntax.Message, "formatQuery") {
		t.Errorf("%+v", err)
	}
}

// TestSQLMakesNoFiles: the function sqlite makes the file that it names before it is asked
// whether the user may read it.
func TestSQLMakesNoFiles(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	owner := embeddedtest.Open(t, dsn)
	var dir string
	if err := owner.QueryRow(t.Context(), "SELECT getServerSetting('path')").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "made.db")
	sql := NewSQL(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, dsn)), Limits{})
	for _, q := range []string{
		"SELECT * FROM sqlite('PATH', 't')", "SELECT * FROM `sqlite` ('PATH', 't')", "SELECT * FROM SQLite('PATH', 't')", "DESCRIBE sqlite('PATH', 't')", "SELECT * FROM view(SELECT * FROM sqlite /* x */ ('PATH', 't'))",
		"SELECT '\\'', a FROM sqlite('PATH', 't') AS a", "WITH x AS (SELECT * FROM sqlite('PATH', 't')) SELECT * FROM x", "INSERT INTO FUNCTION sqlite('PATH', 't') SELECT 1", "EXPLAIN SELECT * FROM \"sqlite\"('PATH', 't')",
	} {
		if table, err := sql.Run(t.Context(), strings.ReplaceAll(q, "PATH", path)); err == nil {
			t.Errorf("%s: %v", q, table)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: makes a file", q)
			_ = os.Remove(path)
		}
	}
	if _, err := sql.Run(t.Context(), "SELECT 'sqlite(', 1 AS sqlite, sqlite + (1) AS `sqlite(`"); err != nil {
		t.Error(err)
	}
}
