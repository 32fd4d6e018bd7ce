package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const (
	// patience is how long a request waits for its admitted event.
	patience = 5 * time.Second
	// hold is how long an event about the past waits for company, and company is
	// how many of them wait at most. A commit that is under way delays the next
	// one, so a completed event sent at once would make the client's next request
	// wait for the disk twice.
	hold    = 20 * time.Millisecond
	company = 256
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

	mu    sync.Mutex
	held  []events.Event
	timer *time.Timer
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

// later appends e soon, trying again until it is durable. optional events are
// dropped, with a line in the log, while too many wait.
func (r *recorder) later(e events.Event, optional bool) {
	if r.waiting.Load() >= backlog && optional {
		r.log.Error().Str("type", string(e.Data.Type())).Str("about", e.Data.Thing()).Msg("event dropped: the journal has not answered for thousands of them")
		r.meters.dropped.Inc()
		return
	}
	r.meters.recorded(e)
	r.waiting.Add(1)
	r.sending.Add(1)
	r.mu.Lock()
	r.held = append(r.held, e)
	n := len(r.held)
	if n == 1 {
		r.timer = time.AfterFunc(hold, r.release)
	}
	r.mu.Unlock()
	if n >= company {
		r.release()
	}
}

// release sends what is held.
func (r *recorder) release() {
	r.mu.Lock()
	held := r.held
	r.held = nil
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	r.mu.Unlock()
	if len(held) > 0 {
		go r.send(held)
	}
}

// send appends es, those that fail again and again until they are durable.
func (r *recorder) send(es []events.Event) {
	wait := 50 * time.Millisecond
	for {
		ctx, cancel := context.WithTimeout(r.quit, 2*patience)
		failed, err := r.journal.AppendAll(ctx, es...)
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

// drain sends what is held and waits until all is durable, at most for d.
func (r *recorder) drain(d time.Duration) {
	r.release()
	t := time.AfterFunc(d, r.cancel)
	r.sending.Wait()
	t.Stop()
	r.cancel()
}
