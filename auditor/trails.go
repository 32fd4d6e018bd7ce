package auditor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/events"
)

// TrailConfig says what is read of CloudTrail from AWS.
type TrailConfig struct {
	AWS cloudtrail.AWSConfig
	// Queues are URLs of SQS queues that are told of new files, or of records.
	Queues []string
	// LookupRegions are read by LookupEvents, for accounts without a trail.
	LookupRegions []string
}

var errNoAWS = errors.New("this auditor does not read from AWS: give auditor.aws in its configuration")

// newIntake makes what reads from AWS.
func (a *Auditor) newIntake() error {
	if a.c.Trail == nil {
		return nil
	}
	if a.c.DataDir == "" && len(a.c.Trail.LookupRegions) > 0 {
		return errors.New("LookupEvents needs a data directory")
	}
	from := a.c.Trail.AWS
	from.Log = a.c.Log
	link, err := cloudtrail.NewAWS(from)
	if err != nil {
		return err
	}
	a.intake = cloudtrail.NewIntake(link, a.ingester, trailHistory{a}, a.c.Journal, a.c.Log)
	return nil
}

// trailParts are what runs to read from AWS.
func (a *Auditor) trailParts(part func(string, func(context.Context) error)) {
	if a.intake == nil {
		return
	}
	part("trails", a.intake.WatchTrails)
	if len(a.c.Trail.Queues) > 0 {
		part("chains", a.intake.WatchChains)
	}
	for _, url := range a.c.Trail.Queues {
		part("queue "+url, cloudtrail.NewQueue(a.intake, url).Run)
	}
	if len(a.c.Trail.LookupRegions) > 0 {
		part("lookup", cloudtrail.NewLookup(a.intake, a.c.Trail.LookupRegions, a.c.DataDir).Run)
	}
}

// trailHistory is cloudtrail.History out of ClickHouse.
type trailHistory struct{ a *Auditor }

// atOnce keeps a query with names in it below ClickHouse's max_query_size,
// 256 KiB; keys in S3 have 1,024 bytes at most.
const atOnce = 200

func (h trailHistory) Files(ctx context.Context, names []string) (map[string]cloudtrail.FileState, error) {
	out := map[string]cloudtrail.FileState{}
	for part := range slices.Chunk(names, atOnce) {
		rows, err := h.a.store.Conn().Query(ctx, `SELECT file, etag, sha256 FROM trail_files WHERE file IN (?)`, part)
		if err != nil {
			return nil, fmt.Errorf("known files: %w", err)
		}
		for rows.Next() {
			var name string
			var s cloudtrail.FileState
			if err = rows.Scan(&name, &s.ETag, &s.SHA256); err != nil {
				break
			}
			out[name] = s
		}
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			return nil, fmt.Errorf("known files: %w", err)
		}
	}
	return out, nil
}

// ofChain is true of a chain's digest files; its arguments are chainArgs.
const ofChain = `bucket = ? AND account = ? AND region = ? AND trail = ? AND home_region = ? AND backfill = ?`

func chainArgs(c cloudtrail.Chain, more ...any) []any {
	return append([]any{c.Bucket, c.Account, c.Region, c.Trail, c.HomeRegion, c.Backfill}, more...)
}

func (h trailHistory) LastDigest(ctx context.Context, c cloudtrail.Chain, before time.Time) (*events.CloudTrailDigestChecked, error) {
	rows, err := h.a.store.Conn().Query(ctx, `SELECT key, verdict, start_time, end_time, signature, previous_key FROM trail_digests
		WHERE `+ofChain+` AND verdict != 'missing' AND end_time < ?
		ORDER BY end_time DESC LIMIT 1`, chainArgs(c, before)...)
	if err != nil {
		return nil, fmt.Errorf("last digest: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	var d events.CloudTrailDigestChecked
	if err := rows.Scan(&d.Key, &d.Verdict, &d.StartTime, &d.EndTime, &d.Signature, &d.PreviousKey); err != nil {
		return nil, fmt.Errorf("last digest: %w", err)
	}
	return &d, rows.Err()
}

func (h trailHistory) Chains(ctx context.Context, bucket, prefix string) ([]cloudtrail.Chain, error) {
	rows, err := h.a.store.Conn().Query(ctx, `SELECT DISTINCT bucket, account, region, trail, home_region, backfill FROM trail_digests
		WHERE bucket = ? AND startsWith(key, ?)`, bucket, prefix)
	if err != nil {
		return nil, fmt.Errorf("known chains: %w", err)
	}
	var out []cloudtrail.Chain
	for rows.Next() {
		var c cloudtrail.Chain
		if err = rows.Scan(&c.Bucket, &c.Account, &c.Region, &c.Trail, &c.HomeRegion, &c.Backfill); err != nil {
			break
		}
		out = append(out, c)
	}
	if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("known chains: %w", err)
	}
	return out, nil
}

func (h trailHistory) Digests(ctx context.Context, c cloudtrail.Chain, since, until time.Time) (map[string]cloudtrail.DigestState, error) {
	// Times go into the query as DateTime, which ends in 2106.
	if late := time.Now().AddDate(1, 0, 0); until.IsZero() || until.After(late) {
		until = late
	}
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	if since.After(until) {
		return nil, nil
	}
	rows, err := h.a.store.Conn().Query(ctx, `SELECT key, verdict, reason, signature, sha256, logs_invalid.file, logs_invalid.reason, checked_at FROM trail_digests
		WHERE `+ofChain+` AND end_time BETWEEN ? AND ?`, chainArgs(c, since, until)...)
	if err != nil {
		return nil, fmt.Errorf("known digest files: %w", err)
	}
	out := map[string]cloudtrail.DigestState{}
	for rows.Next() {
		var key string
		var s cloudtrail.DigestState
		var files, reasons []string
		if err = rows.Scan(&key, &s.Verdict, &s.Reason, &s.Signature, &s.SHA256, &files, &reasons, &s.CheckedAt); err != nil {
			break
		}
		for i := range files {
			s.LogsInvalid = append(s.LogsInvalid, events.InvalidLog{File: files[i], Reason: reasons[i]})
		}
		out[key] = s
	}
	if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("known digest files: %w", err)
	}
	return out, nil
}

