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

// People ask views, and over shards Distributed tables. Whoever may change these can leave
// out of the answers what the tables still have, so they are held against what makes them,
// too.

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
// in the same way; over shards also the Distributed tables through which all is asked.
func (s *Store) differingViews(ctx context.Context, beside string) ([]Difference, error) {
	views, err := s.views()
	if err != nil {
		return nil, err
	}
	made := map[string]string{}
	for name, query := range views {
		made[name] = "CREATE VIEW " + quote(beside) + "." + name + " AS " + query
	}
	out, err := s.differingFrom(ctx, beside, made, s.tablesDatabase(), "as_select", "View")
	if err != nil || !s.sharded {
		return out, err
	}
	under := s.tablesDatabase()
	keys, err := s.shardingKeys(ctx, under)
	if err != nil {
		return nil, err
	}
	over, err := s.createBeside(ctx)
	if err != nil {
		return nil, fmt.Errorf("make Distributed tables again: %w", err)
	}
	defer s.dropBeside(ctx, over)
	clear(made)
	for name, key := range keys {
		made[name] = "CREATE TABLE " + quote(over) + "." + quote(name) + " AS " + quote(under) + "." + quote(name) + " ENGINE = " + s.distributed(under, name, key)
	}
	more, err := s.differingFrom(ctx, over, made, s.Database(), "engine_full", "Distributed")
	for _, d := range more { // one that differs in both databases is told once
		if !slices.ContainsFunc(out, func(o Difference) bool { return o.Table == d.Table }) {
			out = append(out, d)
		}
	}
	return out, err
}

// differingFrom compares what tables of a database are by a column of system.tables, on
// every server, with those that it makes in the database beside.
func (s *Store) differingFrom(ctx context.Context, beside string, made map[string]string, database, column, engine string) ([]Difference, error) {
	var out []Difference
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if err := s.tables.Exec(ctx, made[name]); err != nil {
			return nil, fmt.Errorf("make %s again: %w", name, err)
		}
		var servers, there, same uint64
		err := s.tables.QueryRow(ctx, `SELECT (SELECT count() FROM `+s.everywhere("system.one")+`), count(),
			countIf(engine = ? AND `+column+` = (SELECT `+column+` FROM system.tables WHERE database = ? AND name = ?))
			FROM `+s.everywhere("system.tables")+` WHERE database = ? AND name = ?`, engine, beside, name, database, name).Scan(&servers, &there, &same)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", name, err)
		}
		if same == servers {
			continue
		}
		kind := "changed"
		if there < servers {
			kind = "missing"
		}
		out = append(out, Difference{Table: name, Thing: viewThing + name, Kind: kind})
	}
	return out, nil
}
