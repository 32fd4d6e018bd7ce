package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/posternhq/postern/auditor/store"
)

// side is one of the two tables that calls are searched in. Its view merges the
// rows of a key as it reads, so what is read is kept narrow: first keys, by a few
// columns of rows as they are and in windows of time, then the calls of those keys.
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
	// firstRows is about how many rows a search looks at first, and widening how much
	// farther it looks the next time where it did not find enough.
	firstRows = 100_000
	widening  = 16
	// firstAtMost and widestFrom keep one row of a strange time from making windows of
	// everything, or none.
	firstAtMost, widestFrom = 14 * 24 * time.Hour, 365 * 24 * time.Hour
	// keysAtOnce bounds the keys in one statement; whole calls of fewKeys are read
	// without looking first whether they are asked for.
	keysAtOnce, fewKeys = 1000, 20
)

// bounds of a search in time, since included and until not; zero times are none.
// Before is the cursor: calls before it in the order of answers.
type bounds struct {
	since, until time.Time
	before       key
}

// asked is what a search asks of a side. A call's rows are merged as they are read,
// which costs most: so keys are picked by what single rows say, which may be too
// many, and what is true of the call as a whole is asked of these keys.
type asked struct {
	where       // of whole calls
	row   where // of at least one row of each such call
	// late: a call's verdict, which may come in a row of its own, says that it is not one
	// of these. Where that turns out to be so, rows are merged to pick keys: they are few
	// except where much came at once.
	late bool
	// verdict is one that calls are asked for which row is asked of, too. Until rows are
	// merged another row of the call may have it, of which apart is true.
	verdict, apart string
	// lent is the user whom records are asked for where some name another: the row that
	// says so is apart from that of the record. "" where row asks for the user.
	lent string
	// hourly is what the tables' counts by hour are asked for rows without which an hour
	// has no such calls; nil where they don't tell. By them hours are left out.
	hourly *where
	// rough: rows alone pick many keys of calls that are not asked for.
	rough bool
	// whole: an index finds the rows, so there is nothing gained by looking at a
	// short while first.
	whole bool
	// sparse: an index leaves out most of where there are no such rows, which may be many
	// nevertheless: where a window has none, the next one is wider still.
	sparse bool
}

// search returns calls, newest first, at least as many as the limit if there are. It
// looks back from the newest one in ever wider windows, and so reads no more of the
// table than it takes to find them.
func search[T any](ctx context.Context, a *Asker, s side, q *asked, b bounds, limit int, ask func(*where) ([]T, error)) ([]T, error) {
	window, oldest, end := time.Duration(0), always.oldest, always.newest
	if !q.whole {
		span, err := a.span(ctx, s)
		if err != nil || span.rows == 0 {
			return nil, err
		}
		window = min(time.Duration(float64(span.newest.Sub(span.oldest))*min(1, firstRows/float64(span.rows))), firstAtMost)
		oldest, end = span.oldest, span.newest.Add(time.Microsecond)
	}
	for _, t := range []time.Time{b.until, b.before.At.Add(time.Microsecond)} {
		if t.Year() > 1 && t.Before(end) {
			end = t
		}
	}
	if b.since.After(oldest) {
		oldest = b.since
	}
	if q.whole {
		window = end.Sub(oldest)
	}
	var in *hours
	var err error
	if q.hourly != nil && !q.whole && !a.narrow && end.Year() < lastHours {
		if in, err = a.hours(ctx, s, q, oldest, end, limit); err != nil {
			return nil, err
		}
	}
	var out []T
	picked := 0 // keys that were not calls asked for, so far
	for most := max(limit, 100); oldest.Before(end) && len(out) < limit; {
		start, within := end.Add(-max(window, time.Second)), ""
		if in != nil {
			start, within = in.before(end)
		}
		if start.Before(oldest) {
			start = oldest
		}
		if in != nil && within == "" {
			break // no hour is left
		}
		keys, err := a.keys(ctx, s, q, picked > len(out), within, start, end, b, most)
		if err != nil {
			return nil, err
		}
		picked += len(keys)
		some, err := a.sieve(ctx, s, q, keys)
		if err != nil {
			return nil, err
		}
		for len(some) > 0 && len(out) < limit {
			n := min(len(some), limit-len(out))
			rows, err := rowsOf(some[:n], s, func(w *where) ([]T, error) {
				w.add(q.where.String(), q.where.args...)
				return ask(w)
			})
			if err != nil {
				return nil, err
			}
			out, some = append(out, rows...), some[n:]
		}
		if len(keys) < most { // no more in this window
			end = start
			window = min(window, widestFrom) * widening
			if q.sparse && len(keys) == 0 {
				window = min(window, widestFrom) * widening
			}
			if in != nil {
				in.take = min(in.take*widening, hoursRows)
			}
			continue
		}
		last := keys[len(keys)-1]
		b.before, end = last, last.At.Add(time.Microsecond)
		if picked > len(out) {
			most = min(4*most, 10_000)
		}
	}
	return out, nil
}

