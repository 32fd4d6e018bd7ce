package auditor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

const (
	// recallAtOnce bounds the ids in one statement.
	recallAtOnce = 1000
	// recallSpan is how long a call may take between its receipt by the proxy and
	// the time that CloudTrail gives it: a large upload takes a while.
	recallSpan = 24 * time.Hour
)

const requestFields = `request_id, received_at, outcome, user, account, aws_role_arn, role_session_name, source_identity, access_key_id, service, signing_name, operation, aws_request_id, region, session_id, access_level, resources, verdict, cloudtrail_account, cloudtrail_event_id`

const recordFields = `recipient_account_id, event_id, shared_event_id, request_id, event_time, event_source, event_name, identity_account_id, identity_arn, issuer_arn, role_session_name, source_identity, access_key_id, federated_user, invoked_by, from_console, issued_access_key_id, source_ip_address, error_code, resources, verdict, verdict_rule`

const credentialFields = `access_key_id, session_id, use, handed_out, user, account, aws_role_arn, role_session_name, source_identity, issued_at, expires_at`

// recall looks in the store for the other side of what is in doubt.
func recall(ctx context.Context, conn driver.Conn, d correlate.Doubt) (correlate.Found, error) {
	f := correlate.Found{Judged: map[correlate.RecordID]string{}}
	for chunk := range slices.Chunk(d.Records, recallAtOnce) {
		if err := recallRequests(ctx, conn, chunk, &f); err != nil {
			return f, fmt.Errorf("recall requests: %w", err)
		}
	}
	for chunk := range slices.Chunk(d.Requests, recallAtOnce) {
		if err := recallRecords(ctx, conn, chunk, &f); err != nil {
			return f, fmt.Errorf("recall records: %w", err)
		}
	}
	for chunk := range slices.Chunk(d.Keys, recallAtOnce) {
		found, err := credentials(ctx, conn, "access_key_id IN (?)", chunk)
		if err != nil {
			return f, fmt.Errorf("recall credentials: %w", err)
		}
		f.Credentials = append(f.Credentials, found...)
		if err := recallSessions(ctx, conn, found, &f); err != nil {
			return f, fmt.Errorf("recall sessions: %w", err)
		}
	}
	return f, nil
}

func recallRequests(ctx context.Context, conn driver.Conn, records []correlate.Record, f *correlate.Found) error {
	from, to := records[0].EventTime, records[0].EventTime
	var events, ids, keys, bare []string
	for _, r := range records {
		if r.EventTime.Before(from) {
			from = r.EventTime
		}
		if r.EventTime.After(to) {
			to = r.EventTime
		}
		events = append(events, r.EventID)
		if r.RequestID != "" {
			ids = append(ids, r.RequestID)
		} else if r.AccessKeyID != "" {
			bare = append(bare, r.AccessKeyID)
		}
		if r.AccessKeyID != "" {
			keys = append(keys, r.AccessKeyID)
		}
	}
	if err := judged(ctx, conn, f.Judged, `event_time BETWEEN `+stamp(from)+` AND `+stamp(to)+` AND event_id IN (?)`, events); err != nil {
		return err
	}
	span := `received_at BETWEEN ` + stamp(from.Add(-recallSpan)) + ` AND ` + stamp(to.Add(recallSpan))
	near := `received_at BETWEEN ` + stamp(from.Add(-10*time.Minute)) + ` AND ` + stamp(to.Add(10*time.Minute))
	for _, ask := range []struct {
		condition string
		values    []string
	}{
		{span + ` AND aws_request_id IN (?)`, ids},
		{near + ` AND access_key_id IN (?) AND aws_request_id = '' AND verdict NOT IN ('matched', 'mismatched')`, keys},
		{near + ` AND access_key_id IN (?) AND verdict NOT IN ('matched', 'mismatched')`, bare},
	} {
		if len(ask.values) == 0 {
			continue
		}
		found, err := requests(ctx, conn, ask.condition, ask.values)
		if err != nil {
			return err
		}
		f.Requests = append(f.Requests, found...)
	}
	if len(keys) > 0 {
		found, err := tokens(ctx, conn, `access_key_id IN (?) AND issued_at <= `+stamp(to.Add(10*time.Minute))+` AND expires_at >= `+stamp(from.Add(-10*time.Minute)), keys)
		if err != nil {
			return err
		}
		f.Tokens = append(f.Tokens, found...)
	}
	return recallCopies(ctx, conn, ids, span, f)
}

