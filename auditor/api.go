package auditor

import (
	"context"
	_ "embed"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

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

// question is what is answered whole; openapi.json describes each.
type question struct {
	pattern string
	to      power
	rows    bool          // it is answered in the formats for rows, too
	most    time.Duration // that the answer may take
	answer  func(*http.Request) (any, error)
}

func (a *Auditor) questions() []question {
	return []question{
		{"GET /v1/audit/search", asks, true, questionTime, a.search},
		{"GET /v1/audit/show/{id...}", asks, true, questionTime, a.show},
		{"GET /v1/audit/why/{id...}", asks, true, questionTime, a.why},
		{"GET /v1/audit/coverage", asks, true, questionTime, a.coverage},
		{"GET /v1/audit/policy", asks, true, questionTime, a.policy},
		{"GET /v1/audit/findings", asks, true, questionTime, a.findings},
		{"GET /v1/audit/sql", asks, true, questionTime, a.sqlByQuery},
		{"POST /v1/audit/sql", posts, true, questionTime, a.sqlByBody},
		{"GET /v1/audit/log", asksAll, false, questionTime, a.logStatus},
		{"GET /v1/audit/checks", asksAll, false, checksTime, a.ledgerChecks},
		{"GET /v1/audit/dead-letters", asksAll, false, questionTime, a.deadLetters},
		{"POST /v1/audit/dead-letters/replay", operates, false, questionTime, a.replay},
	}
}

// streamed is what answers as it goes, for as long as that takes.
type streamed struct {
	pattern string
	to      power
	answer  http.HandlerFunc
}

func (a *Auditor) streams() []streamed {
	return []streamed{
		{"GET /v1/audit/leaves", asksAll, a.leaves},
		{"GET /v1/audit/tables", asksAll, a.tables},
		{"GET /v1/audit/bundle", asksAll, a.bundle},
		{"GET /v1/log/{stream}/{path...}", asksAll, a.tiles},
		{"GET /v1/audit/events", asksAll, a.tail},
		{"POST /v1/audit/ingest", operates, a.ingest},
		{"POST /v1/audit/ingest/s3", operates, a.ingestBucket},
		{"POST /v1/audit/validate", operates, a.validate},
	}
}

// routes builds the handler of the API.
func (a *Auditor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.health)
	mux.HandleFunc("GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI)
	})
	for _, q := range a.questions() {
		mux.Handle(q.pattern, a.only(q.to, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.ask(q, w, r) })))
	}
	for _, s := range a.streams() {
		mux.Handle(s.pattern, a.only(s.to, s.answer))
	}
	return problems(mux)
}

// ask answers a question in the format that is asked for.
func (a *Auditor) ask(of question, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), of.most)
	defer cancel()
	r = r.WithContext(ctx)
	q := r.URL.Query()
	format := q.Get("format")
	err := of.checkFormat(format)
	if err == nil && len(q["format"]) > 1 {
		err = &query.BadInput{Field: "format", Reason: "is given more than once"}
	}
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	q.Del("format")
	r.URL.RawQuery = q.Encode()
	v, err := of.answer(r)
	if err == nil && format != "" && format != "json" {
		a.export(w, format, v)
		return
	}
	a.reply(w, v, err)
}

// serve answers on the listener until ctx ends.
func (a *Auditor) serve(ctx context.Context) error {
	s := &http.Server{
		Handler:           a.routes(),
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

// debugLog takes what net/http has to say about clients' connections.
type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(p []byte) (int, error) {
	d.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (a *Auditor) search(r *http.Request) (any, error) {
	var f query.Filter
	if err := fill(r.URL.Query(), &f); err != nil {
		return nil, err
	}
	return a.askerOf(r).Search(r.Context(), f)
}

func (a *Auditor) show(r *http.Request) (any, error) {
	if err := fill(r.URL.Query(), &struct{}{}); err != nil {
		return nil, err
	}
	found, err := a.askerOf(r).Show(r.Context(), r.PathValue("id"))
	return found, a.expired(r.Context(), err)
}

func (a *Auditor) why(r *http.Request) (any, error) {
	if err := fill(r.URL.Query(), &struct{}{}); err != nil {
		return nil, err
	}
	found, err := a.askerOf(r).Why(r.Context(), r.PathValue("id"))
	return found, a.expired(r.Context(), err)
}

func (a *Auditor) coverage(r *http.Request) (any, error) {
	var q sinceQuery
	if err := fill(r.URL.Query(), &q); err != nil {
		return nil, err
	}
	return a.askerOf(r).Coverage(r.Context(), q.Since)
}

func (a *Auditor) policy(r *http.Request) (any, error) {
	var f query.PolicyFilter
	if err := fill(r.URL.Query(), &f); err != nil {
		return nil, err
	}
	return a.askerOf(r).Policy(r.Context(), f, a.c.Actions)
}

func (a *Auditor) findings(r *http.Request) (any, error) {
	var f query.FindingFilter
	if err := fill(r.URL.Query(), &f); err != nil {
		return nil, err
	}
	return a.askerOf(r).Findings(r.Context(), f)
}

// sqlQuery is what people's own SQL comes in, as parameters or as a body.
type sqlQuery struct {
	Query string `json:"query"`
}

func (a *Auditor) sqlByQuery(r *http.Request) (any, error) {
	var q sqlQuery
	if err := fill(r.URL.Query(), &q); err != nil {
		return nil, err
	}
	return a.runSQL(r, q.Query)
}

func (a *Auditor) sqlByBody(r *http.Request) (any, error) {
	var q sqlQuery
	if err := fill(r.URL.Query(), &struct{}{}); err != nil {
		return nil, err
	}
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxQuestion))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return nil, &query.BadInput{Field: "body", Reason: err.Error()}
	}
	return a.runSQL(r, q.Query)
}
