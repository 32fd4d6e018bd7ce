package auditor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

const (
	// recallAtOnce bounds the ids in one statement, which recallSize bounds in bytes: as
	// many as are in doubt at once.
	recallAtOnce, recallSize = 5000, 8 << 20
	// recallSpan is how long a call may take between its receipt by the proxy and
	// the time that CloudTrail gives it: a large upload takes a while.
	recallSpan = 24 * time.Hour
	// recallNear is how far apart most requests and records are; recallAround how
	// far apart clocks may be.
	recallNear, recallAround = 15 * time.Second, 10 * time.Minute
)

const requestFields = `request_id, received_at, outcome, user, account, aws_role_arn, role_session_name, source_identity, access_key_id, service, signing_name, operation, aws_request_id, region, session_id, proxy, access_level, resources, duration_us, verdict, verdict_detail, cloudtrail_account, cloudtrail_event_id, cloudtrail_time`

var recordFields = `recipient_account_id, event_id, shared_event_id, request_id, event_time, event_source, event_name, identity_type, principal_id, identity_account_id, identity_arn, issuer_arn, source_identity, access_key_id, if(lent_to != '', lent_to, federated_user), invoked_by, toBool(from_console OR event_type IN ('` + strings.Join(consoleTypes, "', '") + `')), issued_access_key_id, source_ip_address, event_version, error_code, resources, verdict, verdict_rule`

const credentialFields = `access_key_id, session_id, use, handed_out, user, account, aws_role_arn, assumed_role_id, role_session_name, source_identity, issued_at, expires_at`

// recall looks in the store for the other side of what is in doubt. What is in
// doubt comes in the order of time, so each statement looks at a short while.
func recall(ctx context.Context, conn driver.Conn, d correlate.Doubt) (correlate.Found, error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_query_size": recallSize}))
	f := correlate.Found{Judged: map[correlate.RecordID]correlate.JudgedAs{}, Shared: map[string]string{}}
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
	if len(d.PassedOn) > 0 {
		if err := recallPassedOn(ctx, conn, &d, &f); err != nil {
			return f, fmt.Errorf("recall records of keys: %w", err)
		}
	}
	if len(d.Copies) > 0 {
		var err error
		if f.Copies, err = ledgerRecords(ctx, conn, `seq IN (?) ORDER BY seq`, d.Copies); err != nil {
			return f, fmt.Errorf("recall copies: %w", err)
		}
	}
	if d.Spilled != nil {
		var err error
		if f.Spilled, err = recallSpilled(ctx, conn, d.Spilled); err != nil {
			return f, fmt.Errorf("recall open requests: %w", err)
		}
	}
	return f, nil
}

// recallRequests finds the requests that records could be of: by AWS's request
// id, nearby first because nearly all are there, and for those without by key.
func recallRequests(ctx context.Context, conn driver.Conn, records []correlate.Record, f *correlate.Found) error {
	from, to := records[0].EventTime, records[len(records)-1].EventTime
	var eventIDs []string
	for _, r := range records {
		eventIDs = append(eventIDs, r.EventID)
	}
	if err := judged(ctx, conn, f.Judged, happened(from, to)+` AND event_id IN (?)`, eventIDs); err != nil {
		return err
	}
	have := map[string][]correlate.Request{}
	take := func(found []correlate.Request) {
		f.Requests = append(f.Requests, found...)
		for _, r := range found {
			have[r.AWSRequestID] = append(have[r.AWSRequestID], r)
		}
	}
	left := slices.Clone(records)
	ids := func() (out []string) { // of what is left
		left = slices.DeleteFunc(left, func(rec correlate.Record) bool {
			return rec.RequestID != "" && slices.ContainsFunc(have[rec.RequestID], func(r correlate.Request) bool { return r.MayBe(&rec) }) ||
				f.Judged[rec.ID()].Verdict != "" && f.Judged[rec.ID()].Verdict != events.Bypass
		})
		for _, rec := range left {
			if rec.RequestID != "" {
				out = append(out, rec.RequestID)
			}
		}
		return out
	}
	byID := func(ids []string, before, after time.Duration) error {
		if len(ids) == 0 {
			return nil
		}
		found, err := requests(ctx, conn, keysFirst("request_rows", "received_at, request_id", received(from.Add(-before), to.Add(after)), `aws_request_id IN (?)`), ids)
		take(found)
		return err
	}
	if err := byID(ids(), recallNear, recallNear); err != nil {
		return err
	}
	if rest := ids(); len(rest) > 0 {
		copies, err := recallCopies(ctx, conn, rest, from, to)
		if err != nil {
			return err
		}
		take(copies)
	}
	if err := byID(ids(), recallSpan, recallAround); err != nil {
		return err
	}
	ids()
	if err := recallShared(ctx, conn, left, from, to, f); err != nil {
		return err
	}
	return recallByKey(ctx, conn, left, from, to, f)
}

