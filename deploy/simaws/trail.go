package simaws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// maxTrailFile is the most records of one log file; the largest seen in real
// accounts held 622.
const maxTrailFile = 500

// trail keeps records until they are due and delivers them as CloudTrail does:
// gzip files, one account and region each, in a directory and in the buckets of
// trails. An open file is never visible.
type trail struct {
	dir, tmp, file string
	delay          time.Duration
	clock          func() time.Time
	wake           chan struct{}
	// put stores an object and notifies.
	put func(bucket, key string, body []byte, meta map[string]string) error

	mu      sync.Mutex
	pending []pendingRecord // by due
	backlog *backlog        // the same on disk, nil where a kill may lose them
	history []trailRecord   // management events, for LookupEvents
	looked  map[string]time.Time
	faults  TrailFaults
	count   int
	state   struct {
		Trails []*trailState
		Keys   []*trailKey
	}
	// delivering makes Flush wait for a delivery that is under way.
	delivering sync.Mutex
}

type pendingRecord struct {
	due  time.Time // by the machine's clock, whatever Config.Clock says
	copy int       // 1 for what is delivered once more
	to   []*trailState
	dir  bool
	rec  trailRecord
	line []byte // of the backlog
}

func openTrail(dir, tmp string, delay time.Duration, clock func() time.Time) (*trail, error) {
	for _, d := range []string{dir, tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	t := &trail{dir: dir, tmp: tmp, file: dir + ".json", delay: delay, clock: clock, wake: make(chan struct{}, 1), looked: map[string]time.Time{}}
	if err := readJSON(t.file, &t.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, tr := range t.state.Trails {
		if err := tr.parse(); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// save writes trails, chains and keys; mu is held.
func (t *trail) save() error { return writeJSON(t.file, t.state) }

// maxHistory bounds what LookupEvents can find.
const maxHistory = 20_000

// take delivers a record later, to the directory if dir says so and to the
// trails that select it.
func (t *trail) take(rec trailRecord, data bool, arn string, dir bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !data {
		t.history = append(t.history, rec)
		if len(t.history) > maxHistory {
			t.history = slices.Delete(t.history, 0, maxHistory/10)
		}
	}
	p := pendingRecord{due: time.Now().Add(t.delay), rec: rec, dir: dir}
	for _, tr := range t.state.Trails {
		if tr.takes(&rec, data, arn) {
			p.to = append(p.to, tr)
		}
	}
	if !dir && len(p.to) == 0 {
		return
	}
	t.count++
	nth := func(every int) bool { return every > 0 && t.count%every == 0 }
	if nth(t.faults.DropEvery) {
		return
	}
	if nth(t.faults.DelayEvery) {
		p.due = p.due.Add(t.faults.Delay)
	}
	t.add(p)
	if nth(t.faults.DoubleEvery) {
		p.copy = 1
		t.add(p)
	}
}

// add keeps a record until it is due; mu is held.
func (t *trail) add(p pendingRecord) {
	i := len(t.pending)
	for i > 0 && t.pending[i-1].due.After(p.due) {
		i--
	}
	if t.backlog != nil {
		p.line = p.owed()
		// What can't be written now is when the file is next made anew.
		_, _ = t.backlog.open.Write(p.line)
	}
	t.pending = slices.Insert(t.pending, i, p)
	if i == 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// run delivers what is due until ctx ends, and writes digests at the full hour.
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
		hour := t.clock().Truncate(time.Hour)
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-time.After(hour.Add(time.Hour).Sub(t.clock())):
			if _, err := t.digest(false, hour.Add(time.Hour)); err != nil {
				log.Error().Err(err).Msg("cloudtrail digests failed")
			}
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
	due := slices.Clone(t.pending[:n])
	t.pending = slices.Delete(t.pending, 0, n)
	t.mu.Unlock()

	type file struct {
		account, region string
		copy            int
		to              *trailState // nil for the directory
	}
	var order []file
	groups := map[file][]pendingRecord{}
	for _, p := range due {
		put := func(to *trailState) {
			k := file{p.rec.RecipientAccountID, p.rec.AWSRegion, p.copy, to}
			if groups[k] == nil {
				order = append(order, k)
			}
			groups[k] = append(groups[k], p)
		}
		if p.dir {
			put(nil)
		}
		for _, tr := range p.to {
			put(tr)
		}
	}
	var failed []pendingRecord
	var firstErr error
	for _, k := range order {
		for recs := groups[k]; len(recs) > 0; {
			part := recs[:min(len(recs), maxTrailFile)]
			if err := t.write(k.to, k.account, k.region, part); err != nil {
				firstErr = err
				for _, p := range part {
					p.dir, p.to = k.to == nil, nil
					if k.to != nil {
						p.to = []*trailState{k.to}
					}
					failed = append(failed, p)
				}
			}
			recs = recs[len(part):]
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range failed {
		p.due = time.Now().Add(t.delay)
		t.add(p)
	}
	if t.backlog != nil && len(due) > 0 {
		if err := t.backlog.rewrite(t.pending); err != nil {
			return fmt.Errorf("simaws: backlog of cloudtrail: %w", err)
		}
	}
	if firstErr == nil {
		return nil
	}
	return fmt.Errorf("simaws: deliver %d cloudtrail records: %w", len(failed), firstErr)
}

// write makes one log file, named as AWS names it:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html
func (t *trail) write(to *trailState, account, region string, recs []pendingRecord) error {
	var raw bytes.Buffer
	list := make([]*trailRecord, len(recs))
	oldest, newest := recs[0].rec.EventTime, recs[0].rec.EventTime
	for i := range recs {
		list[i] = &recs[i].rec
		oldest, newest = min(oldest, list[i].EventTime), max(newest, list[i].EventTime)
	}
	if err := json.NewEncoder(&raw).Encode(map[string]any{"Records": list}); err != nil {
		return err
	}
	now := t.clock().UTC()
	name := fmt.Sprintf("%s_CloudTrail_%s_%s_%s.json.gz", account, region, now.Format("20060102T1504Z"), randomFrom(alnum, 16))
	place := account + "/CloudTrail/" + region + "/" + now.Format("2006/01/02")
	if to != nil {
		key := to.root(account) + place[len(account)+1:] + "/" + name
		if err := t.put(to.Bucket, key, zippedJSON(raw.Bytes()), nil); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		c := to.chain(account, region, now)
		c.Logs = append(c.Logs, digestLog{S3Bucket: to.Bucket, S3Object: key, HashValue: sha256Hex(raw.Bytes()), HashAlgorithm: "SHA-256",
			NewestEventTime: newest, OldestEventTime: oldest})
		return nil
	}
	dir := filepath.Join(t.dir, "AWSLogs", filepath.FromSlash(place))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp := filepath.Join(t.tmp, name)
	if err := os.WriteFile(tmp, zippedJSON(raw.Bytes()), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}
