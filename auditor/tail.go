package auditor

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/events"
)

// tail sends events of one stream as they stand there, one JSON object a line:
// those since a time (absent: only new ones) and, unless follow=false, those
// to come. It ends with the client or the auditor.
func (a *Auditor) tail(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	subject := q.Get("subject")
	stream := events.StreamOf(subject)
	if stream == "" {
		a.reply(w, nil, &query.BadInput{Field: "subject", Reason: "must begin with access., audit., cloudtrail. or findings."})
		return
	}
	ctx := r.Context()
	last, err := a.c.Journal.Last(ctx, stream)
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	after := last
	if s := q.Get("since"); s != "" {
		since, err := query.Time("since", s, time.Now())
		if err == nil {
			after, err = a.c.Journal.Before(ctx, stream, since)
		}
		if err != nil {
			a.reply(w, nil, err)
			return
		}
	}
	follow := q.Get("follow") != "false"
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	if rc.Flush() != nil || !follow && after >= last {
		return
	}
	var line bytes.Buffer
	// Without a filter, so that the end is seen where nothing matches.
	for e, err := range a.c.Journal.Follow(ctx, stream, after) {
		if err != nil && e.Seq == 0 {
			a.c.Log.Error().Err(err).Str("stream", stream).Msg("events to a consumer broke off")
			return
		}
		if matches(subject, e.Channel) {
			line.Reset()
			if json.Compact(&line, e.Raw) != nil { // no JSON: still evidence
				b, _ := json.Marshal(map[string]any{"stream": stream, "sequence": e.Seq, "undecodable": string(e.Raw)})
				line.Write(b)
			}
			line.WriteByte('\n')
			if _, err := w.Write(line.Bytes()); err != nil {
				return
			}
			if e.Seq >= last && rc.Flush() != nil {
				return
			}
		}
		if !follow && e.Seq >= last {
			return
		}
	}
}

// matches tells whether a NATS subject is one of those that a filter with
// wildcards means (https://docs.nats.io/nats-concepts/subjects).
func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s) || token != "*" && token != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}
