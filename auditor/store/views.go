package store

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// People ask views. Whoever may change these can leave out of the answers what the tables
// still have, so they are held against the migrations, too.

// viewMade takes the statement apart that makes a view.
var viewMade = regexp.MustCompile(`^(?:--[^\n]*\n|\s)*CREATE OR REPLACE VIEW (\w+)\s+AS\s`)

// viewThing begins what Rederive calls a view.
const viewThing = "view/"

func isView(thing string) bool { return strings.HasPrefix(thing, viewThing) }

// views are the queries of this version's views, by name.
func (s *Store) views() (map[string]string, error) {
	names, err := s.migrationNames()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(s.migrations, name)
		if err != nil {
			return nil, err
		}
		statements, err := dialect{}.statements(name, text)
		if err != nil {
			return nil, err
		}
		for _, q := range statements {
			if m := viewMade.FindStringSubmatch(q); m != nil {
				out[m[1]] = q[len(m[0]):]
			}
		}
	}
	return out, nil
}

// differingViews makes the views beside, over the same tables, for ClickHouse to write both
// in the same way. Those of shards are not compared: there they are over other names.
func (s *Store) differingViews(ctx context.Context, beside string) ([]Difference, error) {
	if s.sharded {
		return nil, nil
	}
	views, err := s.views()
	if err != nil {
		return nil, err
	}
	var out []Difference
	for _, name := range slices.Sorted(maps.Keys(views)) {
		if err := s.tables.Exec(ctx, "CREATE VIEW "+quote(beside)+"."+name+" AS "+views[name]); err != nil {
			return nil, fmt.Errorf("make view %s again: %w", name, err)
		}
		var there, same uint64
		err := s.tables.QueryRow(ctx, `SELECT countIf(database = ?), countIf(database = ? AND engine = 'View' AND as_select = (SELECT as_select FROM system.tables WHERE database = ? AND name = ?))
			FROM system.tables WHERE database IN (?, ?) AND name = ?`, s.tablesDatabase(), s.tablesDatabase(), beside, name, s.tablesDatabase(), beside, name).Scan(&there, &same)
		if err != nil {
			return nil, fmt.Errorf("compare view %s: %w", name, err)
		}
		if same == 0 {
			kind := "changed"
			if there == 0 {
				kind = "missing"
			}
			out = append(out, Difference{Table: name, Thing: viewThing + name, Kind: kind})
		}
	}
	return out, nil
}
