package store

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// The same migrations are valid on a cluster: every table is replicated and made on
// all servers, and all else is as on a single one.
func TestClusterDialect(t *testing.T) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	s, err := New(Config{DSN: embeddedtest.ClickHouse(t), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	// parsed is a statement as the engine understands it.
	parsed := func(q string) (out string) {
		t.Helper()
		if err := s.conn.QueryRow(t.Context(), `SELECT formatQuerySingleLine(?)`, q).Scan(&out); err != nil {
			t.Fatalf("%.200s: %v", q, err)
		}
		return out
	}
	replicated := dialect{cluster: "c1"}
	alone := strings.NewReplacer(" ON CLUSTER c1", "", "Replicated", "", "replicated_deduplication_window", "non_replicated_deduplication_window")
	numbers := map[string]bool{}
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if numbers[number] {
			t.Errorf("%s: another migration has its number", name)
		}
		numbers[number] = true
		text, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		on, err := replicated.statements(name, text)
		if err != nil {
			t.Fatal(err)
		}
		off, err := dialect{}.statements(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for i := range on {
			q := parsed(on[i])
			if got, want := alone.Replace(q), parsed(off[i]); got != want {
				t.Errorf("%s: statement %d differs from that of a single server by more than it should:\n%s\n%s", name, i+1, got, want)
			}
			if strings.HasPrefix(q, "INSERT INTO ") {
				continue // its table is replicated
			}
			if !strings.Contains(q, " ON CLUSTER c1") {
				t.Errorf("%s: statement %d is not ON CLUSTER", name, i+1)
			}
			if strings.HasPrefix(q, "CREATE TABLE") != strings.Contains(q, " ENGINE = Replicated") {
				t.Errorf("%s: statement %d is not replicated", name, i+1)
			}
		}
	}
	for _, table := range ledgerTables {
		parsed(catchUp(table))
	}
	for _, e := range (Retention{Events: time.Hour, Requests: time.Hour, CloudTrail: time.Hour}).tables() {
		ttl := e.ttl(Tiers{Policy: "p", Volume: "cold", After: time.Minute})
		if q := parsed("ALTER TABLE " + e.table + " " + replicated.OnCluster() + " MODIFY TTL " + ttl); !strings.Contains(q, "ON CLUSTER c1") || !strings.Contains(q, "MODIFY TTL "+ttl) {
			t.Errorf("TTL of %s is written otherwise than ClickHouse writes it: %s", e.table, q)
		}
	}
	// What an administrator is told to run. The engine here keeps no users of its own
	// (code 514), so it can't be run.
	for _, sharded := range []bool{false, true} {
		single := ScopeStatements("postern", "postern", "", sharded)
		for i, q := range ScopeStatements("postern", "postern", "c1", sharded) {
			if got, want := strings.Replace(parsed(q), " ON CLUSTER c1", "", 1), parsed(single[i]); got != want || got == parsed(q) {
				t.Errorf("not the same on all servers: %s", q)
			}
		}
	}
}

// A new database is what the migrations, one by one, make of one: schema.sql says so.
func TestNewDatabase(t *testing.T) {
	dsn := embeddedtest.ClickHouse(t)
	objects := func(suffix string, of fs.FS, before ...string) (names, statements, noted []string) {
		t.Helper()
		s, err := New(Config{DSN: dsn + suffix, Migrations: of, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.createDatabase(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, q := range before {
			if err := s.conn.Exec(t.Context(), q); err != nil {
				t.Fatalf("%.80s: %v", q, err)
			}
		}
		var both sync.WaitGroup // as two auditors that start at once
		for range 2 {
			both.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Error(suffix, err)
				}
			})
		}
		both.Wait()
		err = s.conn.QueryRow(t.Context(), `SELECT groupArray(name), groupArray(q) FROM (SELECT name, `+definition+` AS q FROM system.tables
			WHERE database = currentDatabase() AND `+ofSchema+` ORDER BY engine LIKE '%View', name != 'access_events', name)`).Scan(&names, &statements)
		if err == nil {
			err = s.conn.QueryRow(t.Context(), `SELECT groupArray(m) FROM (SELECT concat(toString(version), ' ', name, ' ', sha256) AS m FROM migrations FINAL ORDER BY version)`).Scan(&noted)
		}
		if err == nil {
			err = s.conn.Exec(t.Context(), "DROP DATABASE "+s.Database()+" SYNC")
		}
		if err != nil {
			t.Fatal(err)
		}
		return names, statements, noted
	}
	names, want, notedWant := objects("_steps", struct{ fs.FS }{migrations})
	if os.Getenv("POSTERN_WRITE_SCHEMA") != "" {
		made = madeBy
		for _, q := range want {
			made += regexp.MustCompile(`^CREATE (MATERIALIZED VIEW|VIEW|TABLE) `).ReplaceAllString(q, "CREATE $1 IF NOT EXISTS ") + ";\n"
		}
		if err := os.WriteFile("schema.sql", []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(names) < 20 || !strings.HasPrefix(made, madeBy) {
		t.Fatal("there is no schema: ", names)
	}
	// Also where a start was cut off half way, of this version and of another.
	text, err := migrations.ReadFile("migrations/0002_requests.sql")
	if err != nil {
		t.Fatal(err)
	}
	older, err := dialect{}.statements("older", text)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, before := range map[string][]string{"_once": nil, "_again": strings.Split(strings.TrimPrefix(made, madeBy), ";\n")[:len(names)/2], "_older": older} {
		gotNames, got, noted := objects(suffix, nil, before...)
		if !slices.Equal(gotNames, names) || !slices.Equal(noted, notedWant) {
			t.Fatalf("%s: tables %v, want %v; noted %v, want %v", suffix, gotNames, names, noted, notedWant)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s%s: was go generate ./auditor/store run?\n%s\nwant\n%s", names[i], suffix, got[i], want[i])
			}
		}
	}
}
