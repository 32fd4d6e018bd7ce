package auditor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// markSettles bounds the wait until ClickHouse has the verdicts that a mark is about.
const markSettles = 10 * time.Second

// What the judge's marks may not be past, by its sequence: requests that wait for their
// record, of which the judge may have read the end alone, and records of roles that postern
// had used by then, each of which is judged.
const (
	openRequests = `SELECT max(seq) AS at FROM events WHERE stream = 'AUDIT' AND thing IN (SELECT concat('aws-request/', request_id) FROM requests WHERE verdict = 'awaiting')
		GROUP BY thing HAVING max(stored_at) >= %s`
	openRecords = `SELECT seq AS at FROM events
		INNER JOIN (SELECT concat('cloudtrail/', recipient_account_id, '/', event_id) AS record, issuer_arn FROM cloudtrail WHERE verdict = '' AND issuer_arn IN (SELECT aws_role_arn FROM sessions)) AS open ON events.thing = open.record
		INNER JOIN (SELECT aws_role_arn, min(started_at) AS used FROM sessions GROUP BY aws_role_arn) AS ours ON open.issuer_arn = ours.aws_role_arn
		WHERE stream = 'CLOUDTRAIL' AND stored_at > used + INTERVAL 10 MINUTE AND stored_at >= %s`
)

// markFaults names what the judge's marks call settled and is not. A start looks for what
// is open behind them only: who moved one could have a call around postern, or one that AWS
// has no record of, never judged.
func (a *Auditor) markFaults(ctx context.Context, since time.Time) ([]evidence.Fault, error) {
	requests, err := a.store.Mark(ctx, auditMark)
	if err != nil {
		return nil, err
	}
	records, err := a.store.Mark(ctx, trailMark)
	if err != nil {
		return nil, err
	}
	if known, err := a.verdictsStored(ctx); err != nil || !known {
		return nil, err // that they are missing is a fault of its own
	}
	out, err := a.unjudged(ctx, auditMark, requests, openRequests, since)
	if err != nil {
		return nil, err
	}
	more, err := a.unjudged(ctx, trailMark, records, openRecords, since)
	return append(out, more...), err
}

// unjudged names what is open of that up to a mark.
func (a *Auditor) unjudged(ctx context.Context, mark string, at uint64, open string, since time.Time) ([]evidence.Fault, error) {
	if at == 0 {
		return nil, nil // the judge has said nothing
	}
	fail := func(err error) ([]evidence.Fault, error) { return nil, fmt.Errorf("check of %s: %w", mark, err) }
	rows, err := a.store.Conn().Query(ctx, fmt.Sprintf(`SELECT at FROM (`+open+`) WHERE at <= ? ORDER BY at LIMIT %d`, store.Timestamp(since), mostFaults), at)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var out []evidence.Fault
	for rows.Next() {
		f := evidence.Fault{Stream: strings.TrimPrefix(mark, "judge/"), Place: evidence.InLedger, Kind: "unjudged", Detail: "the mark " + mark + " says that it was judged"}
		if err := rows.Scan(&f.First); err != nil {
			return fail(err)
		}
		f.Last = f.First
		if n := len(out); n > 0 && out[n-1].Last+1 == f.First {
			out[n-1].Last = f.First
		} else {
			out = append(out, f)
		}
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return out, nil
}

// verdictsStored waits until ClickHouse has all that was said before: what a mark is about
// was. It tells whether that came in time.
func (a *Auditor) verdictsStored(ctx context.Context) (bool, error) {
	last, err := a.c.Journal.Last(ctx, events.Findings)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, markSettles)
	defer cancel()
	for a.Floor(events.Findings) < last {
		if !sleep(ctx, 50*time.Millisecond) {
			return false, nil
		}
	}
	return true, nil
}
