package auditor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

// errNoLog says that there is nothing to verify against.
var errNoLog = errors.New("this auditor keeps no transparency log: it has no data directory")

// logStatus says how far stream, ledger and log are; since, if given, finds the
// sequences of a time.
func (a *Auditor) logStatus(r *http.Request) (any, error) {
	ctx := r.Context()
	if a.notary == nil {
		return nil, errNoLog
	}
	since, err := sinceOf(r)
	if err != nil {
		return nil, err
	}
	out := evidence.Statuses{Key: a.notary.key.Public()}
	if out.Horizons, err = a.horizons(ctx); err != nil {
		return nil, err
	}
	for _, stream := range events.Streams() {
		s := evidence.Status{Stream: stream, Stored: a.Floor(stream)}
		if s.Rows, err = a.store.Highest(ctx, stream); err != nil {
			return nil, err
		}
		l := a.notary.logs[stream]
		s.Logged = l.size.Load()
		if c, err := out.Key.Latest(ctx, stream, tlog.Files(a.notary.tiles(stream))); err == nil {
			s.Logged = c.Size
		}
		if err := l.problem(); err != nil {
			s.Problem = err.Error()
		}
		if s.Last, err = a.c.Journal.Last(ctx, stream); err != nil {
			return nil, err
		}
		if !since.IsZero() {
			if s.Before, err = a.c.Journal.Before(ctx, stream, since); err != nil {
				return nil, err
			}
		}
		if h := out.Horizons.Events; !h.IsZero() && store.EventsGo(stream) {
			if s.Expired, err = a.c.Journal.Before(ctx, stream, h); err != nil {
				return nil, err
			}
		}
		out.Streams = append(out.Streams, s)
	}
	return out, nil
}

func sinceOf(r *http.Request) (time.Time, error) {
	var q sinceQuery
	if err := fill(r.URL.Query(), &q); err != nil {
		return time.Time{}, err
	}
	return query.Time("since", q.Since, time.Now())
}

// ledgerChecks runs the checks that need nothing but SQL, and those of signatures and of the
// judge's marks, for which SQL is not enough.
func (a *Auditor) ledgerChecks(r *http.Request) (any, error) {
	since, err := sinceOf(r)
	if err != nil {
		return nil, err
	}
	gone, err := a.horizons(r.Context())
	if err != nil {
		return nil, err
	}
	faults, err := evidence.RunChecks(r.Context(), a.store.Conn(), since, gone.Events)
	if err != nil {
		return nil, err
	}
	forged, err := a.signatureFaults(r.Context(), since)
	if err != nil {
		return nil, err
	}
	unjudged, err := a.markFaults(r.Context(), since)
	return map[string]any{"faults": slices.Concat(faults, forged, unjudged)}, err
}

// tiles serves the logs as https://c2sp.org/tlog-tiles says, without their
// private parts.
func (a *Auditor) tiles(w http.ResponseWriter, r *http.Request) {
	stream, path := r.PathValue("stream"), r.PathValue("path")
	if a.notary == nil || a.notary.logs[stream] == nil || path != "checkpoint" && !strings.HasPrefix(path, "tile/") {
		http.NotFound(&unknown{ResponseWriter: w, r: r}, r)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	if path != "checkpoint" {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeFileFS(&unknown{ResponseWriter: w, r: r}, r, a.notary.files(stream), path)
}

// leaves writes what the stream (of=stream) or the ledger (of=clickhouse) has
// after a sequence up to another: a line each, as it would stand in the log. The
// last line is empty, so that an answer that broke off is seen.
func (a *Auditor) leaves(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Stream string `json:"stream"`
		Of     string `json:"of"`
		After  string `json:"after"`
		Until  string `json:"until"`
	}
	if err := fill(r.URL.Query(), &q); err != nil {
		a.reply(w, nil, err)
		return
	}
	stream, of := q.Stream, q.Of
	after, err1 := strconv.ParseUint(q.After, 10, 64)
	until, err2 := strconv.ParseUint(q.Until, 10, 64)
	if _, ok := a.floors[stream]; !ok || err1 != nil || err2 != nil || of != evidence.InStream && of != evidence.InLedger {
		a.reply(w, nil, &query.BadInput{Field: "parameters", Reason: "want stream=ACCESS, AUDIT, CLOUDTRAIL or FINDINGS, of=stream or clickhouse, and numbers for after and until"})
		return
	}
	var account iter.Seq2[tlog.Leaf, error]
	if of == evidence.InLedger {
		account = a.store.Leaves(r.Context(), stream, after, until)
	} else {
		account = a.messages(r.Context(), stream, after, until)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := bufio.NewWriterSize(w, 64<<10)
	for l, err := range account {
		if err == nil {
			_, err = fmt.Fprintf(out, "%s\n", l.Entry())
		}
		if err != nil {
			a.c.Log.Warn().Err(err).Str("stream", stream).Msg("leaves broke off")
			_ = out.Flush()
			return
		}
	}
	_, _ = io.WriteString(out, "\n")
	_ = out.Flush()
}

// messages yields what the stream has after a sequence, up to another or its end.
func (a *Auditor) messages(ctx context.Context, stream string, after, until uint64) iter.Seq2[tlog.Leaf, error] {
	return func(yield func(tlog.Leaf, error) bool) {
		if after >= until {
			return
		}
		for e, err := range a.c.Journal.ReplayAfter(ctx, stream, after) {
			if err != nil && e.Seq == 0 {
				yield(tlog.Leaf{}, err)
				return
			}
			if e.Seq > until || !yield(leafOf(&e), nil) {
				return
			}
		}
	}
}

// tables makes one part of the tables again from the ledger and compares; see
// store.Rederive. It takes as long as it takes to read the ledger once.
func (a *Auditor) tables(w http.ResponseWriter, r *http.Request) {
	var q struct {
		sinceQuery
		Of   string `json:"of"`
		Part string `json:"part"`
	}
	err := fill(r.URL.Query(), &q)
	var since time.Time
	if err == nil {
		since, err = query.Time("since", q.Since, time.Now())
	}
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	of, err1 := strconv.ParseUint(q.Of, 10, 32)
	part, err2 := strconv.ParseUint(q.Part, 10, 32)
	if err1 != nil || err2 != nil || part >= of {
		a.reply(w, nil, &query.BadInput{Field: "part", Reason: "want of=N, a number of parts, and part from 0 to N-1"})
		return
	}
	gone, err := a.horizons(r.Context())
	if err != nil {
		a.reply(w, nil, err)
		return
	}
	out, err := a.store.Rederive(r.Context(), store.Part{Of: uint32(of), Index: uint32(part)}, since, gone, nil)
	a.reply(w, out, err)
}