func (h trailHistory) LiveChains(ctx context.Context, since time.Time) ([]cloudtrail.LiveChain, error) {
	rows, err := h.a.store.Conn().Query(ctx, `SELECT bucket, account, region, trail, home_region, argMax(key, end_time) AS last, max(end_time) FROM trail_digests
		WHERE NOT backfill AND end_time > ? GROUP BY bucket, account, region, trail, home_region
		HAVING countIf(verdict != 'missing' AND checked_at BETWEEN end_time AND end_time + toIntervalSecond(?)) >= ?
		AND (account, region, trail, home_region, last) NOT IN (SELECT account, region, trail, home_region, previous_key FROM trail_digests WHERE NOT backfill AND end_time > ?)`,
		since, int64(cloudtrail.LiveWithin/time.Second), cloudtrail.LiveAtLeast, since)
	if err != nil {
		return nil, fmt.Errorf("chains that arrive: %w", err)
	}
	var out []cloudtrail.LiveChain
	for rows.Next() {
		var c cloudtrail.LiveChain
		if err = rows.Scan(&c.Bucket, &c.Account, &c.Region, &c.Trail, &c.HomeRegion, &c.Key, &c.End); err != nil {
			break
		}
		out = append(out, c)
	}
	if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("chains that arrive: %w", err)
	}
	return out, nil
}

func (h trailHistory) Findings(ctx context.Context, ids []string) (map[string]string, error) {
	out := map[string]string{}
	for part := range slices.Chunk(ids, 10*atOnce) {
		rows, err := h.a.store.Conn().Query(ctx, `SELECT splitByChar('@', finding_id)[1] AS base, maxIf(finding_id, state = 'open') FROM findings
			WHERE finding_id BETWEEN 'trail_' AND 'trail~' AND base IN (?) GROUP BY base`, part)
		if err != nil {
			return nil, fmt.Errorf("findings about trails: %w", err)
		}
		for rows.Next() {
			var base, open string
			if err = rows.Scan(&base, &open); err != nil {
				break
			}
			out[base] = open
		}
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			return nil, fmt.Errorf("findings about trails: %w", err)
		}
	}
	return out, nil
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

// letters lists what was set aside and not replayed, oldest first.
func (a *Auditor) letters(ctx context.Context, id string) ([]cloudtrail.Letter, error) {
	rows, err := a.store.Conn().Query(ctx, `SELECT letter_id, kind, source, message_id, body, reason, rejected_at FROM dead_letters
		WHERE replayed_at IS NULL AND kind != '' AND (? = '' OR letter_id = ?) ORDER BY rejected_at, letter_id LIMIT 10000`, id, id)
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	defer rows.Close()
	list := []cloudtrail.Letter{}
	for rows.Next() {
		var l cloudtrail.Letter
		if err := rows.Scan(&l.ID, &l.Kind, &l.Source, &l.MessageID, &l.Body, &l.Reason, &l.RejectedAt); err != nil {
			return nil, fmt.Errorf("dead letters: %w", err)
		}
		list = append(list, l)
	}
	return list, rows.Err()
}

func (a *Auditor) deadLetters(r *http.Request) (any, error) {
	if err := fill(r.URL.Query(), &struct{}{}); err != nil {
		return nil, err
	}
	list, err := a.letters(r.Context(), "")
	return map[string]any{"dead_letters": list}, err
}

// Replayed is what became of one dead letter.
type Replayed struct {
	ID      string `json:"id"`
	Records int    `json:"records"`
	Error   string `json:"error,omitempty"`
}

// replay tries dead letters again: the one with an id, or all.
func (a *Auditor) replay(r *http.Request) (any, error) {
	if a.intake == nil {
		return nil, errNoAWS
	}
	var q struct {
		ID string `json:"id"`
	}
	if err := fill(r.URL.Query(), &q); err != nil {
		return nil, err
	}
	id := q.ID
	list, err := a.letters(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if id != "" && len(list) == 0 {
		return nil, fmt.Errorf("dead letter %s: %w", id, query.ErrNotFound)
	}
	out := []Replayed{}
	for _, l := range list {
		res, err := a.intake.Replay(r.Context(), l, r.TLS.PeerCertificates[0].Subject.CommonName)
		one := Replayed{ID: l.ID, Records: res.Records}
		if err == nil {
			err = a.stored(r.Context(), res.LastSeq)
		}
		if err != nil {
			one.Error = err.Error()
		}
		out = append(out, one)
	}
	return map[string]any{"replayed": out}, nil
}
