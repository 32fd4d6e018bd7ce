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

// IsView tells that what differs is a view, or over shards a Distributed table.
func (d *Difference) IsView() bool { return isView(d.Thing) }

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
	if err != nil {
		return nil, err
	}
	for _, d := range more { // one that differs in both databases is told once
		if !slices.ContainsFunc(out, func(o Difference) bool { return o.Table == d.Table }) {
			out = append(out, d)
		}
	}
	return out, nil
}

// workedOut names the tables with columns that say what is not in them, on any server: this
// version makes none.
func (s *Store) workedOut(ctx context.Context) ([]Difference, error) {
	rows, err := s.tables.Query(ctx, `SELECT table, arraySort(groupUniqArray(name)) FROM `+s.everywhere("system.columns")+`
		WHERE database = ? AND table IN (?) AND default_kind IN ('ALIAS', 'MATERIALIZED', 'EPHEMERAL') GROUP BY table ORDER BY table`, s.tablesDatabase(), DerivedTables())
	if err != nil {
		return nil, fmt.Errorf("look at columns: %w", err)
	}
	defer rows.Close()
	var out []Difference
	for rows.Next() {
		d := Difference{Kind: "changed"}
		if err := rows.Scan(&d.Table, &d.Columns); err != nil {
			return nil, fmt.Errorf("look at columns: %w", err)
		}
		d.Thing = viewThing + d.Table
		out = append(out, d)
	}
	return out, rows.Err()
}

// differingFrom makes tables in the database beside, and compares by a column of
// system.tables what those of another database are on every server.
func (s *Store) differingFrom(ctx context.Context, beside string, made map[string]string, database, column, engine string) ([]Difference, error) {
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if err := s.tables.Exec(ctx, made[name]); err != nil {
			return nil, fmt.Errorf("make %s again: %w", name, err)
		}
	}
	rows, err := s.tables.Query(ctx, `SELECT want.name, countIf(are.engine != '') < servers AS lacks
		FROM (SELECT name, engine, `+column+` AS text, (SELECT count() FROM `+s.everywhere("system.one")+`) AS servers FROM system.tables WHERE database = ? AND engine = ?) AS want
		LEFT JOIN (SELECT name, engine, `+column+` AS text FROM `+s.everywhere("system.tables")+` WHERE database = ?) AS are USING (name)
		GROUP BY want.name, servers HAVING countIf(are.engine = want.engine AND are.text = want.text) < servers ORDER BY want.name`, beside, engine, database)
	if err != nil {
		return nil, fmt.Errorf("compare database %s: %w", database, err)
	}
	defer rows.Close()
	var out []Difference
	for rows.Next() {
		d := Difference{Kind: "changed"}
		var lacks bool
		if err := rows.Scan(&d.Table, &lacks); err != nil {
			return nil, fmt.Errorf("compare database %s: %w", database, err)
		}
		if d.Thing = viewThing + d.Table; lacks {
			d.Kind = "missing"
		}
		out = append(out, d)
	}
	return out, rows.Err()
}