// recallShared finds what became of other accounts' records of the same events.
func recallShared(ctx context.Context, conn driver.Conn, records []correlate.Record, from, to time.Time, f *correlate.Found) error {
	var ids []string
	for _, r := range records {
		if r.SharedEventID != "" {
			ids = append(ids, r.SharedEventID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	near := happened(from.Add(-recallAround), to.Add(recallAround))
	rows, err := conn.Query(ctx, `SELECT shared_event_id, verdict FROM cloudtrail WHERE `+recordKeys(near, `shared_event_id IN (?)`)+
		` AND verdict IN ('bypass', 'console', 'forwarded', 'exported', 'token')`, distinct(ids))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, verdict string
		if err := rows.Scan(&id, &verdict); err != nil {
			return err
		}
		f.Shared[id] = verdict
	}
	return rows.Err()
}

// recallByKey finds the requests that records without one of their request id
// could be of, and what was signed with their keys.
func recallByKey(ctx context.Context, conn driver.Conn, records []correlate.Record, from, to time.Time, f *correlate.Found) error {
	var keys, bare []string
	for _, r := range records {
		if r.AccessKeyID == "" {
			continue
		}
		keys = append(keys, r.AccessKeyID)
		if r.RequestID == "" {
			bare = append(bare, r.AccessKeyID)
		}
	}
	near := received(from.Add(-recallAround), to.Add(recallAround))
	for _, ask := range []struct {
		condition string
		values    []string
	}{
		{near + ` AND access_key_id IN (?) AND aws_request_id = '' AND verdict NOT IN ('matched', 'mismatched')`, keys},
		{near + ` AND access_key_id IN (?) AND verdict NOT IN ('matched', 'mismatched')`, bare},
	} {
		if len(ask.values) == 0 {
			continue
		}
		found, err := requests(ctx, conn, ask.condition, distinct(ask.values))
		if err != nil {
			return err
		}
		f.Requests = append(f.Requests, found...)
	}
	if len(keys) == 0 {
		return nil
	}
	found, err := tokens(ctx, conn, `access_key_id IN (?) AND issued_at <= `+store.Timestamp(to.Add(recallAround))+` AND expires_at >= `+store.Timestamp(from.Add(-recallAround)), distinct(keys))
	f.Tokens = append(f.Tokens, found...)
	return err
}

// recallCopies finds requests that were paired without an AWS request id of
// their own, by the id that their record has.
func recallCopies(ctx context.Context, conn driver.Conn, ids []string, from, to time.Time) ([]correlate.Request, error) {
	rows, err := conn.Query(ctx, `SELECT postern_request_id, postern_received_at, request_id FROM cloudtrail
		WHERE `+happened(from.Add(-recallAround), to.Add(recallAround))+` AND request_id IN (?) AND verdict_rule = 'key_name_time'`, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	aws := map[string]string{}
	var ours []string
	for rows.Next() {
		var our, theirs string
		var at time.Time
		if err := rows.Scan(&our, &at, &theirs); err != nil {
			return nil, err
		}
		if len(ours) == 0 || at.Before(from) {
			from = at
		}
		if len(ours) == 0 || at.After(to) {
			to = at
		}
		aws[our] = theirs
		ours = append(ours, our)
	}
	if err := rows.Err(); err != nil || len(ours) == 0 {
		return nil, err
	}
	found, err := requests(ctx, conn, received(from, to)+` AND request_id IN (?)`, ours)
	for i := range found {
		if found[i].AWSRequestID == "" {
			found[i].AWSRequestID = aws[found[i].ID]
		}
	}
	return found, err
}

// recallRecords finds what the store has of overdue requests: their verdicts, and
// records that could be theirs.
func recallRecords(ctx context.Context, conn driver.Conn, overdue []correlate.Request, f *correlate.Found) error {
	from, to := overdue[0].ReceivedAt, overdue[len(overdue)-1].ReceivedAt
	end := to
	var own, ids []string
	for _, r := range overdue {
		own = append(own, r.ID)
		if r.AWSRequestID != "" {
			ids = append(ids, r.AWSRequestID)
		}
		if e := r.ReceivedAt.Add(r.Took); e.After(end) {
			end = e
		}
	}
	found, err := requests(ctx, conn, received(from, to)+` AND request_id IN (?) AND verdict NOT IN ('', 'awaiting')`, own)
	if err != nil {
		return err
	}
	f.JudgedRequests = append(f.JudgedRequests, found...)
	if len(ids) == 0 {
		return nil
	}
	near := happened(from.Add(-recallAround), end.Add(recallAround))
	f.Records, err = records(ctx, conn, f.Records, recordKeys(near, `request_id IN (?)`)+` AND verdict IN ('', 'bypass')`, ids)
	return err
}

// recallPassedOn finds a page of what was called with keys before it was known whose they
// are.
func recallPassedOn(ctx context.Context, conn driver.Conn, d *correlate.Doubt, f *correlate.Found) error {
	var keys, handed []string
	from, to := d.PassedOn[0].IssuedAt, d.PassedOn[0].IssuedAt
	for _, c := range d.PassedOn {
		keys = append(keys, c.AccessKeyID)
		if c.HandedOut {
			handed = append(handed, c.AccessKeyID)
		}
		if c.IssuedAt.Before(from) {
			from = c.IssuedAt
		}
		if c.IssuedAt.After(to) {
			to = c.IssuedAt
		}
	}
	from, to = from.Add(-recallAround), to.Add(correlate.PassedOnAtMost)
	which, args := `verdict = ''`, []any{keys}
	if len(handed) > 0 {
		which, args = `(verdict = '' OR verdict = 'bypass' AND access_key_id IN (?))`, append(args, handed)
	}
	if last := d.PassedOnAfter; !last.Time.IsZero() {
		from = last.Time
		which += ` AND (` + recordKey + `) > (` + store.Timestamp(last.Time) + `, ?, ?)`
		args = append(args, last.ID.Account, last.ID.EventID)
	}
	while := happened(from, to)
	var err error
	f.PassedOn, err = records(ctx, conn, nil, recordKeys(while, `access_key_id IN (?)`)+` AND `+which+
		` ORDER BY `+recordKey+` LIMIT `+strconv.Itoa(d.PassedOnLimit), args...)
	if err != nil {
		return err
	}
	var shared []string
	for _, r := range f.PassedOn {
		if r.Verdict != "" && r.SharedEventID != "" {
			shared = append(shared, r.SharedEventID)
		}
	}
	if len(shared) == 0 {
		return nil
	}
	near := happened(f.PassedOn[0].EventTime.Add(-recallAround), f.PassedOn[len(f.PassedOn)-1].EventTime.Add(recallAround))
	f.SameEvents, err = records(ctx, conn, nil, recordKeys(near, `shared_event_id IN (?)`)+` AND verdict = 'bypass'`, distinct(shared))
	return err
}

// recordKey names a record in its table.
const recordKey = `event_time, recipient_account_id, event_id`

// recordKeys is keysFirst of CloudTrail's records.
func recordKeys(when, condition string) string {
	return keysFirst("cloudtrail_rows", recordKey, when, condition)
}

// records reads the records that a condition selects.
func records(ctx context.Context, conn driver.Conn, into []correlate.Record, condition string, args ...any) ([]correlate.Record, error) {
	rows, err := conn.Query(ctx, `SELECT `+recordFields+` FROM cloudtrail WHERE `+condition, args...)
	if err != nil {
		return into, err
	}
	defer rows.Close()
	for rows.Next() {
		var r correlate.Record
		var from, version, code string
		who := cloudtrail.Identity{Session: cloudtrail.Session{Issuer: cloudtrail.Issuer{Type: "Role"}}}
		err := rows.Scan(&r.Account, &r.EventID, &r.SharedEventID, &r.RequestID, &r.EventTime, &r.EventSource, &r.EventName, &who.Type, &who.PrincipalID,
			&who.AccountID, &who.ARN, &who.Session.Issuer.ARN, &r.SourceIdentity, &r.AccessKeyID, &r.User, &r.InvokedBy, &r.FromConsole, &r.IssuedAccessKeyID,
			&from, &version, &code, &r.Resources, &r.Verdict, &r.Rule)
		if err != nil {
			return into, err
		}
		r.InvokedBy, r.Refused = byService(r.InvokedBy, from, version, r.FromConsole), refused(code)
		setCaller(&r, &who)
		into = append(into, r)
	}
	return into, rows.Err()
}

// recallSpilled reads a page of the open requests of a while.
func recallSpilled(ctx context.Context, conn driver.Conn, s *correlate.Span) ([]correlate.Request, error) {
	condition := `received_at >= ` + store.Timestamp(s.From) + ` AND received_at < ` + store.Timestamp(s.To) + ` AND verdict = 'awaiting'`
	var args []any
	if !s.AfterTime.IsZero() {
		condition += ` AND (received_at, request_id) > (` + store.Timestamp(s.AfterTime) + `, ?)`
		args = append(args, s.AfterID)
	}
	return requests(ctx, conn, condition+` ORDER BY received_at, request_id LIMIT `+strconv.Itoa(s.Limit), args...)
}

// keysFirst asks a merged view for what is of a time and has a row that a condition is
// true of: the keys are found in the rows, so the rows of these alone are merged.
func keysFirst(rows, key, when, condition string) string {
	return when + ` AND (` + key + `) IN (SELECT ` + key + ` FROM ` + rows + ` WHERE ` + when + ` AND ` + condition + `)`
}

func received(from, to time.Time) string {
	return `received_at BETWEEN ` + store.Timestamp(from) + ` AND ` + store.Timestamp(to)
}

// happened is received of records.
func happened(from, to time.Time) string {
	return `event_time BETWEEN ` + store.Timestamp(from) + ` AND ` + store.Timestamp(to)
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// requests reads what AWS may have seen of the requests that a condition selects.
func requests(ctx context.Context, conn driver.Conn, condition string, args ...any) ([]correlate.Request, error) {
	rows, err := conn.Query(ctx, `SELECT `+requestFields+` FROM requests WHERE (outcome IN ('admitted', 'completed') OR outcome = 'failed' AND stage = 'forward') AND `+condition, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []correlate.Request
	for rows.Next() {
		var r correlate.Request
		var outcome, level string
		var took int64
		err := rows.Scan(&r.ID, &r.ReceivedAt, &outcome, &r.User, &r.Account, &r.RoleARN, &r.SessionName, &r.SourceIdentity, &r.AccessKeyID,
			&r.Service, &r.SigningName, &r.Operation, &r.AWSRequestID, &r.Region, &r.SessionID, &r.Proxy, &level, &r.Resources, &took, &r.Verdict, &r.Detail, &r.PairAccount, &r.PairEvent, &r.PairTime)
		if err != nil {
			return nil, err
		}
		r.ReadOnly, r.Took = correlate.ReadOnly(r.Service, r.Operation, level), time.Duration(took)*time.Microsecond
		switch outcome {
		case "completed":
			r.Outcome = correlate.Completed
		case "failed":
			r.Outcome = correlate.Failed
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
		var use, assumed string
		if err := rows.Scan(&c.AccessKeyID, &c.SessionID, &use, &c.HandedOut, &c.User, &c.Account, &c.RoleARN, &assumed, &c.SessionName, &c.SourceIdentity, &c.IssuedAt, &c.ExpiresAt); err != nil {
			return nil, err
		}
		c.Console, c.RoleID = use == "console" || use == "console_opened", roleID(assumed)
		c.HandedOut = c.HandedOut || use == "export" // as credential has it: events of early versions don't say
		out = append(out, c)
	}
	return out, rows.Err()
}

// judged reads which of the records that a condition on event ids selects have a
// verdict, and by which rule.
func judged(ctx context.Context, conn driver.Conn, into map[correlate.RecordID]correlate.JudgedAs, condition string, ids []string) error {
	rows, err := conn.Query(ctx, `SELECT recipient_account_id, event_id, verdict, verdict_rule FROM cloudtrail WHERE verdict != '' AND `+condition, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id correlate.RecordID
		var x correlate.JudgedAs
		if err := rows.Scan(&id.Account, &id.EventID, &x.Verdict, &x.Rule); err != nil {
			return err
		}
		into[id] = x
	}
	return rows.Err()
}
