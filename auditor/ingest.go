package auditor

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/events"
)

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
	_ = http.NewResponseController(w).EnableFullDuplex()
	say := lines(w)
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

// TrailQuery is what may be asked of a bucket.
type TrailQuery struct {
	Address string `json:"address"`
	Since   string `json:"since"`
	Until   string `json:"until"`
	Account string `json:"account"`
	Region  string `json:"region"`
}

func (a *Auditor) trailQuery(r *http.Request) (TrailQuery, cloudtrail.Filter, error) {
	var q TrailQuery
	var f cloudtrail.Filter
	err := fill(r.URL.Query(), &q)
	now := time.Now()
	if err == nil {
		f.Since, err = query.Time("since", q.Since, now)
	}
	if err == nil {
		f.Until, err = query.Time("until", q.Until, now)
	}
	if err == nil && q.Address == "" {
		err = &query.BadInput{Field: "address", Reason: "give s3://BUCKET or s3://BUCKET/PREFIX"}
	}
	if err == nil && a.intake == nil {
		err = errNoAWS
	}
	f.Account, f.Region = q.Account, q.Region
	return q, f, err
}

// lines answers with lines of JSON as they come.
func lines(w http.ResponseWriter) func(any) {
	c := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	return func(v any) {
		if enc.Encode(v) == nil {
			_ = c.Flush()
		}
	}
}

// BucketProgress is one line of the answer to ingest from S3.
type BucketProgress struct {
	cloudtrail.Backfilled
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// progressEvery is how often a line without news of a file goes out.
const progressEvery = 200 * time.Millisecond

// ingestBucket takes in the files under an s3:// address, and answers as ingest does.
func (a *Auditor) ingestBucket(w http.ResponseWriter, r *http.Request) {
	q, f, err := a.trailQuery(r)
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	say := lines(w)
	var last time.Time
	total, err := a.intake.Backfill(r.Context(), q.Address, f, func(p cloudtrail.Backfilled) {
		if now := time.Now(); p.Reason != "" || now.Sub(last) > progressEvery {
			last = now
			say(BucketProgress{Backfilled: p})
		}
	})
	if err == nil {
		err = a.stored(r.Context(), total.LastSeq)
	}
	total.File, total.Reason = "", ""
	p := BucketProgress{Backfilled: total, Done: err == nil}
	if err != nil {
		p.Error = err.Error()
	}
	say(p)
}

// stored waits until CLOUDTRAIL is in the store up to a sequence.
func (a *Auditor) stored(ctx context.Context, seq uint64) error {
	for a.Floor(events.CloudTrail) < seq {
		if !sleep(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// ValidateProgress is one line of the answer to validate.
type ValidateProgress struct {
	cloudtrail.Validation
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

func (a *Auditor) validate(w http.ResponseWriter, r *http.Request) {
	q, f, err := a.trailQuery(r)
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	say := lines(w)
	total, err := a.intake.Validator().Validate(r.Context(), q.Address, f, func(v cloudtrail.Validation) {
		v.Problems = nil // all of them come at the end
		say(ValidateProgress{Validation: v})
	})
	if err == nil { // what is asked of trail_digests next, and the next validate, know it
		err = a.stored(r.Context(), total.LastSeq)
	}
	p := ValidateProgress{Validation: total, Done: err == nil}
	if err != nil {
		p.Error = err.Error()
	}
	say(p)
}
