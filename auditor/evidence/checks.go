package evidence

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/events"
)

//go:embed sql/*.sql
var checks embed.FS

// Check is a question to the ledger alone that has no answer when all is well.
// Its parameters are since, and expired: before it rows may be gone on purpose.
// Both are of DateTime64(9).
type Check struct {
	Name string
	SQL  string
}

// Checks are the questions that ship, for anybody to ask.
func Checks() ([]Check, error) {
	names, err := fs.Glob(checks, "sql/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var out []Check
	for _, name := range names {
		b, err := checks.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, Check{strings.TrimSuffix(strings.TrimPrefix(name, "sql/"), ".sql"), string(b)})
	}
	return out, nil
}

// RunChecks asks them all. A zero time is the beginning.
func RunChecks(ctx context.Context, conn driver.Conn, since, expired time.Time) ([]Fault, error) {
	all, err := Checks()
	if err != nil {
		return nil, err
	}
	parameters := clickhouse.Parameters{}
	for name, at := range map[string]time.Time{"since": since, "expired": expired} {
		if at.IsZero() {
			at = time.Unix(0, 0)
		}
		parameters[name] = at.UTC().Format("2006-01-02 15:04:05.999999999")
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(parameters))
	faults := []Fault{}
	for _, c := range all {
		rows, err := conn.Query(ctx, c.SQL)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", c.Name, err)
		}
		defer rows.Close()
		for rows.Next() {
			f := Fault{Place: InLedger}
			if err := rows.Scan(&f.Stream, &f.First, &f.Last, &f.Kind, &f.Detail); err != nil {
				return nil, fmt.Errorf("check %s: %w", c.Name, err)
			}
			faults = append(faults, f)
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("check %s: %w", c.Name, err)
		}
	}
	unread, err := unreadColumns(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("check columns: %w", err)
	}
	return append(faults, unread...), nil
}

// unreadColumns is the check of columns for rows whose JSON ClickHouse can't read, and
// for those that are said to be no event that postern could read.
func unreadColumns(ctx context.Context, conn driver.Conn) ([]Fault, error) {
	rows, err := conn.Query(ctx, `SELECT stream, seq, event_id, type, source, thing, correlation_id, causation_id, sequence, event_time, stored_at, problem, raw FROM events
		WHERE stored_at >= {since:DateTime64(9, 'UTC')} AND (problem != '' OR NOT isValidJSON(raw)) ORDER BY stream, seq`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var faults []Fault
	for rows.Next() && len(faults) < 1000 {
		f := Fault{Place: InLedger, Kind: "derived"}
		var id, typ, source, thing, correlation, causation, problem, raw string
		var sequence uint64
		var at, stored time.Time
		if err := rows.Scan(&f.Stream, &f.First, &id, &typ, &source, &thing, &correlation, &causation, &sequence, &at, &stored, &problem, &raw); err != nil {
			return nil, err
		}
		e, err := events.Decode([]byte(raw))
		// An event of a type that was unknown when it was stored may be known by now.
		if (err == nil) != (problem == "") && problem != events.ErrUnknownType.Error() {
			f.Last, f.Detail = f.First, "problem"
			faults = append(faults, f)
			continue
		}
		var ce struct{ ID, Type, Source, Subject string }
		if err == nil {
			ce.ID, ce.Type, ce.Source, ce.Subject = e.ID, string(e.Data.Type()), e.Source, e.Data.Thing()
		} else if json.Unmarshal([]byte(raw), &ce) != nil {
			ce.ID, ce.Source = e.ID, e.Source
		}
		var wrong []string
		for _, c := range []struct {
			name string
			same bool
		}{
			{"event_id", id == ce.ID}, {"type", typ == ce.Type}, {"source", source == ce.Source}, {"thing", thing == ce.Subject},
			{"correlation_id", correlation == e.CorrelationID}, {"causation_id", causation == e.CausationID}, {"sequence", sequence == e.Sequence},
			{"event_time", at.Equal(e.Time) || at.Equal(stored)},
		} {
			if !c.same {
				wrong = append(wrong, c.name)
			}
		}
		if len(wrong) > 0 {
			f.Last, f.Detail = f.First, strings.Join(wrong, ", ")
			faults = append(faults, f)
		}
	}
	return faults, rows.Err()
}
