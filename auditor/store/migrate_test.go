package store

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// The same migrations are valid on a cluster: every table is replicated and
// made on all nodes.
func TestClusterDialect(t *testing.T) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	create := regexp.MustCompile("(?s)(CREATE (OR REPLACE )?(TABLE|VIEW)|ALTER TABLE) .*ON CLUSTER `c1`")
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
		on, err := dialect{cluster: "c1"}.statements(name, text)
		if err != nil {
			t.Fatal(err)
		}
		off, err := dialect{}.statements(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for i, q := range on {
			if q = bare(q); strings.HasPrefix(q, "INSERT INTO") {
				continue // its table is replicated
			}
			if !create.MatchString(q) {
				t.Errorf("%s: statement %d is not ON CLUSTER", name, i+1)
			}
			if strings.Contains(q, "CREATE TABLE") != strings.Contains(q, "ENGINE = Replicated") || strings.Contains(q, "non_replicated_") {
				t.Errorf("%s: statement %d is not replicated", name, i+1)
			}
			if strings.Contains(off[i], "CLUSTER") || strings.Contains(off[i], "Replicated") {
				t.Errorf("%s: statement %d on a single node:\n%s", name, i+1, off[i])
			}
		}
	}
}

// bare is a statement without the comments before it.
func bare(q string) string {
	for strings.HasPrefix(q, "--") {
		_, q, _ = strings.Cut(q, "\n")
	}
	return strings.TrimSpace(q)
}
