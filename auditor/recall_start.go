package auditor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// start waits until the store has what the streams had when it was called, so
// that every verdict that was ever said is known, and then reads what is open.
func (j *judge) start(ctx context.Context) error {
	for _, f := range j.feeds { // a start before this one may have failed half-way
		f.stop()
	}
	begun := time.Now()
	last := map[string]uint64{}
	for _, stream := range events.Streams() {
		n, err := j.a.c.Journal.Last(ctx, stream)
		if err != nil {
			return err
		}
		last[stream] = n
	}
	for stream, n := range last {
		for j.a.Floor(stream) < n {
			select {
			case <-j.in: // it is stored, and read below; whoever brought it goes on
			case <-j.trail:
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	// What is stored from here on is handed over; what was before is read below.
	// An entry may come both ways: the state doesn't mind.
	for stream, f := range j.feeds {
		j.done[stream] = f.start(j.a.Floor(stream))
	}
	conn := j.a.store.Conn()
	if err := j.restoreScope(ctx, conn); err != nil {
		return err
	}
	if err := j.restoreOpen(ctx, conn); err != nil {
		return fmt.Errorf("read open requests: %w", err)
	}
	// What the streams had when this began is known, or will be found in the store.
	for stream := range j.done {
		j.known[stream] = begun
	}
	return j.restoreRecords(ctx, conn, begun)
}

func (j *judge) restoreScope(ctx context.Context, conn driver.Conn) error {
	err := j.restoreIdentities(ctx, conn, `SELECT DISTINCT aws_role_arn, role_session_name, source_identity FROM credentials
		UNION DISTINCT SELECT DISTINCT aws_role_arn, role_session_name, source_identity FROM sessions`)
	if err != nil {
		return err
	}
	live, err := credentials(ctx, conn, `expires_at > now() - INTERVAL 2 HOUR`)
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	for _, c := range live {
		j.state.AddCredential(c)
	}
	return j.restoreSessions(ctx, conn)
}

func (j *judge) restoreIdentities(ctx context.Context, conn driver.Conn, q string) error {
	rows, err := conn.Query(ctx, q)
	if err != nil {
		return fmt.Errorf("read identities: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var arn, session, source string
		if err := rows.Scan(&arn, &session, &source); err != nil {
			return fmt.Errorf("read identities: %w", err)
		}
		j.state.AddIdentity(identity(arn, session), source)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read identities: %w", err)
	}
	return nil
}

// restoreOpen finds out in which minutes there are requests that may be open.
// They stay in the store until a record asks for them or they are overdue.
func (j *judge) restoreOpen(ctx context.Context, conn driver.Conn) error {
	mark, err := j.a.store.Mark(ctx, auditMark)
	if err != nil {
		return err
	}
	q := `SELECT max(received), min(seq) FROM
		(SELECT seq, parseDateTime64BestEffortOrZero(JSONExtractString(raw, 'data', 'received_at'), 6, 'UTC') AS received FROM events
		WHERE stream = ? AND seq > ? AND type IN (?)) GROUP BY toStartOfMinute(received)`
	args := []any{events.Audit, mark, []string{string(events.TypeAWSRequestAdmitted), string(events.TypeAWSRequestCompleted)}}
	if mark == 0 { // as good, and the table may be of a version that wrote none
		q, args = `SELECT max(received_at), toUInt64(1) FROM requests WHERE verdict = 'awaiting' GROUP BY toStartOfMinute(received_at)`, nil
	}
	rows, err := conn.Query(ctx, q, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var oldest time.Time
	for rows.Next() {
		var last time.Time
		var seq uint64
		if err := rows.Scan(&last, &seq); err != nil {
			return err
		}
		if minute := last.Truncate(time.Minute); oldest.IsZero() || minute.Before(oldest) {
			oldest = minute
		}
		j.state.Spilled(last, seq)
	}
	if err := rows.Err(); err != nil || oldest.IsZero() {
		return err
	}
	j.marked[auditMark] = mark
	return j.restoreIdentities(ctx, conn, `SELECT DISTINCT aws_role_arn, role_session_name, source_identity FROM request_rows WHERE received_at >= `+stamp(oldest))
}

// restoreRecords reads the records that were stored and not judged.
func (j *judge) restoreRecords(ctx context.Context, conn driver.Conn, now time.Time) error {
	mark, err := j.a.store.Mark(ctx, trailMark)
	if err != nil {
		return err
	}
	j.marked[trailMark] = mark
	for at := mark; ; {
		batch, err := ledgerRecords(ctx, conn, `seq > ? AND problem = '' ORDER BY seq LIMIT 2000`, at)
		if err != nil {
			return fmt.Errorf("read records after %d: %w", at, err)
		}
		if len(batch) == 0 {
			return nil
		}
		at = batch[len(batch)-1].Seq
		if err := j.addUnjudged(ctx, conn, batch, now); err != nil {
			return err
		}
		// They are many after a backfill, or a long stop: those before are judged first.
		// No mark is written down meanwhile, as there are more that the state has not.
		for again := false; j.state.Early() > earlyAtMost || j.state.Behind(); again = true {
			if again {
				select { // requests go on meanwhile
				case p := <-j.in:
					if !j.say(ctx, j.feed(p, time.Now())) {
						return ctx.Err()
					}
					j.done[p.stream] = max(j.done[p.stream], p.floor)
				case <-time.After(judgeEvery):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if err := j.judge(ctx); err != nil {
				return err
			}
		}
	}
}

func (j *judge) addUnjudged(ctx context.Context, conn driver.Conn, batch []correlate.Record, now time.Time) error {
	var f correlate.Found
	f.Judged = map[correlate.RecordID]string{}
	for chunk := range slices.Chunk(batch, recallAtOnce) {
		var ids []string
		from, to := chunk[0].EventTime, chunk[0].EventTime
		for _, r := range chunk {
			ids = append(ids, r.EventID)
			if r.EventTime.Before(from) {
				from = r.EventTime
			}
			if r.EventTime.After(to) {
				to = r.EventTime
			}
		}
		if err := judged(ctx, conn, f.Judged, `event_time BETWEEN `+stamp(from)+` AND `+stamp(to)+` AND event_id IN (?)`, ids); err != nil {
			return err
		}
	}
	for _, r := range batch {
		if f.Judged[r.ID()] != "" || j.a.tooOld(r.EventTime) {
			continue
		}
		if !j.say(ctx, j.state.AddRecord(r, now)) {
			return ctx.Err()
		}
	}
	return nil
}

// ledgerRecords reads CloudTrail's records from the ledger by their places.
func ledgerRecords(ctx context.Context, conn driver.Conn, condition string, arg any) ([]correlate.Record, error) {
	rows, err := conn.Query(ctx, `SELECT seq, raw FROM events WHERE stream = ? AND `+condition, events.CloudTrail, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []correlate.Record
	for rows.Next() {
		var seq uint64
		var raw string
		if err := rows.Scan(&seq, &raw); err != nil {
			return nil, err
		}
		var ce struct {
			Data json.RawMessage `json:"data"`
		}
		var d events.CloudTrailRecordReceived
		r := correlate.Record{Seq: seq} // what is no record keeps its place only
		if json.Unmarshal([]byte(raw), &ce) == nil && json.Unmarshal(ce.Data, &d) == nil && len(d.Record) > 0 {
			if read, ok := record(&d, seq); ok {
				r = read
			}
		}
		out = append(out, r)
	}
	return out, rows.Err()
}
