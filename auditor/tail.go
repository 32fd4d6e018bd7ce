package auditor

import (
	"fmt"
	"net/http"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// skew is how far clocks may be apart before a time counts as one to come.
const skew = time.Minute

// tail sends events of one stream as they stand there, one JSON object a line:
// those since a time (absent: only new ones) and, unless follow=false, those
// to come. With format=record, each comes with its place (evidence.Delivered). It ends
// with the client; where it ends otherwise before it has said all, it breaks off.
func (a *Auditor) tail(w http.ResponseWriter, r *http.Request) {
	var q struct {
		sinceQuery
		Subject string `json:"subject"`
		Format  string `json:"format"`
		Follow  string `json:"follow"`
	}
	err := fill(r.URL.Query(), &q)
	follow := true
	if err == nil {
		follow, err = flag("follow", q.Follow, true)
	}
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	subject := q.Subject
	stream, err := events.FilterStream(subject)
	if err != nil {
		a.reply(w, nil, &query.BadInput{Field: "subject", Reason: err.Error()})
		return
	}
	line := func(e journal.Entry) ([]byte, error) { return e.Place().Line(e.Raw), nil }
	switch q.Format {
	case "":
	case "record":
		line = func(e journal.Entry) ([]byte, error) {
			return evidence.DeliveredOf(e.Place(), e.Raw).Line()
		}
	default:
		a.reply(w, nil, &query.BadInput{Field: "format", Reason: fmt.Sprintf("%.40q is unknown: want record, or none for events alone", q.Format)})
		return
	}
	ctx, letGo := a.whileMay(r, asksAll)
	defer letGo()
	last, err := a.c.Journal.Last(ctx, stream)
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	after := last
	if s := q.Since; s != "" {
		now := time.Now()
		since, err := query.Time("since", s, now)
		if err == nil && since.After(now.Add(skew)) {
			err = &query.BadInput{Field: "since", Reason: s + " is still to come"}
		}
		if err == nil {
			after, err = a.c.Journal.Before(ctx, stream, since)
		}
		if err != nil {
			a.reply(w, nil, err)
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	if rc.Flush() != nil || !follow && after >= last {
		return
	}
	// Without a filter, so that the end is seen where nothing matches.
	for e, err := range a.c.Journal.Follow(ctx, stream, after) {
		if err != nil && e.Seq == 0 {
			a.c.Log.Error().Err(err).Str("stream", stream).Msg("events to a consumer broke off")
			break
		}
		if events.Matches(subject, e.Channel) {
			b, err := line(e)
			if err != nil {
				a.c.Log.Error().Err(err).Str("stream", stream).Uint64("sequence", e.Seq).Msg("events to a consumer broke off")
				break
			}
			if _, err := w.Write(b); err != nil {
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
	panic(http.ErrAbortHandler) // or the client would take what it has for all there is
}
