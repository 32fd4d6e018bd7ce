package store

import (
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// The tables that people ask follow from the ledger. Rederive makes them again,
// part by part, beside the tables, by the very code that writes them, and
// ClickHouse compares. A part is the things whose names have a hash in common:
// however much is stored, a part is as small as one wants, and any one of them is
// a fair sample.

// derived is a table that follows from the ledger.
type derived struct {
	table string
	// engine is that of one server, without ON CLUSTER.
	engine string
	// key are its key columns; thing is SQL over columns, and name makes the same of
	// them, that says which thing a row is about.
	key, columns []string
	thing        string
	name         func(row map[string]any) string
	// since is the column by which a row is of a time, "" where rows are few.
	since string
	// about picks the ledger's events that make its rows, as SQL.
	about string
	// whole is SQL that is true of a row that is there for people.
	whole string
}

func derivedTables() []derived {
	thing := func(prefix string, columns ...string) (string, func(map[string]any) string) {
		sql := "concat('" + prefix + "'"
		for _, c := range columns {
			sql += ", '/', " + c
		}
		return sql + ")", func(row map[string]any) string {
			name := prefix
			for _, c := range columns {
				name += "/" + fmt.Sprint(row[c])
			}
			return name
		}
	}
	table := func(name, prefix, since, about, whole string, key []string, columns ...string) derived {
		sql, of := thing(prefix, columns...)
		return derived{table: name, engine: "AggregatingMergeTree", key: key, columns: columns, thing: sql, name: of, since: since, about: about, whole: whole}
	}
	replacing := func(version string, d derived) derived {
		d.engine = "ReplacingMergeTree(" + version + ")"
		return d
	}
	typed := func(stream string, types ...events.Type) string {
		list := make([]string, len(types))
		for i, t := range types {
			list[i] = "'" + string(t) + "'"
		}
		return "stream = '" + stream + "' AND type IN (" + strings.Join(list, ", ") + ")"
	}
	const verdict = "stream = 'FINDINGS' AND startsWith(type, 'io.postern.verdict.')"
	return []derived{
		table("request_rows", "aws-request", "received_at", "stream = 'AUDIT' AND startsWith(thing, 'aws-request/') OR "+verdict, "outcome != ''", []string{"received_at", "request_id"}, "request_id"),
		table("tunnel_rows", "aws-tunnel", "opened_at", "stream = 'AUDIT' AND startsWith(thing, 'aws-tunnel/')", "1", []string{"opened_at", "tunnel_id"}, "tunnel_id"),
		table("cloudtrail_rows", "cloudtrail", "event_time", "stream = 'CLOUDTRAIL' AND startsWith(thing, 'cloudtrail/') OR "+verdict, "present", []string{"event_time", "recipient_account_id", "event_id"}, "recipient_account_id", "event_id"),
		table("finding_rows", "finding", "", "stream = 'FINDINGS' AND startsWith(thing, 'finding/')", "1", []string{"finding_id"}, "finding_id"),
		table("session_rows", "session", "", "stream = 'ACCESS' AND startsWith(thing, 'session/')", "1", []string{"session_id"}, "session_id"),
		table("access_request_rows", "request", "", "stream = 'ACCESS' AND startsWith(thing, 'request/')", "1", []string{"request_id"}, "request_id"),
		table("lock_rows", "lock", "", "stream = 'ACCESS' AND startsWith(thing, 'lock/')", "1", []string{"lock_id"}, "lock_id"),

		replacing("", table("credential_rows", "session", "issued_at", typed(events.Audit, events.TypeAWSCredentialsIssued, events.TypeAWSConsoleOpened), "1", []string{"access_key_id", "use"}, "session_id")),
		replacing("", table("aws_token_rows", "aws-token", "issued_at", typed(events.Audit, events.TypeAWSTokenIssued), "1", []string{"access_key_id", "issued_at", "request_id"}, "request_id")),
		replacing("received_at", table("trail_file_rows", "file", "received_at", typed(events.CloudTrail, events.TypeCloudTrailFileReceived), "1", []string{"file"}, "file")),
		replacing("checked_at", table("trail_digest_rows", "digest/s3:/", "checked_at", typed(events.CloudTrail, events.TypeCloudTrailDigestChecked), "1", []string{"bucket", "account", "region", "trail", "backfill", "key"}, "bucket", "key")),
		replacing("observed_at", table("trail_rows", "trail", "observed_at", typed(events.CloudTrail, events.TypeCloudTrailTrailObserved), "1", []string{"trail_arn"}, "trail_arn")),
		table("dead_letter_rows", "letter", "rejected_at", typed(events.CloudTrail, events.TypeCloudTrailFileRejected, events.TypeCloudTrailMessageRejected, events.TypeCloudTrailLetterReplayed), "kind != ''", []string{"letter_id"}, "letter_id"),
	}
}

// ledgerThing is the thing whose row an event makes: a letter has the name of the event
// that says what was set aside.
const ledgerThing = "if(type IN ('" + string(events.TypeCloudTrailFileRejected) + "', '" + string(events.TypeCloudTrailMessageRejected) + "'), concat('letter/', event_id), thing)"

// DerivedTables names the tables that Rederive compares.
func DerivedTables() []string {
	var out []string
	for _, d := range derivedTables() {
		out = append(out, d.table)
	}
	return out
}

// Difference is a row that is not what the ledger says.
type Difference struct {
	Table string `json:"table"`
	// Thing is as in the ledger, such as "aws-request/ID", or "view/NAME" where what people ask
	// is not the view of the table that this version makes, or the table has columns that say
	// what is not in them.
	Thing string `json:"thing"`
	// Kind is "missing", "unexpected" or "changed", then in Columns.
	Kind    string   `json:"kind"`
	Columns []string `json:"columns,omitempty"`
}

// Rederivation is what Rederive came to.
type Rederivation struct {
	// Rows that were compared, by table.
	Rows        map[string]uint64 `json:"rows"`
	Differences []Difference      `json:"differences"`
	// More says that there are more than MaxDifferences.
	More bool `json:"more,omitempty"`
}

// Part is one of Of parts, from 0.
type Part struct{ Of, Index uint32 }

const (
	// MaxDifferences bounds the rows that are named of each table.
	MaxDifferences = 100
	// rederiveMargin is how far clocks of proxies, AWS and the streams may be apart.
	rederiveMargin = 10 * time.Minute
	rederiveBatch  = 10_000
	// rederiveAgain is how often what differs is looked at again.
	rederiveAgain = 3
	// rederiveMemory is from where on ClickHouse sorts and groups on disk, in bytes.
	rederiveMemory = 256 << 20
)

// Rederive makes one part of the tables again, of what the ledger took in since a
// time, and compares, but for rows that may be gone. What differs is looked
// at again. tick, which may be nil, hears how many events were read.
func (s *Store) Rederive(ctx context.Context, p Part, since time.Time, gone Horizons, tick func(read uint64)) (*Rederivation, error) {
	if p.Of == 0 || p.Index >= p.Of {
		return nil, fmt.Errorf("part %d of %d: there is none", p.Index, p.Of)
	}
	r := &Rederivation{Rows: map[string]uint64{}, Differences: []Difference{}}
	found, err := s.rederived(ctx, p, since, gone, nil, tick, r.Rows)
	// Of these alone, from their beginning: a row is there before its event is in the
	// ledger, for as long as a batch takes.
	for range rederiveAgain {
		if err != nil || len(found) == 0 {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(s.recheck):
		}
		things := map[string]bool{}
		for _, d := range found {
			things[d.Thing] = true
		}
		found, err = s.rederived(ctx, p, since, gone, slices.Sorted(maps.Keys(things)), nil, map[string]uint64{})
	}
	if err != nil {
		return r, err
	}
	counts := map[string]int{}
	for _, d := range found {
		counts[d.Table]++
		r.More = r.More || counts[d.Table] == MaxDifferences
	}
	r.Differences = append(r.Differences, found...)
	return r, nil
}

func (s *Store) rederived(ctx context.Context, p Part, since time.Time, gone Horizons, things []string, tick func(uint64), counted map[string]uint64) ([]Difference, error) {
	// Into what is worked out nothing can be written.
	if made, err := s.workedOut(ctx); err != nil || len(made) > 0 {
		return made, err
	}
	beside, err := s.createBeside(ctx)
	if err != nil {
		return nil, fmt.Errorf("make tables again: %w", err)
	}
	defer s.dropBeside(ctx, beside)
	for _, d := range derivedTables() {
		q := fmt.Sprintf("CREATE TABLE %s.%s AS %s.%s ENGINE = %s ORDER BY (%s) SETTINGS deduplicate_merge_projection_mode = 'drop'", quote(beside), d.table, quote(s.tablesDatabase()), d.table, d.engine, strings.Join(d.key, ", "))
		if err := s.conn.Exec(ctx, q); err != nil {
			return nil, fmt.Errorf("make %s again: %w", d.table, err)
		}
	}
	if err := s.derive(ctx, beside, p, since, things, tick); err != nil {
		return nil, err
	}
	var out []Difference
	if things == nil || slices.ContainsFunc(things, isView) {
		if out, err = s.differingViews(ctx, beside); err != nil {
			return nil, err
		}
	}
	for _, d := range derivedTables() {
		found, n, err := s.differ(ctx, d, beside, p, since, gone, things)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", d.table, err)
		}
		counted[d.table] += n
		out = append(out, found...)
	}
	return out, nil
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// derive writes the rows that follow from the ledger into tables beside.
func (s *Store) derive(ctx context.Context, beside string, p Part, since time.Time, things []string, tick func(uint64)) error {
	// An event about a pair makes a row of either side.
	record := "concat('cloudtrail/', JSONExtractString(raw, 'data', 'recipient_account_id'), '/', JSONExtractString(raw, 'data', 'event_id'))"
	of := fmt.Sprintf("(CRC32(%s) %% %d = %d OR startsWith(type, 'io.postern.verdict.') AND CRC32(%s) %% %d = %d)", ledgerThing, p.Of, p.Index, record, p.Of, p.Index)
	args := []any{}
	if things != nil {
		of = "(" + ledgerThing + " IN (?) OR startsWith(type, 'io.postern.verdict.') AND " + record + " IN (?))"
		args = append(args, things, things)
	}
	about := []string{}
	for _, d := range derivedTables() {
		about = append(about, "("+d.about+")")
	}
	after := ""
	if !since.IsZero() && things == nil {
		after = " AND (stored_at >= " + nanos(since) + " OR stream = 'ACCESS' OR startsWith(thing, 'finding/'))"
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_bytes_before_external_sort": rederiveMemory, "optimize_read_in_order": 1}))
	rows, err := s.tables.Query(ctx, `SELECT stream, seq, channel, stored_at, raw FROM events
		WHERE signature IN ('', 'valid') AND (`+strings.Join(about, " OR ")+`) AND `+of+after+` ORDER BY stream, seq`, args...)
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	to := &besideTables{database: beside, part: p, things: things, tables: map[string]derived{}}
	for _, d := range derivedTables() {
		to.tables[d.table] = d
	}
	var batch []journal.Entry
	var read uint64
	flush := func() error {
		err := s.insertTaken(ctx, batch, to.take)
		batch = batch[:0]
		if tick != nil {
			tick(read)
		}
		return err
	}
	for rows.Next() {
		var e journal.Entry
		var raw string
		if err := rows.Scan(&e.Stream, &e.Seq, &e.Channel, &e.StoredAt, &raw); err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		read++
		e.Raw = []byte(raw)
		if e.Event, err = events.Decode(e.Raw); err != nil {
			continue // it made no row then, either
		}
		if batch = append(batch, e); len(batch) == rederiveBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	return flush()
}

func nanos(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Nano(%d, 'UTC')", t.UnixNano())
}

// besideTables is where Rederive's rows go, and which of them.
type besideTables struct {
	database string
	part     Part
	things   []string
	tables   map[string]derived
}

// take rewrites an insert for a table beside; false is for a row of another part,
// or of a table that is not compared.
func (b *besideTables) take(insert string, values []any) (string, bool) {
	name := tableOf(insert)
	d, ok := b.tables[name]
	if !ok {
		return "", false
	}
	_, list, _ := strings.Cut(strings.TrimSuffix(insert, ")"), "(")
	row := map[string]any{}
	for i, c := range strings.Split(list, ", ") {
		if slices.Contains(d.columns, c) {
			row[c] = values[i]
		}
	}
	thing := d.name(row)
	if b.things != nil {
		_, ok = slices.BinarySearch(b.things, thing)
	} else {
		ok = crc32.ChecksumIEEE([]byte(thing))%b.part.Of == b.part.Index
	}
	return strings.Replace(insert, "INSERT INTO "+name, "INSERT INTO "+quote(b.database)+"."+name, 1), ok
}

// differ compares a table with the one beside, row by row, and counts the rows.
func (s *Store) differ(ctx context.Context, d derived, beside string, p Part, since time.Time, gone Horizons, things []string) ([]Difference, uint64, error) {
	columns, err := s.comparable(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	where, args := fmt.Sprintf("CRC32(%s) %% %d = %d", d.thing, p.Of, p.Index), []any{}
	if things != nil {
		where, args = d.thing+" IN (?)", []any{things, things}
	}
	if !since.IsZero() {
		since = since.Add(rederiveMargin)
	}
	if at := gone.of(d.table); at.After(since) {
		since = at
	}
	if !since.IsZero() && d.since != "" {
		where += " AND " + d.since + " >= " + Timestamp(since)
	}
	side := func(database string, n int) string {
		return fmt.Sprintf("SELECT %s AS thing, %s AS id, %d AS side, [%s] AS hashes FROM %s.%s FINAL WHERE (%s) AND (%s)",
			d.thing, "tuple("+strings.Join(d.key, ", ")+")", n, hashes(columns, things != nil), quote(database), d.table, d.whole, where)
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_bytes_before_external_group_by": rederiveMemory, "max_bytes_before_external_sort": rederiveMemory}))
	var total uint64
	err = s.conn.QueryRow(ctx, fmt.Sprintf("SELECT count() FROM %s.%s FINAL WHERE (%s) AND (%s)", quote(beside), d.table, d.whole, where), args[:len(args)/2]...).Scan(&total)
	if err != nil {
		return nil, 0, err
	}
	differs := "sides != 3 OR ours != again"
	if s.sharded { // of one thing, a row in each of two shards
		differs += " OR count() != 2"
	}
	rows, err := s.conn.Query(ctx, `SELECT any(thing) AS thing, groupBitOr(side) AS sides, anyIf(hashes, side = 1) AS ours, anyIf(hashes, side = 2) AS again
		FROM (`+side(s.Database(), 1)+` UNION ALL `+side(beside, 2)+`) GROUP BY id HAVING `+differs+`
		ORDER BY thing LIMIT `+fmt.Sprint(MaxDifferences), args...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	var out []Difference
	for rows.Next() {
		var thing string
		var sides uint8
		var ours, again []uint64
		if err := rows.Scan(&thing, &sides, &ours, &again); err != nil {
			return nil, 0, err
		}
		diff := Difference{Table: strings.TrimSuffix(d.table, "_rows"), Thing: thing, Kind: map[uint8]string{1: "unexpected", 2: "missing", 3: "changed"}[sides]}
		for i, c := range columns {
			if sides == 3 && len(ours) == len(columns) && ours[i] != again[i] {
				diff.Columns = append(diff.Columns, c.name)
			}
		}
		out = append(out, diff)
	}
	return out, total, rows.Err()
}

type column struct{ name, typ string }

// hashes are of each column, or one of all: which columns differ is asked of few
// rows.
func hashes(columns []column, each bool) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		v := "`" + c.name + "`"
		switch {
		case strings.Contains(c.typ, "groupUniqArrayArray"):
			v = "arraySort(" + v + ")" // in no order
		case strings.Contains(c.typ, "Nullable"):
			v = "ifNull(toString(" + v + "), 'NULL')"
		}
		if out[i] = v; each {
			out[i] = "cityHash64(" + v + ")"
		}
	}
	all := strings.Join(out, ", ")
	if each {
		return all
	}
	return "cityHash64(" + all + ")"
}

// comparable are the columns that hold something of their own.
func (s *Store) comparable(ctx context.Context, d derived) ([]column, error) {
	rows, err := s.conn.Query(ctx, `SELECT name, type FROM system.columns WHERE database = ? AND table = ? AND default_kind NOT IN ('ALIAS', 'MATERIALIZED') ORDER BY position`, s.tablesDatabase(), d.table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.typ); err != nil {
			return nil, err
		}
		if !slices.Contains(d.key, c.name) {
			out = append(out, c)
		}
	}
	return out, rows.Err()
}