// sieve keeps the keys of the calls that were asked for, where rows alone don't tell
// and it saves reading many calls whole.
func (a *Asker) sieve(ctx context.Context, s side, q *asked, keys []key) ([]key, error) {
	if !q.rough || a.narrow || len(keys) <= fewKeys {
		return keys, nil
	}
	found, err := rowsOf(keys, s, func(w *where) ([]key, error) {
		w.add(q.where.String(), q.where.args...)
		return a.keysWhere(ctx, s, s.view, w, "")
	})
	type same struct {
		at          int64
		account, id string
	}
	are := map[same]bool{}
	for _, k := range found {
		are[same{k.At.UnixMicro(), k.Account, k.ID}] = true
	}
	return slices.DeleteFunc(slices.Clone(keys), func(k key) bool { return !are[same{k.At.UnixMicro(), k.Account, k.ID}] }), err
}

// keys picks the newest keys of a window by their rows, newest first.
func (a *Asker) keys(ctx context.Context, s side, q *asked, merged bool, hours string, start, end time.Time, b bounds, most int) ([]key, error) {
	within := &where{}
	within.add(s.at + " >= " + store.Timestamp(start))
	within.add(s.at + " < " + store.Timestamp(end))
	if hours != "" {
		within.add(hours)
	}
	w, from := within.clone(), a.table(s)
	switch {
	case a.narrow: // who has the merged view only
		w.add(q.where.String(), q.where.args...)
	default:
		w.add(q.row.String(), q.row.args...)
		if q.lent != "" {
			named, known := within.clone(), within.clone()
			named.match("federated_user", q.lent)
			known.match("lent_to", q.lent)
			from := "SELECT " + s.columns() + " FROM " + s.rows + " WHERE "
			two := " UNION ALL " + from // either way by an index
			if a.shards {               // which take no UNION in an IN
				two = " OR "
			}
			w.add("("+s.columns()+") IN ("+from+named.String()+two+known.String()+")", append(named.args, known.args...)...)
		}
		if q.verdict != "" {
			columns := s.columns()
			w.add("verdict = ? OR ("+columns+") IN (SELECT "+columns+" FROM "+s.rows+" WHERE "+within.String()+" AND verdict = ? AND "+q.apart+")", q.verdict, q.verdict)
		}
		if merged && q.late {
			from += " FINAL"
		}
	}
	switch last := b.before; {
	case last.At.IsZero():
	case s.account == "":
		w.add("("+s.at+", "+s.id+") < ("+store.Timestamp(last.At)+", ?)", last.ID)
	default:
		w.add("("+s.at+", "+s.id+", toString("+s.account+")) < ("+store.Timestamp(last.At)+", ?, ?)", last.ID, last.Account)
	}
	return a.keysWhere(ctx, s, from, w, "ORDER BY at DESC, id DESC, key_account DESC LIMIT "+strconv.Itoa(most))
}

func (a *Asker) keysWhere(ctx context.Context, s side, from string, w *where, tail string) ([]key, error) {
	account := "''"
	if s.account != "" {
		account = "toString(" + s.account + ")"
	}
	var found []key
	err := a.conn.Select(ctx, &found, "SELECT DISTINCT "+s.at+" AS at, "+account+" AS key_account, "+s.id+" AS id FROM "+from+" WHERE "+w.String()+" "+tail, w.args...)
	if err != nil {
		return nil, fmt.Errorf("search %s: %w", s.view, err)
	}
	return found, nil
}

// columns are those of the key, in its order.
func (s side) columns() string {
	if s.account == "" {
		return s.at + ", " + s.id
	}
	return s.at + ", " + s.account + ", " + s.id
}

// table is where rows need no merging; those who see some accounts alone have the
// merged view only.
func (a *Asker) table(s side) string {
	if a.narrow {
		return s.view
	}
	return s.rows
}

// span says how many rows a side has, and the times of the oldest and the newest.
type span struct {
	rows           uint64
	oldest, newest time.Time
}

// always is when rows may be of: others are stored as of 1970.
var always = span{oldest: time.Unix(0, 0).UTC(), newest: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)}

// span: ClickHouse has it by heart, so it costs little.
func (a *Asker) span(ctx context.Context, s side) (span, error) {
	var all span
	row := a.conn.QueryRow(ctx, fmt.Sprintf("SELECT count(), min(%[1]s), max(%[1]s) FROM %s", s.at, a.table(s)))
	if err := row.Scan(&all.rows, &all.oldest, &all.newest); err != nil {
		return all, fmt.Errorf("span of %s: %w", s.view, err)
	}
	return all, nil
}

// of limits a question to some keys, which the table's index finds.
func (s side) of(keys []key) *where {
	w := &where{}
	first, last := keys[0].At, keys[0].At
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
	w.add(s.at + " BETWEEN " + store.Timestamp(first) + " AND " + store.Timestamp(last))
	w.add("("+s.columns()+") IN (?)", set)
	return w
}

// later orders as answers are: newest first.
func later(x, y key) int {
	return cmp.Or(y.At.Compare(x.At), cmp.Compare(y.ID, x.ID), cmp.Compare(y.Account, x.Account))
}
