package auditor

import (
	"net/http"

	"github.com/posternhq/postern/auditor/query"
)

// checkFormat refuses what a question can't be answered in.
func (q *question) checkFormat(format string) error {
	switch {
	case format == "", format == "json", q.rows && (format == "csv" || format == "parquet"):
		return nil
	case q.rows:
		return &query.BadInput{Field: "format", Reason: "must be json, csv or parquet"}
	}
	return &query.BadInput{Field: "format", Reason: "must be json"}
}

// export answers with rows in a format for files. The cursor of the next page,
// and that rows are missing at the end, are headers.
func (a *Auditor) export(w http.ResponseWriter, format string, v any) {
	switch v := v.(type) {
	case *query.Page:
		w.Header().Set("Postern-Next", v.Next)
	case *query.Found:
		w.Header().Set("Postern-Next", v.Next)
	case *query.Table:
		if v.Truncated {
			w.Header().Set("Postern-Truncated", "true")
		}
	}
	write, kind := (*query.Table).WriteCSV, "text/csv; charset=utf-8; header=present"
	if format == "parquet" {
		write, kind = (*query.Table).WriteParquet, "application/vnd.apache.parquet"
	}
	w.Header().Set("Content-Type", kind)
	if err := write(query.Rows(v), w); err != nil {
		a.c.Log.Debug().Err(err).Msg("answer was not sent")
	}
}
