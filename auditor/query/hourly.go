package query

import (
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/store"
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
	// few is true of the few calls that are counted by all columns, all others by rest
	// alone, of which far fewer counts are kept; "" of all calls. It is about the verdict
	// alone. Where the view is asked, all are counted by all columns.
	few, rest string
	// mark is true of a row at least of each call that condition is true of, if it has text:
	// then only rows of these times are merged.
	mark where
}

// sharedHours asks for those hours, of which a condition is true, in which a call may have
// several rows: they are not all in one part, or it was never merged.
func (s side) sharedHours(condition string) string {
	return "SELECT hour FROM (SELECT toStartOfHour(" + s.at + ") AS hour, _part AS part FROM " + s.rows + " WHERE " + condition + ` GROUP BY hour, part)
		GROUP BY hour HAVING count() > 1 OR max(match(part, '_0(_[0-9]+)?$'))`
}

// count is the statement, over columns and n, with what is bound in it, from a time
// on; zero means ever.
func (a *Asker) count(h hourly, t time.Time) (string, []any) {
	if a.narrow || a.shards {
		from := "1"
		if !t.IsZero() {
			from = h.at + " >= " + store.Timestamp(t)
		}
		columns, made := h.named(h.callInView)
		return "SELECT " + made + ", count() AS n FROM " + h.view + " WHERE " + from + " AND " + h.condition.String() + " GROUP BY " + columns, h.condition.args
	}
	start := t.UTC().Truncate(time.Hour)
	edge := ""
	if start.Before(t) {
		start = start.Add(time.Hour)
		edge = "at >= " + store.Timestamp(t) + " AND at < " + store.Timestamp(start)
	}
	hours := "hour >= toDateTime(0)"
	if !t.IsZero() {
		hours = "hour >= " + store.Timestamp(start)
	}
	columns, made := h.named(h.call)
	var all []string
	var args []any
	count := func(made, by, of string, bound ...any) {
		all = append(all, "SELECT "+made+", count() AS n FROM TABLE "+of+" AND CONDITION GROUP BY "+by)
		args = append(append(args, bound...), h.condition.args...)
	}
	const whole, apart = "WHERE HOURS AND HOUR NOT IN (SELECT hour FROM shared)", "WHERE HOURS AND HOUR IN (SELECT hour FROM shared)"
	few, mark := "", h.mark
	if h.few != "" {
		few, mark = " AND "+h.few, where{text: []string{h.few}}
		count(h.others(), h.rest, whole+" AND NOT ("+h.few+")")
		count(h.others(), h.rest, "FINAL "+apart+" AND NOT ("+h.few+")")
	}
	merge := "FINAL "
	if len(mark.text) > 0 { // by a column of the key: by any other, rows of a call would be left out
		merge += "PREWHERE " + h.at + " IN (SELECT " + h.at + " FROM TABLE " + apart + " AND " + mark.String() + ") "
	}
	count(made, columns, whole+few)
	count(made, columns, merge+apart+few, mark.args...)
	if edge != "" {
		count(made, columns, "FINAL WHERE EDGE")
	}
	return strings.NewReplacer("TABLE", h.rows, "CONDITION", h.there+" AND "+h.condition.String(), "HOURS", strings.ReplaceAll(hours, "hour", "toStartOfHour("+h.at+")"),
		"EDGE", strings.ReplaceAll(edge, "at ", h.at+" "), "HOUR", "toStartOfHour("+h.at+")").Replace(`
		WITH shared AS (` + h.sharedHours("HOURS") + `)
		` + strings.Join(all, `
		UNION ALL
		`)), args
}

// named are the columns by their names, and with what makes the one that is made.
func (h *hourly) named(call string) (columns, made string) {
	if call == "" {
		return h.columns, h.columns
	}
	return h.columns + ", call", h.columns + ", " + call + " AS call"
}

// others are the columns of calls that are counted by rest alone, empty but for these.
func (h *hourly) others() string {
	rest := strings.Split(h.rest, ", ")
	list := strings.Split(h.columns, ", ")
	for i, c := range list {
		if !slices.Contains(rest, c) {
			list[i] = "'' AS " + c
		}
	}
	if h.call != "" {
		list = append(list, "0 AS call")
	}
	return strings.Join(list, ", ")
}