// recallCopies finds requests that were paired without an AWS request id of
// their own, by the id that their record has.
func recallCopies(ctx context.Context, conn driver.Conn, ids []string, span string, f *correlate.Found) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT postern_request_id, request_id FROM cloudtrail WHERE request_id IN (?) AND verdict_rule = 'key_name_time'`, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	aws := map[string]string{}
	var ours []string
	for rows.Next() {
		var our, theirs string
		if err := rows.Scan(&our, &theirs); err != nil {
			return err
		}
		aws[our] = theirs
		ours = append(ours, our)
	}
	if err := rows.Err(); err != nil || len(ours) == 0 {
		return err
	}
	found, err := requests(ctx, conn, span+` AND request_id IN (?)`, ours)
	for _, r := range found {
		if r.AWSRequestID == "" {
			r.AWSRequestID = aws[r.ID]
		}
		f.Requests = append(f.Requests, r)
	}
	return err
}

func recallRecords(ctx context.Context, conn driver.Conn, requests []correlate.Request, f *correlate.Found) error {
	from, to := requests[0].ReceivedAt, requests[0].ReceivedAt
	var ids []string
	for _, r := range requests {
		if r.ReceivedAt.Before(from) {
			from = r.ReceivedAt
		}
		if r.ReceivedAt.After(to) {
			to = r.ReceivedAt
		}
		if r.AWSRequestID != "" {
			ids = append(ids, r.AWSRequestID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT `+recordFields+` FROM cloudtrail WHERE event_time BETWEEN `+stamp(from.Add(-recallSpan))+` AND `+stamp(to.Add(recallSpan))+
		` AND request_id IN (?) AND verdict IN ('', 'bypass')`, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r correlate.Record
		var arn, from, code string
		err := rows.Scan(&r.Account, &r.EventID, &r.SharedEventID, &r.RequestID, &r.EventTime, &r.EventSource, &r.EventName, &r.IdentityAccount,
			&arn, &r.RoleARN, &r.SessionName, &r.SourceIdentity, &r.AccessKeyID, &r.User, &r.InvokedBy, &r.FromConsole, &r.IssuedAccessKeyID,
			&from, &code, &r.Resources, &r.Verdict, &r.Rule)
		if err != nil {
			return err
		}
		r.InvokedBy, r.Refused = byService(r.InvokedBy, from), refused(code)
		if p := strings.SplitN(arn, "/", 3); len(p) == 3 {
			r.RoleName = p[1]
		}
		f.Records = append(f.Records, r)
	}
	return rows.Err()
}

