package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

const (
	// patience is how long a request waits for its admitted event.
	patience = 5 * time.Second
	// hold is how long an event about the past waits for others to go with. A commit
	// that is under way delays the next one, so a completed event sent at once would
	// make the client's next request wait for the disk twice.
	hold = 20 * time.Millisecond
	// backlog bounds the denials that wait for a journal that does not answer.
	// What was admitted is always kept: while the journal is down, nothing new is.
	backlog = 4096
)

// recorder appends events: admitted ones while the request waits, all others
// behind its back, as long as it takes.
type recorder struct {
	journal *journal.Journal
	log     zerolog.Logger
	// quit ends the retries.
	quit   context.Context
	cancel context.CancelFunc
	// patience is how long now waits.
	patience time.Duration
	waiting  atomic.Int64
	meters   *meters
	sending  sync.WaitGroup

	mu     sync.Mutex
	failed []events.Event // to be tried again
	full   trouble.Said   // that events are dropped
}

func newRecorder(j *journal.Journal, log zerolog.Logger) *recorder {
	r := &recorder{journal: j, log: log, patience: patience, meters: newMeters()}
	r.quit, r.cancel = context.WithCancel(context.Background())
	return r
}

// now appends e and returns when it is durable, or when patience is over.
func (r *recorder) now(ctx context.Context, e events.Event) error {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	began := time.Now()
	if _, err := r.journal.Append(ctx, e); err != nil {
		r.meters.failed.Inc()
		return err
	}
	r.meters.append.Observe(time.Since(began).Seconds())
	r.meters.recorded(e)
	return nil
}

// errFull says that the journal has not answered for backlog events.
var errFull = errors.New("thousands of events wait for the journal")

// later appends e soon, trying again until it is durable. optional events are
// dropped, and counted, while too many wait.
func (r *recorder) later(e events.Event, optional bool) {
	if r.waiting.Load() >= backlog && optional {
		r.meters.dropped.Inc()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.full.News(errFull) {
			r.log.Error().Err(errFull).Str("first", e.ID).Str("type", string(e.Data.Type())).Msg("events of refused calls are dropped: look at NATS, and at events_dropped_total for how many")
		}
		return
	}
	r.meters.recorded(e)
	r.waiting.Add(1)
	r.sending.Add(1)
	r.journal.AppendLater(e, hold, func(err error) {
		if err != nil {
			r.again(e, err)
			return
		}
		r.waiting.Add(-1)
		r.sending.Done()
	})
}

// again tries e again soon, together with what failed at the same time.
func (r *recorder) again(e events.Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, e)
	if len(r.failed) > 1 {
		return
	}
	r.log.Warn().Err(err).Str("first", e.ID).Msg("events not recorded yet; trying again")
	time.AfterFunc(50*time.Millisecond, func() {
		r.mu.Lock()
		failed := r.failed
		r.failed = nil
		r.mu.Unlock()
		r.send(failed)
	})
}

// send appends es, those that fail again and again until they are durable.
func (r *recorder) send(es []events.Event) {
	wait := 50 * time.Millisecond
	for {
		ctx, cancel := context.WithTimeout(r.quit, 2*patience)
		_, failed, err := r.journal.AppendAll(ctx, es...)
		cancel()
		r.waiting.Add(-int64(len(es) - len(failed)))
		r.sending.Add(-(len(es) - len(failed)))
		if len(failed) == 0 {
			return
		}
		es = failed
		r.log.Warn().Err(err).Int("events", len(es)).Str("first", es[0].ID).Msg("events not recorded yet; trying again")
		select {
		case <-time.After(wait):
			wait = min(2*wait, 5*time.Second)
		case <-r.quit.Done():
			for _, e := range es {
				r.log.Error().Err(err).Str("id", e.ID).Str("type", string(e.Data.Type())).Str("about", e.Data.Thing()).Msg("event lost: the proxy stops and the journal does not answer")
			}
			r.waiting.Add(-int64(len(es)))
			r.sending.Add(-len(es))
			return
		}
	}
}

// drain waits until all is durable, at most for d.
func (r *recorder) drain(d time.Duration) {
	t := time.AfterFunc(d, r.cancel)
	r.sending.Wait()
	t.Stop()
	r.cancel()
}
