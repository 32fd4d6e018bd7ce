package query

// CoverageRow is one count of a Coverage.
type CoverageRow struct {
	Verdict string `json:"verdict"`
	Calls   uint64 `json:"calls"`
	// Share as in Count, 0 for what is not among Coverage.Calls.
	Share float64 `json:"share"`
}

// Counts are a coverage's, one by one.
func (c *Coverage) Counts() []CoverageRow {
	row := func(verdict string, n Count) CoverageRow { return CoverageRow{verdict, n.Count, n.Share} }
	return []CoverageRow{row("matched", c.Matched), row("awaiting", c.Awaiting), row("missing", c.Missing), row("mismatched", c.Mismatched),
		row("bypass", c.Bypass), row("not_logged", c.NotLogged), {Verdict: "denied", Calls: c.Denied}, {Verdict: "failed", Calls: c.Failed}}
}

// Rows makes a table of an answer, for files; nil where it has no rows.
func Rows(answer any) *Table {
	switch v := answer.(type) {
	case *Page:
		return Flat(v.Entries)
	case *Found:
		return Flat(v.Findings)
	case *Chain:
		return Flat(v.Steps)
	case *Detail:
		return Flat([]Entry{v.Entry})
	case *Coverage:
		return Flat(v.Counts())
	case *LeastPolicy:
		return Flat(v.Used)
	case *Table:
		return v
	}
	return nil
}
