package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/store"
)

// What a verification that was killed left behind is removed a day later, by the
// next one or at a start, and no other database is.
func TestForgottenDatabases(t *testing.T) {
	s := migrated(t)
	db := s.Database()
	comment := func(of string, age time.Duration) string {
		return "postern audit verify of " + of + " since " + time.Now().Add(-age).UTC().Format(time.RFC3339)
	}
	make := func(name, comment string) string {
		t.Helper()
		if err := s.Conn().Exec(t.Context(), fmt.Sprintf("CREATE DATABASE `%s` COMMENT '%s'", name, comment)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Conn().Exec(context.Background(), "DROP DATABASE IF EXISTS `"+name+"` SYNC") })
		return name
	}
	const old = 25 * time.Hour
	forgotten := func() string { return make(db+"_verify_abcdefghij27", comment(db, old)) }
	forgotten()
	kept := []string{
		make(db+"_verify_abcdefghij22", comment(db, time.Hour)),   // in use
		make(db+"_verify_abcdefghij23", ""),                       // somebody's
		make(db+"_verify_abcdefghij24", comment("another", old)),  // somebody else's
		make(db+"_verify_results", comment(db, old)),              // named otherwise
		make(db+"_verify_abcdefghij25x", comment(db, old)),        // the same
		make(db+"_verify_abcdefghij26", comment(db, old)+" copy"), // said otherwise
	}
	slices.Sort(kept)
	left := func() string {
		t.Helper()
		var names []string
		if err := s.Conn().QueryRow(t.Context(), `SELECT groupArray(name) FROM (SELECT name FROM system.databases WHERE startsWith(name, ?) ORDER BY name)`, db+"_verify_").Scan(&names); err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, "\n")
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := left(), strings.Join(kept, "\n"); got != want {
		t.Errorf("after a start:\n%s\nwant\n%s", got, want)
	}
	forgotten()
	if _, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, store.Horizons{}, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := left(), strings.Join(kept, "\n"); got != want {
		t.Errorf("after a verification:\n%s\nwant\n%s", got, want)
	}
}
