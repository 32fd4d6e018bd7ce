package store

import (
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const (
	insertRequest = `INSERT INTO request_rows (received_at, request_id, outcome, user, session_id, access_request_ids, app, aws_role_arn, role_session_name, source_identity, access_key_id, account, partition, region, service, signing_name, operation, action, also, access_level, resources, method, host, path, client_addr, user_agent, proxy, role, status, aws_request_id, error_code, request_bytes, response_bytes, latency_us, duration_us, interrupted, interrupted_detail, cause, reason, rule, lock_id, stage, admitted_event_id)`

	insertCredentials = `INSERT INTO credential_rows (access_key_id, session_id, user, app, aws_role_arn, account, role_session_name, source_identity, assumed_role_id, issued_at, expires_at, use, proxy, handed_out, rule)`

	insertToken = `INSERT INTO aws_token_rows (access_key_id, issued_at, request_id, kind, user, session_id, app, aws_role_arn, account, role_session_name, region, service, signing_name, operation, resources, expires_at, proxy, rule)`
)

// requestRow gathers what one batch says about one request.
type requestRow struct {
	*events.AWSRequest
	outcome                          string
	role                             string
	status                           int
	awsRequestID, errorCode          string
	requestBytes, responseBytes      int64
	latency, duration                int64
	interrupted, interruptedDetail   string
	cause, reason, rule, lock, stage string
	admittedEventID                  string
}

// requestKey is the table's key.
type requestKey struct {
	received int64
	id       string
}

func rowOf(requests map[requestKey]*requestRow, r *events.AWSRequest) *requestRow {
	k := requestKey{micros(r.ReceivedAt).UnixMicro(), r.RequestID}
	row := requests[k]
	if row == nil {
		row = &requestRow{AWSRequest: r}
		requests[k] = row
	}
	return row
}

func (r *requestRow) admitted(e *journal.Entry, d *events.AWSRequestAdmitted) {
	if r.outcome == "" {
		r.outcome = "admitted"
	}
	r.role, r.admittedEventID = d.Role, e.ID
	if d.DryRun != nil {
		r.rule = d.DryRun.Rule // on a request that passed: what would have refused it
	}
}

func (r *requestRow) completed(d *events.AWSRequestCompleted) {
	r.AWSRequest, r.outcome = &d.AWSRequest, "completed"
	r.status, r.awsRequestID, r.errorCode = d.Status, d.AWSRequestID, d.AWSErrorCode
	r.requestBytes, r.responseBytes = d.RequestBytes, d.ResponseBytes
	r.latency, r.duration = d.LatencyMicros, d.DurationMicros
	r.interrupted, r.interruptedDetail = d.Interrupted, d.InterruptedDetail
}

func (r *requestRow) denied(d *events.AWSRequestDenied) {
	r.AWSRequest, r.outcome = &d.AWSRequest, "denied"
	r.errorCode, r.cause, r.reason, r.rule, r.lock = d.Code, d.Cause, d.Reason, d.Rule, d.LockID
}

func (r *requestRow) failed(d *events.AWSRequestFailed) {
	r.AWSRequest, r.outcome = &d.AWSRequest, "failed"
	r.stage, r.errorCode, r.reason = d.Stage, d.Code, d.Reason
	r.requestBytes, r.latency = d.RequestBytes, d.LatencyMicros
}

func (r *requestRow) values() []any {
	a := r.AWSRequest
	return []any{
		micros(a.ReceivedAt), a.RequestID, r.outcome, a.User, a.SessionID, list(a.AccessRequestIDs), a.App, a.AWSRoleARN,
		a.RoleSessionName, a.SourceIdentity, a.AccessKeyID, a.Account, a.Partition, a.Region, a.Service, a.SigningName,
		a.Operation, a.Action, list(a.Also), a.AccessLevel, list(a.Resources), a.Method, a.Host, a.Path, a.ClientAddr, a.UserAgent, a.Proxy,
		r.role, uint16(max(0, min(r.status, 65535))), r.awsRequestID, r.errorCode, r.requestBytes, r.responseBytes, r.latency,
		r.duration, r.interrupted, r.interruptedDetail, r.cause, r.reason, r.rule, r.lock, r.stage, r.admittedEventID,
	}
}

// micros makes a time fit for a DateTime64(6): UTC, whole microseconds, and
// 1970 where it is before that or beyond what can be held.
func micros(t time.Time) time.Time {
	if t.Year() < 1970 || t.Year() >= 2200 {
		return time.Unix(0, 0).UTC()
	}
	return t.UTC().Truncate(time.Microsecond)
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func tableOf(insert string) string {
	return strings.Fields(strings.TrimPrefix(insert, "INSERT INTO "))[0]
}

// ruleOf is what would have refused something that passed, "" if nothing.
func ruleOf(d *events.DryRun) string {
	if d == nil {
		return ""
	}
	return d.Rule
}
