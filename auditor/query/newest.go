package query

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// side is one of the two tables that calls are searched in. Its view merges the
// rows of a key as it reads, so what is read is kept narrow: first keys, by a few
// columns and in windows of time, then the whole rows of those keys.
type side struct {
	view, rows string // what people ask; the rows beneath
	at, id     string // columns that calls are ordered by
	there      string // true of rows that people are shown: others are verdicts whose call is not in yet
	account    string // the rest of the key, in the key's order between the two
}

var (
	ours   = side{view: "requests", rows: "request_rows", at: "received_at", id: "request_id", there: "outcome != ''"}
	theirs = side{view: "cloudtrail", rows: "cloudtrail_rows", at: "event_time", id: "event_id", there: "present", account: "recipient_account_id"}
)

// key of a row.
type key struct {
	At      time.Time `ch:"at"`
	Account string    `ch:"key_account"`
	ID      string    `ch:"id"`
}

const (
	// firstWindow is how far a search looks back at first, widening how much
	// farther the next time where nothing was found.
	firstWindow = 15 * time.Minute
	widening    = 8
	// keysAtOnce bounds the keys in one statement.
	keysAtOnce = 1000
)

// bounds of a search in time, since included and until not; zero times are none.
// Before is the cursor: calls before it in the order of answers.
type bounds struct {
	since, until time.Time
	before       time.Time
	beforeID     string
}

// newest returns up to limit keys of calls that a condition is true of, newest
// first. It looks back from the newest call in ever wider windows, and so reads no
// more of the table than it takes to find them.
func (a *Asker) newest(ctx context.Context, s side, w *where, b bounds, limit int) ([]key, error) {
	oldest, end, err := a.span(ctx, s)
	if err != nil || end.IsZero() {
		return nil, err
	}
	end = end.Add(time.Microsecond)
	for _, t := range []time.Time{b.until, b.before.Add(time.Microsecond)} {
		if t.Year() > 1 && t.Before(end) {
			end = t
		}
	}
	if b.since.After(oldest) {
		oldest = b.since
	}
	var out []key
	for window := firstWindow; oldest.Before(end) && len(out) < limit; {
		start := end.Add(-window)
		if start.Before(oldest) {
			start = oldest
		}
		within := w.clone()
		within.add(s.at + " >= " + timestamp(start))
		within.add(s.at + " < " + timestamp(end))
		if !b.before.IsZero() {
			within.add("("+s.at+", "+s.id+") < ("+timestamp(b.before)+", ?)", b.beforeID)
		}
		var found []key
		account := "''"
		if s.account != "" {
			account = "toString(" + s.account + ")"
		}
		err := a.conn.Select(ctx, &found, "SELECT "+s.at+" AS at, "+account+" AS key_account, "+s.id+" AS id FROM "+s.view+" WHERE "+within.String()+
			" ORDER BY "+s.at+" DESC, "+s.id+" DESC LIMIT "+strconv.Itoa(limit-len(out)), within.args...)
		if err != nil {
			return nil, fmt.Errorf("search %s: %w", s.view, err)
		}
		out = append(out, found...)
		end = start
		wider := widening
		if n := len(found); n > 0 { // at this rate, and then some
			wider = min(widening, 1+2*(limit-len(out))/n)
		}
		window *= time.Duration(wider)
	}
	return out, nil
}

// table is where rows need no merging; those who see some accounts alone have the
// merged view only.
func (a *Asker) table(s side) string {
	if a.narrow {
		return s.view
	}
	return s.rows
}

// span is the time of the oldest and of the newest row: zero if there is none.
// ClickHouse has them by heart, so it costs nothing.
func (a *Asker) span(ctx context.Context, s side) (oldest, newest time.Time, err error) {
	var n uint64
	row := a.conn.QueryRow(ctx, fmt.Sprintf("SELECT count(), min(%[1]s), max(%[1]s) FROM %s", s.at, a.table(s)))
	if err = row.Scan(&n, &oldest, &newest); err != nil {
		return oldest, newest, fmt.Errorf("span of %s: %w", s.view, err)
	}
	if n == 0 {
		return time.Time{}, time.Time{}, nil
	}
	return oldest, newest, nil
}

// of limits a question to some keys, which the table's index finds.
func (s side) of(keys []key) *where {
	w := &where{}
	first, last := keys[0].At, keys[0].At
	columns := s.at + ", " + s.id
	if s.account != "" {
		columns = s.at + ", " + s.account + ", " + s.id
	}
	set := make([]clickhouse.GroupSet, len(keys))
	for i, k := range keys {
		if k.At.Before(first) {
			first = k.At
		}
		if k.At.After(last) {
			last = k.At
		}
		at := k.At.UTC().Format("2006-01-02 15:04:05.000000")
		set[i].Value = []any{at, k.ID}
		if s.account != "" {
			set[i].Value = []any{at, k.Account, k.ID}
		}
	}
	w.add(s.at + " BETWEEN " + timestamp(first) + " AND " + timestamp(last))
	w.add("("+columns+") IN (?)", set)
	return w
}

// later orders as answers are: newest first.
func later(at1 time.Time, id1 string, at2 time.Time, id2 string) int {
	return cmp.Or(at2.Compare(at1), cmp.Compare(id2, id1))
}
