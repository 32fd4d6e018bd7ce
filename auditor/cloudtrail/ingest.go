package cloudtrail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// inFlight is how many records wait for their acknowledgement at once; the
// journal makes one commit of those that wait together.
const inFlight = 512

// Ingester puts the records of log files on the CLOUDTRAIL stream. It is safe
// for concurrent use.
type Ingester struct {
	journal *journal.Journal
	log     zerolog.Logger
	slots   chan struct{}
	recent  recent
}

// NewIngester returns an ingester that writes to j.
func NewIngester(j *journal.Journal, log zerolog.Logger) *Ingester {
	return &Ingester{journal: j, log: log, slots: make(chan struct{}, inFlight)}
}

// Result is what became of one file.
type Result struct {
	File string `json:"file"`
	// Records in the file, doubles included.
	Records int `json:"records"`
	// Rejected says why the file was set aside, from its Records-th record on.
	Rejected string `json:"rejected,omitempty"`
	// LastSeq is the highest place in the stream that one of its records has.
	LastSeq uint64 `json:"-"`
}

// File publishes every record of a log file, and returns when all of them are
// durable. A malformed file is no error: it is said so in the result and by an
// event, and what came before the bad place stays. One that cannot be read to its end is
// an error, and is not called malformed. progress, which may be nil,
// hears the number of records read so far, now and then.
func (g *Ingester) File(ctx context.Context, name string, r io.Reader, progress func(records int)) (Result, error) {
	return g.file(ctx, name, "", r, progress)
}

func (g *Ingester) file(ctx context.Context, name, etag string, r io.Reader, progress func(records int)) (Result, error) {
	res := Result{File: name}
	p := &publisher{g: g, ctx: ctx}
	sum := sha256.New()
	whole, err := read(r, sum, func(position int, raw []byte, record *Record) error {
		e := received(name, position, raw, record)
		res.Records++
		if progress != nil && res.Records%500 == 0 {
			progress(res.Records)
		}
		return p.publish(e)
	})
	last, perr := p.wait()
	res.LastSeq = last
	if perr != nil {
		return res, fmt.Errorf("ingest %s: %w", name, perr)
	}
	var bad *FileError
	if errors.As(err, &bad) {
		res.Rejected = bad.Reason
		seq, err := g.reject(ctx, name, bad)
		res.LastSeq = max(res.LastSeq, seq)
		return res, err
	}
	if err != nil {
		return res, fmt.Errorf("ingest %s: %w", name, err)
	}
	if !whole {
		return res, fmt.Errorf("ingest %s: its end was not reached", name)
	}
	seq, err := g.taken(ctx, &events.CloudTrailFileReceived{File: name, ETag: etag, Records: res.Records, SHA256: hex.EncodeToString(sum.Sum(nil))})
	res.LastSeq = max(res.LastSeq, seq)
	return res, err
}

// taken says on the stream that a file is in.
func (g *Ingester) taken(ctx context.Context, d *events.CloudTrailFileReceived) (uint64, error) {
	if m := accountOf.FindStringSubmatch(path.Base(d.File)); m != nil {
		d.Account, d.Region = m[1], m[2]
	}
	id := "file/" + shortHash(d.File, d.ETag, d.SHA256)
	if seq, ok := g.recent.get(id); ok {
		return seq, nil
	}
	seq, err := g.journal.Append(ctx, events.Event{Meta: events.Meta{ID: id}, Data: d})
	if err != nil {
		return 0, fmt.Errorf("ingest %s: %w", d.File, err)
	}
	g.recent.put(id, seq)
	return seq, nil
}

// reject says on the stream that a file was set aside.
func (g *Ingester) reject(ctx context.Context, name string, bad *FileError) (uint64, error) {
	g.log.Warn().Str("file", name).Int("records", bad.Records).Str("reason", bad.Reason).Msg("cloudtrail file set aside")
	sum := sha256.Sum256([]byte(name + "\x00" + bad.Reason))
	seq, err := g.journal.Append(ctx, events.Event{
		Meta: events.Meta{ID: "rejected/" + hex.EncodeToString(sum[:16])},
		Data: &events.CloudTrailFileRejected{File: name, Reason: bad.Reason, Records: bad.Records},
	})
	if err != nil {
		return 0, fmt.Errorf("set %s aside: %w", name, err)
	}
	return seq, nil
}

// accountOf reads account and region from a file's name, where AWS wrote them:
// 123456789012_CloudTrail_us-east-1_20230710T1145Z_UNIQUE.json.gz; Insights and
// NetworkActivity events come in files …_CloudTrail-Insight_….
var accountOf = regexp.MustCompile(`^(\d{12})_CloudTrail(?:-[A-Za-z]+)?_([a-z0-9-]+)_`)

// received makes the event of a record. Its id is the record's own, so that a
// record delivered twice is on the stream once, within the stream's window for
// doubles.
func received(name string, position int, raw []byte, r *Record) events.Event {
	account := r.RecipientAccountID
	if account == "" {
		if m := accountOf.FindStringSubmatch(path.Base(name)); m != nil {
			account = m[1]
		}
	}
	d := &events.CloudTrailRecordReceived{
		RecipientAccountID: account,
		EventID:            r.EventID,
		Region:             r.AWSRegion,
		EventSource:        r.EventSource,
		File:               name,
		Position:           position,
		Record:             bytes.Clone(raw),
	}
	if !r.compact || escapes(raw) {
		d.Raw = string(raw)
	}
	return events.Event{Meta: events.Meta{ID: account + "/" + d.EventID}, Data: d}
}

// escapes says that encoding/json would not pass a record without white space on
// byte for byte: it escapes <, >, & and two line separators.
func escapes(b []byte) bool {
	for _, c := range []byte("<>&") {
		if bytes.IndexByte(b, c) >= 0 {
			return true
		}
	}
	return bytes.Contains(b, []byte("\u2028")) || bytes.Contains(b, []byte("\u2029"))
}

// publisher keeps many appends of one file on their way at once.
type publisher struct {
	g   *Ingester
	ctx context.Context
	wg  sync.WaitGroup

	mu   sync.Mutex
	err  error
	last uint64
}

func (p *publisher) publish(e events.Event) error {
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if seq, ok := p.g.recent.get(e.ID); ok {
		p.done(e.ID, seq, nil)
		return nil
	}
	select {
	case p.g.slots <- struct{}{}:
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	p.wg.Go(func() {
		defer func() { <-p.g.slots }()
		seq, err := p.g.journal.Append(p.ctx, e)
		p.done(e.ID, seq, err)
	})
	return nil
}

func (p *publisher) done(id string, seq uint64, err error) {
	if err == nil {
		p.g.recent.put(id, seq)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.err == nil {
		p.err = err
	}
	p.last = max(p.last, seq)
}

func (p *publisher) wait() (uint64, error) {
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.err
}

// recent remembers the last records by id, so that doubles in one run need not
// go to the stream at all: between 50,000 and 100,000 of them.
type recent struct {
	mu       sync.Mutex
	new, old map[string]uint64
}

func (r *recent) get(id string) (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq, ok := r.new[id]; ok {
		return seq, true
	}
	seq, ok := r.old[id]
	return seq, ok
}

func (r *recent) put(id string, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.new == nil || len(r.new) >= 50_000 {
		r.old, r.new = r.new, map[string]uint64{}
	}
	r.new[strings.Clone(id)] = seq
}
