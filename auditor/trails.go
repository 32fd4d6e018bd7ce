package auditor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/posternhq/postern/auditor/cloudtrail"
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
