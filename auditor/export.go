package auditor

import (
	"net/http"
	"slices"
	"strings"

	"github.com/posternhq/postern/auditor/query"
)

// checkFormat refuses what a question can't be answered in.
func checkFormat(format, pattern string) error {
	_, question, _ := strings.Cut(pattern, "/v1/audit/")
	question, _, _ = strings.Cut(question, "/")
	rows := slices.Contains([]string{"search", "show", "why", "coverage", "policy", "findings", "sql"}, question)
	switch {
	case format == "", format == "json", rows && (format == "csv" || format == "parquet"):
		return nil
	case rows:
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
