package auditor

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
)

// problems refuses parameters that can't be read, which url.Query would drop without a
// word, and makes a Problem of what the mux says of paths and methods it has not.
func problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
			writeError(w, http.StatusBadRequest, Problem{Error: "parameters: can't be read: " + err.Error(), Field: "parameters"})
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			w = &unknown{ResponseWriter: w, r: r}
		}
		mux.ServeHTTP(w, r)
	})
}

// unknown writes 404 and 405 as Problems.
type unknown struct {
	http.ResponseWriter
	r    *http.Request
	said bool
}

func (u *unknown) WriteHeader(status int) {
	switch status {
	case http.StatusNotFound:
		writeError(u.ResponseWriter, status, Problem{Error: u.r.URL.Path + " is unknown: GET /v1/openapi.json says what there is"})
	case http.StatusMethodNotAllowed:
		writeError(u.ResponseWriter, status, Problem{Error: u.r.URL.Path + " knows no " + u.r.Method + ", but " + u.Header().Get("Allow")})
	default:
		u.ResponseWriter.WriteHeader(status)
		return
	}
	u.said = true
}

func (u *unknown) Write(b []byte) (int, error) {
	if u.said {
		return len(b), nil
	}
	return u.ResponseWriter.Write(b)
}

var errNoReader = errors.New("audit sql needs a read-only clickhouse user: set clickhouse.reader_dsn")

// Problem is the body of every answer that is no success.
type Problem struct {
	Error string `json:"error"`
	// Field names the parameter that was wrong.
	Field string `json:"field,omitempty"`
	// Code, Line and Column are ClickHouse's, for SQL.
	Code   int `json:"code,omitempty"`
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

// reply is the one place where errors become HTTP.
func (a *Auditor) reply(w http.ResponseWriter, v any, err error) {
	var bad *query.BadInput
	var sql *query.SQLError
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		writeError(w, refused.status, Problem{Error: refused.reason})
	case err == nil:
		b, err := json.Marshal(v) // before anything is said
		if err != nil {
			a.c.Log.Error().Err(err).Msg("answer is no JSON")
			writeError(w, http.StatusUnprocessableEntity, Problem{Error: "the answer can't be written as JSON: " + err.Error()})
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(append(b, '\n')); err != nil {
			a.c.Log.Debug().Err(err).Msg("answer was not sent")
		}
	case errors.As(err, &bad):
		writeError(w, http.StatusBadRequest, Problem{Error: bad.Error(), Field: bad.Field})
	case errors.As(err, &sql):
		writeError(w, http.StatusUnprocessableEntity, Problem{Error: sql.Message, Code: sql.Code, Line: sql.Line, Column: sql.Column})
	case errors.As(err, new(*evidence.Disputed)):
		writeError(w, http.StatusConflict, Problem{Error: err.Error()})
	case errors.Is(err, query.ErrNotFound):
		writeError(w, http.StatusNotFound, Problem{Error: err.Error()})
	case errors.Is(err, errNoReader), errors.Is(err, errNoScope), errors.Is(err, errNoLog), errors.Is(err, errNoAWS), errors.Is(err, query.ErrNotReadOnly):
		writeError(w, http.StatusNotImplemented, Problem{Error: err.Error()})
	default:
		a.c.Log.Error().Err(err).Msg("question failed")
		writeError(w, http.StatusServiceUnavailable, Problem{Error: "the store did not answer; the auditor's log says why"})
	}
}

func writeError(w http.ResponseWriter, status int, p Problem) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Del("Content-Length")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}

// sinceQuery is what questions take that are about a time alone.
type sinceQuery struct {
	Since string `json:"since"`
}

// flag reads a parameter that is true or false, or left out.
func flag(name, s string, left bool) (bool, error) {
	switch s {
	case "":
		return left, nil
	case "true", "false":
		return s == "true", nil
	}
	return false, &query.BadInput{Field: name, Reason: "is neither true nor false"}
}

// fill reads parameters into the JSON fields of the same names; a parameter
// that there is no field for is refused.
func fill(q url.Values, into any) error {
	m := map[string]any{}
	for k, v := range q {
		if len(v) != 1 {
			return &query.BadInput{Field: k, Reason: "is given more than once"}
		}
		m[k] = v[0]
		if k == "limit" {
			n, err := strconv.Atoi(v[0])
			if err != nil {
				return &query.BadInput{Field: k, Reason: "is not a number"}
			}
			m[k] = n
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return &query.BadInput{Field: "parameters", Reason: strings.TrimPrefix(err.Error(), "json: ")}
	}
	return nil
}
