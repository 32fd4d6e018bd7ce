package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/store"
)

// hours are those that may have calls which a search asks for, the newest first: what
// is rare is looked for in these alone, and what is nowhere is not looked for at all.
type hours struct {
	side
	list []rowsOfHour
	take uint64 // how many rows to look at next, about
}

// rowsOfHour counts the rows that may make calls of an hour some that are asked for.
type rowsOfHour struct {
	Hour time.Time `ch:"hour"`
	Rows uint64    `ch:"n"`
}

const (
	// hoursRows is the most rows of such hours that one statement is about: it may hold
	// as many keys in memory.
	hoursRows = 2_000_000
	// hoursAtOnce bounds the text of a statement.
	hoursAtOnce = 2000
	// lastHours is the year from which on ClickHouse's hours are not to be relied on:
	// they end in 2106.
	lastHours = 2100
)

// hours asks the counts by hour, which the tables' projections have for each part.
// They are of rows as they are: a call that is asked for has one such row at least.
func (a *Asker) hours(ctx context.Context, s side, q *asked, oldest, end time.Time, limit int) (*hours, error) {
	in := &hours{side: s, take: uint64(limit)}
	switch { // some are of calls that are not asked for
	case q.late:
		in.take = firstRows
	case q.verdict != "":
		in.take *= widening
	}
	w := q.hourly.clone()
	hour := "toStartOfHour(" + s.at + ")"
	w.add(hour + " >= " + store.Timestamp(oldest.Truncate(time.Hour)) + " AND " + hour + " < " + store.Timestamp(end))
	err := a.conn.Select(ctx, &in.list, "SELECT "+hour+" AS hour, count() AS n FROM "+s.rows+" WHERE "+w.String()+" GROUP BY hour ORDER BY hour DESC", w.args...)
	if err != nil {
		return nil, fmt.Errorf("hours of %s: %w", s.view, err)
	}
	return in, nil
}

// before returns the next hours before a time, with the beginning of the earliest and
// a condition that is true of their rows; "" if there are none.
func (h *hours) before(end time.Time) (start time.Time, within string) {
	h.list = slices.DeleteFunc(h.list, func(r rowsOfHour) bool { return !r.Hour.Before(end) })
	var list []string
	for rows := uint64(0); rows < h.take && len(list) < min(hoursAtOnce, len(h.list)); {
		next := h.list[len(list)]
		start, rows = next.Hour, rows+next.Rows
		list = append(list, strconv.FormatInt(next.Hour.Unix(), 10))
	}
	if len(list) == 0 {
		return end, ""
	}
	return start, "toStartOfHour(" + h.at + ") IN (" + strings.Join(list, ", ") + ")"
}
