package auditor

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
)

//go:embed openapi.json
var openAPI []byte

const (
	maxQuestion = 1 << 20 // bytes of a question's body
	// questionTime bounds the answer to a named question.
	questionTime = 2 * time.Minute
	// checksTime bounds the checks of the whole ledger, of which signatures take most.
	checksTime = time.Hour
)

// health tells whether questions can be answered: who may ask, ClickHouse says.
func (a *Auditor) health(w http.ResponseWriter, r *http.Request) {
	if err := a.readers.with(r.Context(), a, func(*readers) error { return nil }); err != nil {
		writeError(w, http.StatusServiceUnavailable, Problem{Error: "the store does not answer"})
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// serve answers on the listener until ctx ends.
func (a *Auditor) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.health)
	mux.HandleFunc("GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI)
	})
	within := func(pattern string, to power, most time.Duration, answer func(*http.Request) (any, error)) {
		mux.Handle(pattern, a.only(to, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), most)
			defer cancel()
			r = r.WithContext(ctx)
			q := r.URL.Query()
			format := q.Get("format")
			err := checkFormat(format, pattern)
			if err == nil && len(q["format"]) > 1 {
				err = &query.BadInput{Field: "format", Reason: "is given more than once"}
			}
			if err != nil {
				a.reply(w, nil, err)
				return
			}
			q.Del("format")
			r.URL.RawQuery = q.Encode()
			v, err := answer(r)
			if err == nil && format != "" && format != "json" {
				a.export(w, format, v)
				return
			}
			a.reply(w, v, err)
		})))
	}
	question := func(pattern string, to power, answer func(*http.Request) (any, error)) {
		within(pattern, to, questionTime, answer)
	}
	question("GET /v1/audit/search", asks, func(r *http.Request) (any, error) {
		f, err := filterOf(r.URL.Query())
		if err != nil {
			return nil, err
		}
		return a.askerOf(r).Search(r.Context(), f)
	})
	question("GET /v1/audit/show/{id...}", asks, func(r *http.Request) (any, error) {
		if err := fill(r.URL.Query(), &struct{}{}); err != nil {
			return nil, err
		}
		found, err := a.askerOf(r).Show(r.Context(), r.PathValue("id"))
		return found, a.expired(r.Context(), err)
	})
	question("GET /v1/audit/why/{id...}", asks, func(r *http.Request) (any, error) {
		if err := fill(r.URL.Query(), &struct{}{}); err != nil {
			return nil, err
		}
		found, err := a.askerOf(r).Why(r.Context(), r.PathValue("id"))
		return found, a.expired(r.Context(), err)
	})
	question("GET /v1/audit/coverage", asks, func(r *http.Request) (any, error) {
		var q sinceQuery
		if err := fill(r.URL.Query(), &q); err != nil {
			return nil, err
		}
		return a.askerOf(r).Coverage(r.Context(), q.Since)
	})
	question("GET /v1/audit/policy", asks, func(r *http.Request) (any, error) {
		var f query.PolicyFilter
		if err := fill(r.URL.Query(), &f); err != nil {
			return nil, err
		}
		return a.askerOf(r).Policy(r.Context(), f, a.c.Actions)
	})
	question("GET /v1/audit/findings", asks, func(r *http.Request) (any, error) {
		var f query.FindingFilter
		if err := fill(r.URL.Query(), &f); err != nil {
			return nil, err
		}
		return a.askerOf(r).Findings(r.Context(), f)
	})
	question("GET /v1/audit/sql", asks, func(r *http.Request) (any, error) {
		var q struct {
			Query string `json:"query"`
		}
		if err := fill(r.URL.Query(), &q); err != nil {
			return nil, err
		}
		return a.runSQL(r, q.Query)
	})
	question("POST /v1/audit/sql", posts, func(r *http.Request) (any, error) {
		var q struct {
			Query string `json:"query"`
		}
		if err := fill(r.URL.Query(), &struct{}{}); err != nil {
			return nil, err
		}
		d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxQuestion))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			return nil, &query.BadInput{Field: "body", Reason: err.Error()}
		}
		return a.runSQL(r, q.Query)
	})
	question("GET /v1/audit/log", asksAll, a.logStatus)
	within("GET /v1/audit/checks", asksAll, checksTime, a.ledgerChecks)
	question("GET /v1/audit/dead-letters", asksAll, a.deadLetters)
	question("POST /v1/audit/dead-letters/replay", operates, a.replay)
	for pattern, route := range map[string]struct {
		to     power
		handle http.HandlerFunc
	}{
		"GET /v1/audit/leaves":           {asksAll, a.leaves},
		"GET /v1/audit/tables":           {asksAll, a.tables},
		"GET /v1/audit/bundle":           {asksAll, a.bundle},
		"GET /v1/log/{stream}/{path...}": {asksAll, a.tiles},
		"GET /v1/audit/events":           {asksAll, a.tail},
		"POST /v1/audit/ingest":          {operates, a.ingest},
		"POST /v1/audit/ingest/s3":       {operates, a.ingestBucket},
		"POST /v1/audit/validate":        {operates, a.validate},
	} {
		mux.Handle(pattern, a.only(route.to, route.handle))
	}

	s := &http.Server{
		Handler:           problems(mux),
		TLSConfig:         a.c.TLS.Clone(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(debugLog{a.c.Log}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(a.listener, "", "") }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(stop); err != nil {
		_ = s.Close()
	}
	return nil
}

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

// debugLog takes what net/http has to say about clients' connections.
type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(p []byte) (int, error) {
	d.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
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

func filterOf(q url.Values) (query.Filter, error) {
	var f query.Filter
	err := fill(q, &f)
	return f, err
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

// Progress is one line of the answer to an upload.
type Progress struct {
	cloudtrail.Result
	// Done is set on the last line: all records are in the store.
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// ingest takes one log file as its body, named by the parameter name, and
// answers with lines of JSON: the progress, and the result once every record
// is in the store.
func (a *Auditor) ingest(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Name string `json:"name"`
	}
	err := fill(r.URL.Query(), &q)
	name := q.Name
	if err == nil && (name == "" || len(name) > 1024) {
		err = &query.BadInput{Field: "name", Reason: "give the file's name"}
	}
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	say := func(p Progress) {
		if lines.Encode(p) == nil {
			_ = c.Flush()
		}
	}
	res, err := a.ingester.File(r.Context(), name, r.Body, func(n int) { say(Progress{Result: cloudtrail.Result{File: name, Records: n}}) })
	if err == nil {
		err = a.stored(r.Context(), res.LastSeq)
	}
	p := Progress{Result: res, Done: err == nil}
	if err != nil {
		a.c.Log.Error().Err(err).Str("file", name).Msg("ingest")
		p.Error = "the file could not be taken in whole; send it again: records that are there stay single"
	}
	say(p)
}
