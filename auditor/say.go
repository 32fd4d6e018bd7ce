package auditor

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/trouble"
)

// sayer appends judgements to FINDINGS, in their order, while the judge goes on.
type sayer struct {
	a       *Auditor
	held    func() bool // whether it is still this one's to judge
	in      chan saying
	last    atomic.Uint64 // the sequence of the last that is durable
	waiting atomic.Int64  // judgements that are not durable yet
}

// saying is some judgements; durable, if any, is closed once these and all before
// them are durable.
type saying struct {
	judged  []correlate.Judgement
	durable chan struct{}
}

// sayAtOnce is how many events are appended at once: what the journal commits at once,
// others' few events beside, as whether they may be said is asked before each commit.
const sayAtOnce = 480

func newSayer(a *Auditor, held func() bool) *sayer {
	return &sayer{a: a, held: held, in: make(chan saying, 4)}
}

// say has judgements said; false when ctx ended before they were taken.
func (s *sayer) say(ctx context.Context, judged []correlate.Judgement) bool {
	s.waiting.Add(int64(len(judged)))
	for some := range slices.Chunk(judged, sayAtOnce) {
		if !s.take(ctx, saying{judged: some}) {
			return false
		}
	}
	return ctx.Err() == nil
}

// durable returns what is closed when all that was said before is durable; nil when
// ctx ended.
func (s *sayer) durable(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	if !s.take(ctx, saying{durable: done}) {
		return nil
	}
	return done
}

func (s *sayer) take(ctx context.Context, x saying) bool {
	select {
	case s.in <- x:
		return true
	case <-ctx.Done():
		return false
	}
}

// ahead is how many judgements may not be in ClickHouse yet.
func (s *sayer) ahead() uint64 {
	last, floor := s.last.Load(), s.a.Floor(events.Findings)
	return uint64(max(0, s.waiting.Load())) + max(last, floor) - floor
}

func (s *sayer) run(ctx context.Context) {
	for {
		var x saying
		select {
		case x = <-s.in:
		case <-ctx.Done():
			return
		}
		judged, waits := x.judged, []chan struct{}{x.durable}
		for more := true; more && len(judged) < sayAtOnce; { // few at a time: with what came meanwhile
			select {
			case x = <-s.in:
				judged, waits = append(judged, x.judged...), append(waits, x.durable)
			default:
				more = false
			}
		}
		for some := range eventsOf(judged) {
			if !s.append(ctx, some) {
				return
			}
		}
		s.waiting.Add(-int64(len(judged)))
		for _, w := range waits {
			if w != nil {
				close(w)
			}
		}
	}
}

// append returns when all events are durable; false when ctx ended before. Their ids
// follow from what they say, so saying one again, after an error, adds nothing.
func (s *sayer) append(ctx context.Context, es []events.Event) bool {
	var said trouble.Said
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		for !s.held() { // lost, then ctx ends; or the server took long to say that it is not
			if !sleep(ctx, 20*time.Millisecond) {
				return false
			}
		}
		last, failed, err := s.a.c.Journal.AppendAll(ctx, es...)
		s.last.Store(max(s.last.Load(), last))
		if len(failed) == 0 {
			if said.Over() {
				s.a.c.Log.Info().Msg("verdicts are on the stream")
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if said.News(err) {
			s.a.c.Log.Warn().Err(err).Str("event", failed[0].ID).Int("of", len(failed)).Msg("verdicts are not on the stream; trying again")
		}
		if !sleep(ctx, pause) {
			return false
		}
		es = failed
	}
}

// eventsOf are the events of judgements, in their order, as many at once as go into one
// commit. A verdict and its findings stay together: whoever is killed in between would
// find the record judged, and never say what was found.
func eventsOf(judged []correlate.Judgement) iter.Seq[[]events.Event] {
	return func(yield func([]events.Event) bool) {
		all := make([]events.Event, 0, min(len(judged), sayAtOnce))
		for i := range judged {
			n := len(all)
			if all = appendEvents(all, &judged[i]); len(all) > sayAtOnce && n > 0 {
				if !yield(all[:n]) {
					return
				}
				all = slices.Clone(all[n:])
			}
		}
		if len(all) > 0 {
			yield(all)
		}
	}
}

func appendEvents(all []events.Event, j *correlate.Judgement) []events.Event {
	var meta events.Meta
	if v := j.Verdict; v != nil {
		meta = events.Meta{ID: correlate.VerdictID(v), CorrelationID: v.RequestID, Time: v.At}
		if v.EventID != "" {
			meta.CausationID = v.RecipientAccountID + "/" + v.EventID
		}
		all = append(all, events.Event{Meta: meta, Data: v})
		meta.CausationID = meta.ID
	}
	for k := range j.Opened {
		f := &j.Opened[k]
		meta.ID = "finding/" + f.FindingID + "/opened"
		all = append(all, events.Event{Meta: meta, Data: f})
	}
	for k := range j.Resolved {
		f := &j.Resolved[k]
		meta.ID = "finding/" + f.FindingID + "/resolved"
		all = append(all, events.Event{Meta: meta, Data: f})
	}
	return all
}
