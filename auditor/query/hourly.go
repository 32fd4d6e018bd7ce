package query

import (
	"slices"
	"strings"
	"time"
)

// hourly counts calls by some columns, of those that a condition on the same
// columns is true of. The tables' projections have the counts of every part by
// hour. A part that was merged has each key once, so they are exact for an hour that
// lies in one; rows of the other hours, and of an hour of which only a part is asked for,
// are merged and counted. All of it sees one state of the table.
//
// Those who see some accounts alone have views only: there every row is counted. So it
// is where shards answer, of which each one would see several states.
type hourly struct {
	side
	columns   string
	condition where
	// call is one more column of that name, as the projection has it and as it is made of
	// the view's; "" for none.
	call, callInView string
}

// count is the statement, over columns and n, with what is bound in it, from a time
// on; zero means ever.
func (a *Asker) count(h hourly, t time.Time) (string, []any) {
	if a.narrow || a.shards {
		from := "1"
		if !t.IsZero() {
			from = h.at + " >= " + timestamp(t)
		}
		columns, made := h.named(h.callInView)
		return "SELECT " + made + ", count() AS n FROM " + h.view + " WHERE " + from + " AND " + h.condition.String() + " GROUP BY " + columns, h.condition.args
	}
	start := t.UTC().Truncate(time.Hour)
	edge := "0"
	if start.Before(t) {
		start = start.Add(time.Hour)
		edge = "at >= " + timestamp(t) + " AND at < " + timestamp(start)
	}
	hours := "hour >= toDateTime(0)"
	if !t.IsZero() {
		hours = "hour >= " + timestamp(start)
	}
	columns, made := h.named(h.call)
	return strings.NewReplacer("TABLE", h.rows, "COLUMNS", columns, "MADE", made, "CONDITION", h.there+" AND "+h.condition.String(), "HOURS", strings.ReplaceAll(hours, "hour", "toStartOfHour("+h.at+")"),
		"EDGE", strings.ReplaceAll(edge, "at ", h.at+" "), "HOUR", "toStartOfHour("+h.at+")").Replace(`
		WITH shared AS (SELECT hour FROM (SELECT HOUR AS hour, _part AS part FROM TABLE WHERE HOURS GROUP BY hour, part) GROUP BY hour HAVING count() > 1 OR max(match(part, '_0(_[0-9]+)?$')))
		SELECT COLUMNS, n FROM (SELECT HOUR AS hour, _part AS part, MADE, count() AS n FROM TABLE WHERE HOURS AND CONDITION GROUP BY hour, part, COLUMNS)
		WHERE hour NOT IN (SELECT hour FROM shared)
		UNION ALL
		SELECT MADE, count() AS n FROM TABLE FINAL WHERE HOURS AND HOUR IN (SELECT hour FROM shared) AND CONDITION GROUP BY COLUMNS
		UNION ALL
		SELECT MADE, count() AS n FROM TABLE FINAL WHERE EDGE AND CONDITION GROUP BY COLUMNS`), slices.Concat(h.condition.args, h.condition.args, h.condition.args)
}

// named are the columns by their names, and with what makes the one that is made.
func (h *hourly) named(call string) (columns, made string) {
	if call == "" {
		return h.columns, h.columns
	}
	return h.columns + ", call", h.columns + ", " + call + " AS call"
}