func requests(ctx context.Context, conn driver.Conn, condition string, args ...any) ([]correlate.Request, error) {
	rows, err := conn.Query(ctx, `SELECT `+requestFields+` FROM requests WHERE `+condition, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []correlate.Request
	for rows.Next() {
		var r correlate.Request
		var outcome, level string
		err := rows.Scan(&r.ID, &r.ReceivedAt, &outcome, &r.User, &r.Account, &r.RoleARN, &r.SessionName, &r.SourceIdentity, &r.AccessKeyID,
			&r.Service, &r.SigningName, &r.Operation, &r.AWSRequestID, &r.Region, &r.SessionID, &level, &r.Resources, &r.Verdict, &r.PairAccount, &r.PairEvent)
		if err != nil {
			return nil, err
		}
		r.ReadOnly = readOnly(level)
		switch outcome {
		case "completed":
			r.Outcome = correlate.Completed
		case "failed":
			r.Outcome = correlate.Failed
		case "denied":
			continue
		}
		if r.Verdict == events.Awaiting {
			r.Verdict = ""
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func credentials(ctx context.Context, conn driver.Conn, condition string, args ...any) ([]correlate.Credential, error) {
	rows, err := conn.Query(ctx, `SELECT `+credentialFields+` FROM credentials WHERE `+condition, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []correlate.Credential
	for rows.Next() {
		var c correlate.Credential
		var use string
		if err := rows.Scan(&c.AccessKeyID, &c.SessionID, &use, &c.HandedOut, &c.User, &c.Account, &c.RoleARN, &c.SessionName, &c.SourceIdentity, &c.IssuedAt, &c.ExpiresAt); err != nil {
			return nil, err
		}
		c.Console = use == "console" || use == "console_opened"
		out = append(out, c)
	}
	return out, rows.Err()
}

// judged reads which of the records that a condition on event ids selects have a
// verdict.
func judged(ctx context.Context, conn driver.Conn, into map[correlate.RecordID]string, condition string, ids []string) error {
	rows, err := conn.Query(ctx, `SELECT recipient_account_id, event_id, verdict FROM cloudtrail WHERE verdict != '' AND `+condition, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id correlate.RecordID
		var verdict string
		if err := rows.Scan(&id.Account, &id.EventID, &verdict); err != nil {
			return err
		}
		into[id] = verdict
	}
	return rows.Err()
}

// stamp writes a time as SQL, exact to the microsecond.
func stamp(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Micro(%d, 'UTC')", max(0, t.UnixMicro()))
}

// start waits until the store has what the streams had when it was called, so
// that every verdict that was ever said is known, and then reads what is open.
func (j *judge) start(ctx context.Context) error {
	j.setStarted(false) // a start before this one may have failed half-way
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
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	// What is stored from here on is handed over; what was before is read below.
	// An entry may come both ways: the state doesn't mind.
	j.setStarted(true)
	for _, stream := range []string{events.Access, events.Audit, events.CloudTrail} {
		j.done[stream] = j.a.Floor(stream)
	}
	conn := j.a.store.Conn()
	if err := j.restoreScope(ctx, conn); err != nil {
		return err
	}
	now := time.Now()
	open, err := requests(ctx, conn, `verdict = 'awaiting' OR (outcome = 'failed' AND stage = 'forward' AND verdict = '' AND received_at > `+stamp(now.Add(-time.Hour))+`)`)
	if err != nil {
		return fmt.Errorf("read open requests: %w", err)
	}
	for _, r := range open {
		if !j.say(ctx, j.state.AddRequest(r, now)) {
			return ctx.Err()
		}
	}
	return j.restoreRecords(ctx, conn, now)
}

func (j *judge) setStarted(is bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.started = is
}

func (j *judge) restoreScope(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, `SELECT DISTINCT aws_role_arn, role_session_name, source_identity FROM credentials
		UNION DISTINCT SELECT DISTINCT aws_role_arn, role_session_name, source_identity FROM sessions`)
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
	live, err := credentials(ctx, conn, `expires_at > now() - INTERVAL 2 HOUR`)
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	for _, c := range live {
		j.state.AddCredential(c)
	}
	return j.restoreSessions(ctx, conn)
}

// restoreRecords reads the records that were stored and not judged.
func (j *judge) restoreRecords(ctx context.Context, conn driver.Conn, now time.Time) error {
	mark, err := j.a.store.Mark(ctx, trailMark)
	if err != nil {
		return err
	}
	j.marked = mark
	for at := mark; ; {
		batch, err := ledgerRecords(ctx, conn, at)
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
	}
}

func (j *judge) addUnjudged(ctx context.Context, conn driver.Conn, batch []correlate.Record, now time.Time) error {
	var f correlate.Found
	f.Judged = map[correlate.RecordID]string{}
	for chunk := range slices.Chunk(batch, recallAtOnce) {
		var ids []string
		for _, r := range chunk {
			ids = append(ids, r.EventID)
		}
		if err := judged(ctx, conn, f.Judged, `event_id IN (?)`, ids); err != nil {
			return err
		}
	}
	for _, r := range batch {
		if f.Judged[r.ID()] != "" {
			continue
		}
		if !j.say(ctx, j.state.AddRecord(r, now)) {
			return ctx.Err()
		}
	}
	return nil
}

func ledgerRecords(ctx context.Context, conn driver.Conn, after uint64) ([]correlate.Record, error) {
	rows, err := conn.Query(ctx, `SELECT seq, raw FROM events WHERE stream = ? AND seq > ? AND problem = '' ORDER BY seq LIMIT 2000`, events.CloudTrail, after)
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
