package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Asker asks one database.
type Asker struct {
	conn driver.Conn
	// basis has what calls rest on: sessions, access requests, roles, lists, which
	// are of no AWS account and are looked up by what a call names.
	basis driver.Conn
	// narrow: the one who asks sees some AWS accounts alone.
	narrow bool
	shards bool // the tables' rows are spread over several servers
	now    func() time.Time
	// known are AWS's operations, for the names of records.
	known Operations
}

// New returns an asker; now may be nil.
func New(conn driver.Conn, now func() time.Time) *Asker {
	if now == nil {
		now = time.Now
	}
	return &Asker{conn: conn, basis: conn, now: now}
}

// OverShards says that conn's tables are over several servers' tables: to these a
// statement's parts come at different moments.
func (a *Asker) OverShards() { a.shards = true }

// Knows tells the asker AWS's operations.
func (a *Asker) Knows(o Operations) { a.known = o }

// Within asks for somebody who sees what conn does: calls of some AWS accounts.
// Of what these calls rest on they hear in summary, without what it says of
// other accounts.
func (a *Asker) Within(conn driver.Conn) *Asker {
	return &Asker{conn: conn, basis: a.basis, narrow: true, shards: a.shards, now: a.now, known: a.known}
}

// ErrNotFound is wrapped when nothing has the id that was asked for.
var ErrNotFound = errors.New("not found")

// BadInput is an error in what was asked.
type BadInput struct{ Field, Reason string }

func (e *BadInput) Error() string { return e.Field + ": " + e.Reason }

// Time reads an absolute time (RFC 3339, or a date) or one relative to now:
// "90m", "36h", "7d", "2w" ago, "today", "yesterday" (from midnight, UTC).
//
// Times that the tables can't hold are refused: before 1970, and from 2262 on.
func Time(field, s string, now time.Time) (time.Time, error) {
	t, err := readTime(field, s, now)
	if err == nil && !t.IsZero() && (t.Unix() < 0 || t.Year() >= 2262) {
		return time.Time{}, &BadInput{field, fmt.Sprintf("%q is out of the years 1970 to 2261", s)}
	}
	return t, err
}

func readTime(field, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	switch day := now.UTC().Truncate(24 * time.Hour); s {
	case "now":
		return now.UTC(), nil
	case "today":
		return day, nil
	case "yesterday":
		return day.AddDate(0, 0, -1), nil
	}
	if n := len(s) - 1; s[n] == 'd' || s[n] == 'w' {
		if days, err := strconv.ParseFloat(s[:n], 64); err == nil && days >= 0 && days < 1e5 {
			if s[n] == 'w' {
				days *= 7
			}
			days = min(days, 1e5) // what a Duration holds
			return now.Add(-time.Duration(days * 24 * float64(time.Hour))).UTC(), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	return time.Time{}, &BadInput{field, fmt.Sprintf("%q is neither a time (2026-03-01T12:00:00Z, 2026-03-01) nor a time ago (90m, 36h, 7d)", s)}
}

// where gathers conditions that all have to hold.
type where struct {
	text []string
	args []any
}

func (w *where) add(condition string, args ...any) {
	w.text = append(w.text, condition)
	w.args = append(w.args, args...)
}

func (w *where) clone() *where {
	return &where{slices.Clone(w.text), slices.Clone(w.args)}
}

// match adds a comparison with a value in which * stands for any characters.
func (w *where) match(column, value string) {
	switch {
	case value == "":
	case strings.Contains(value, "*"):
		w.add(column+" LIKE ?", like(value))
	default:
		w.add(column+" = ?", value)
	}
}

// like turns a glob into a LIKE pattern.
func like(glob string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(glob)
}

func (w *where) String() string {
	if len(w.text) == 0 {
		return "1"
	}
	return "(" + strings.Join(w.text, ") AND (") + ")"
}

func (a *Asker) requests(ctx context.Context, w *where, tail string) ([]Request, error) {
	var rows []Request
	err := a.conn.Select(ctx, &rows, "SELECT "+requestColumns+" FROM requests WHERE "+w.String()+" "+tail, w.args...)
	if err != nil {
		return nil, fmt.Errorf("ask for requests: %w", err)
	}
	return rows, nil
}

func (a *Asker) records(ctx context.Context, w *where, tail string) ([]Record, error) {
	var rows []Record
	err := a.conn.Select(ctx, &rows, "SELECT "+recordColumns+" FROM cloudtrail WHERE "+w.String()+" "+tail, w.args...)
	if err != nil {
		return nil, fmt.Errorf("ask for cloudtrail records: %w", err)
	}
	return rows, nil
}
