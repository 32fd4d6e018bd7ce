package simaws

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// maxTrailFile is the most records of one log file; the largest seen in real
// accounts held 622.
const maxTrailFile = 500

// trail keeps records until they are due and delivers them as CloudTrail does:
// gzip files, one account and region each. An open file is never visible.
type trail struct {
	dir, tmp string
	delay    time.Duration
	clock    func() time.Time
	wake     chan struct{}

	mu      sync.Mutex
	pending []pendingRecord
	// delivering makes Flush wait for a delivery that is under way.
	delivering sync.Mutex
}

type pendingRecord struct {
	due time.Time // by the machine's clock, whatever Config.Clock says
	rec trailRecord
}

func openTrail(dir, tmp string, delay time.Duration, clock func() time.Time) (*trail, error) {
	for _, d := range []string{dir, tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	return &trail{dir: dir, tmp: tmp, delay: delay, clock: clock, wake: make(chan struct{}, 1)}, nil
}

func (t *trail) add(rec trailRecord) {
	t.mu.Lock()
	t.pending = append(t.pending, pendingRecord{time.Now().Add(t.delay), rec})
	first := len(t.pending) == 1
	t.mu.Unlock()
	if first {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// run delivers what is due until ctx ends.
func (t *trail) run(ctx context.Context, log zerolog.Logger) {
	if t.delay < 0 {
		<-ctx.Done()
		return
	}
	// Under load some record is due at every moment. Delivery in intervals of a
	// quarter of the delay makes files of many records, as AWS's are.
	var notBefore time.Time
	for {
		t.mu.Lock()
		var timer <-chan time.Time
		if len(t.pending) > 0 {
			next := t.pending[0].due
			if next.Before(notBefore) {
				next = notBefore
			}
			timer = time.After(time.Until(next))
		}
		t.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer:
			now := time.Now()
			notBefore = now.Add(t.delay / 4)
			if err := t.deliver(now); err != nil {
				log.Error().Err(err).Msg("cloudtrail delivery failed; trying again")
			}
		}
	}
}

// deliver writes all records due by then; all of them when then is zero.
// Records that cannot be written stay pending.
func (t *trail) deliver(then time.Time) error {
	t.delivering.Lock()
	defer t.delivering.Unlock()
	t.mu.Lock()
	n := len(t.pending)
	if !then.IsZero() {
		for n = 0; n < len(t.pending) && !t.pending[n].due.After(then); n++ {
		}
	}
	due := t.pending[:n:n]
	t.pending = t.pending[n:]
	t.mu.Unlock()

	type key struct{ account, region string }
	var order []key
	groups := map[key][]trailRecord{}
	for _, p := range due {
		k := key{p.rec.RecipientAccountID, p.rec.AWSRegion}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], p.rec)
	}
	var failed []trailRecord
	var firstErr error
	for _, k := range order {
		for recs := groups[k]; len(recs) > 0; {
			part := recs[:min(len(recs), maxTrailFile)]
			if err := t.write(k.account, k.region, part); err != nil {
				failed, firstErr = append(failed, part...), err
			}
			recs = recs[len(part):]
		}
	}
	if firstErr == nil {
		return nil
	}
	for _, rec := range failed {
		t.add(rec) // due again after another delay
	}
	return fmt.Errorf("simaws: deliver %d cloudtrail records: %w", len(failed), firstErr)
}

// write makes one log file, named as AWS names it:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html
func (t *trail) write(account, region string, recs []trailRecord) error {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	if err := json.NewEncoder(zip).Encode(map[string]any{"Records": recs}); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	now := t.clock().UTC()
	dir := filepath.Join(t.dir, "AWSLogs", account, "CloudTrail", region, now.Format("2006/01/02"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("%s_CloudTrail_%s_%s_%s.json.gz", account, region, now.Format("20060102T1504Z"), randomFrom(alnum, 16))
	tmp := filepath.Join(t.tmp, name)
	if err := os.WriteFile(tmp, buf.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}
