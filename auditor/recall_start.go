package auditor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// start waits until every verdict is known that was said before it was called, and then
// reads what is open of what is stored. What is not stored yet is handed over when it is.
func (j *judge) start(ctx context.Context) error {
	for _, f := range j.feeds { // a start before this one may have failed half-way
		f.stop(j)
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
	conn := j.a.store.Conn()
	for {
		ready, err := j.verdictsKnown(ctx, conn, last)
		if err != nil {
			return err
		}
		if ready {
			j.a.sameStore.Store(true)
			break
		}
		if !sleep(ctx, judgeEvery/2) {
			return ctx.Err()
		}
	}
	// What is stored from here on is handed over; what was before is read below.
	// An entry may come both ways: the state doesn't mind.
	for stream, f := range j.feeds {
		j.done[stream] = f.start(j.a.Floor(stream))
		// What the streams had when this began is known once it was fed, or will be found
		// in the store.
		j.sampled[stream], j.ends[stream] = sample{begun, last[stream]}, last[stream]
	}
	if err := j.restoreScope(ctx, conn); err != nil {
		return err
	}
	if err := j.restoreOpen(ctx, conn); err != nil {
		return fmt.Errorf("read open requests: %w", err)
	}
	return j.restoreRecords(ctx, conn, begun)
}

// clocksApart is how much the times may differ that the leaders of two streams give.
const clocksApart = time.Minute

// verdictsKnown says whether the tables have each verdict that was said, and what it is
// about: what is handed over later has none. A verdict is about what was in its stream
// before, and nearly always about what this store had; not if that is a new one, or an
// old one that was brought back. So this is found out once: what is said while this
// process runs is said of the same store.
func (j *judge) verdictsKnown(ctx context.Context, conn driver.Conn, last map[string]uint64) (bool, error) {
	if j.a.Floor(events.Findings) < last[events.Findings] {
		return false, nil
	}
	if last[events.Findings] == 0 || j.a.sameStore.Load() {
		return true, nil
	}
	said, err := storedAt(ctx, conn, events.Findings, last[events.Findings])
	if err != nil {
		return false, err
	}
	for _, stream := range judgedStreams() {
		floor := j.a.Floor(stream)
		if floor >= last[stream] {
			continue
		}
		at, err := storedAt(ctx, conn, stream, floor)
		if err != nil || at.Before(said.Add(clocksApart)) {
			return false, err
		}
	}
	return true, nil
}

// storedAt is when an entry came into its stream; long ago if the ledger does not have it.
func storedAt(ctx context.Context, conn driver.Conn, stream string, seq uint64) (at time.Time, err error) {
	err = conn.QueryRow(ctx, `SELECT max(stored_at) FROM events WHERE stream = ? AND seq = ?`, stream, seq).Scan(&at)
	if err != nil {
		return at, fmt.Errorf("read when %s %d was stored: %w", stream, seq, err)
	}
	return at, nil
}

func (j *judge) restoreScope(ctx context.Context, conn driver.Conn) error {
	err := j.restoreIdentities(ctx, conn, `SELECT DISTINCT aws_role_arn, role_session_name, source_identity, user, splitByChar(':', assumed_role_id)[1] FROM credentials
		UNION DISTINCT SELECT DISTINCT aws_role_arn, role_session_name, source_identity, user, '' FROM sessions`)
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
	if err := j.restorePassedOn(ctx, conn, time.Now()); err != nil {
		return fmt.Errorf("read keys that were passed on: %w", err)
	}
	return j.restoreSessions(ctx, conn)
}

// restorePassedOn reads which keys were got around postern, and may be in use: by their
// records' times, and those that were judged lately, of old trails.
func (j *judge) restorePassedOn(ctx context.Context, conn driver.Conn, now time.Time) error {
	const (
		around = `verdict IN ('bypass', 'exported')`
		lately = `(event_time > now() - INTERVAL 2 DAY OR verdict_at > now() - INTERVAL 2 DAY)`
	)
	// Their keys are found by two narrow columns, as they may be of any time, and few of them
	// gave a key.
	const gave = `SELECT ` + recordKey + ` FROM cloudtrail_rows WHERE issued_access_key_id != '' AND (` + recordKey + `) IN
		(SELECT ` + recordKey + ` FROM cloudtrail_rows WHERE ` + lately + ` AND ` + around + `)`
	got, err := records(ctx, conn, nil, lately+` AND (`+recordKey+`) IN (`+gave+`) AND `+around+` AND issued_access_key_id != '' ORDER BY event_time, event_id`)
	if err != nil || len(got) == 0 {
		return err
	}
	var keys []string
	for _, r := range got {
		keys = append(keys, r.AccessKeyID)
	}
	for chunk := range slices.Chunk(distinct(keys), recallAtOnce) { // which may have ended since
		by, err := credentials(ctx, conn, "access_key_id IN (?)", chunk)
		if err != nil {
			return err
		}
		for _, c := range by {
			j.state.AddCredential(c)
		}
	}
	for _, r := range got {
		j.state.AddPassedOn(r, now)
	}
	return nil
}

func (j *judge) restoreIdentities(ctx context.Context, conn driver.Conn, q string) error {
	rows, err := conn.Query(ctx, q)
	if err != nil {
		return fmt.Errorf("read identities: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var arn, session, source, user, id string
		if err := rows.Scan(&arn, &session, &source, &user, &id); err != nil {
			return fmt.Errorf("read identities: %w", err)
		}
		j.state.AddIdentity(identity(arn, session), source, user)
		j.state.AddRole(id, arn)
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
	// The first of that name is the event's own: parameters come last, and ClickHouse can't
	// read the JSON of each that a request may have.
	q := `SELECT max(received), min(seq) FROM
		(SELECT seq, parseDateTime64BestEffortOrZero(extract(raw, '"received_at":"([^"]*)"'), 6, 'UTC') AS received FROM events
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
	return j.restoreIdentities(ctx, conn, `SELECT DISTINCT aws_role_arn, role_session_name, source_identity, user, '' FROM request_rows WHERE received_at >= `+store.Timestamp(oldest))
}

// restoreRecords reads the records that were stored and may not be judged: for those
// that nothing in memory explains the store is asked.
func (j *judge) restoreRecords(ctx context.Context, conn driver.Conn, now time.Time) error {
	mark, err := j.a.store.Mark(ctx, trailMark)
	if err != nil {
		return err
	}
	j.marked[trailMark] = mark
	for at, until := mark, j.done[events.CloudTrail]; at < until; {
		p, err := j.stored(ctx, events.CloudTrail, at, until)
		if err != nil {
			return fmt.Errorf("read records after %d: %w", at, err)
		}
		at = p.floor
		p.told = nil // which the tables have
		if !j.say.say(ctx, j.feed(p, now)) {
			return ctx.Err()
		}
		// They are many after a backfill, or a long stop: those before are judged first.
		// No mark is written down meanwhile, as there are more that the state has not.
		for again := false; j.state.Early() > earlyAtMost || j.state.Behind() || j.say.ahead() > sayAhead; again = true {
			if again {
				select { // requests go on meanwhile
				case p := <-j.in:
					if !j.accept(ctx, p) {
						return ctx.Err()
					}
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
		e, err := events.Decode([]byte(raw))
		if err != nil {
			continue
		}
		if d, ok := e.Data.(*events.CloudTrailRecordReceived); ok {
			if r, ok := record(d, seq); ok {
				out = append(out, r)
			}
		}
	}
	return out, rows.Err()
}
