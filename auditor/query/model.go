package query

import (
	"cmp"
	"encoding/json"
	"time"
)

// Request is a row of the requests table: one AWS call through postern.
type Request struct {
	RequestID         string    `ch:"request_id" json:"request_id"`
	ReceivedAt        time.Time `ch:"received_at" json:"received_at"`
	Outcome           string    `ch:"outcome" json:"outcome"`
	User              string    `ch:"user" json:"user"`
	SessionID         string    `ch:"session_id" json:"session_id,omitempty"`
	AccessRequestIDs  []string  `ch:"access_request_ids" json:"access_request_ids,omitempty"`
	App               string    `ch:"app" json:"app,omitempty"`
	AWSRoleARN        string    `ch:"aws_role_arn" json:"aws_role_arn,omitempty"`
	RoleSessionName   string    `ch:"role_session_name" json:"role_session_name,omitempty"`
	SourceIdentity    string    `ch:"source_identity" json:"source_identity,omitempty"`
	AccessKeyID       string    `ch:"access_key_id" json:"access_key_id,omitempty"`
	Account           string    `ch:"account" json:"account,omitempty"`
	Partition         string    `ch:"partition" json:"partition,omitempty"`
	Region            string    `ch:"region" json:"region,omitempty"`
	Service           string    `ch:"service" json:"service,omitempty"`
	SigningName       string    `ch:"signing_name" json:"signing_name,omitempty"`
	Operation         string    `ch:"operation" json:"operation,omitempty"`
	Action            string    `ch:"action" json:"action,omitempty"`
	Also              []string  `ch:"also" json:"also,omitempty"`
	AccessLevel       string    `ch:"access_level" json:"access_level,omitempty"`
	Resources         []string  `ch:"resources" json:"resources,omitempty"`
	Method            string    `ch:"method" json:"method"`
	Host              string    `ch:"host" json:"host"`
	Path              string    `ch:"path" json:"path"`
	ClientAddr        string    `ch:"client_addr" json:"client_addr,omitempty"`
	UserAgent         string    `ch:"user_agent" json:"user_agent,omitempty"`
	Proxy             string    `ch:"proxy" json:"proxy,omitempty"`
	Role              string    `ch:"role" json:"role,omitempty"`
	Status            uint16    `ch:"status" json:"status,omitempty"`
	AWSRequestID      string    `ch:"aws_request_id" json:"aws_request_id,omitempty"`
	ErrorCode         string    `ch:"error_code" json:"error_code,omitempty"`
	RequestBytes      int64     `ch:"request_bytes" json:"request_bytes"`
	ResponseBytes     int64     `ch:"response_bytes" json:"response_bytes"`
	LatencyMicros     int64     `ch:"latency_us" json:"latency_us"`
	DurationMicros    int64     `ch:"duration_us" json:"duration_us"`
	Interrupted       string    `ch:"interrupted" json:"interrupted,omitempty"`
	InterruptedDetail string    `ch:"interrupted_detail" json:"interrupted_detail,omitempty"`
	Cause             string    `ch:"cause" json:"cause,omitempty"`
	Reason            string    `ch:"reason" json:"reason,omitempty"`
	Rule              string    `ch:"rule" json:"rule,omitempty"`
	LockID            string    `ch:"lock_id" json:"lock_id,omitempty"`
	Stage             string    `ch:"stage" json:"stage,omitempty"`
	AdmittedEventID   string    `ch:"admitted_event_id" json:"admitted_event_id,omitempty"`
	Verdict           string    `ch:"verdict" json:"verdict,omitempty"`
	VerdictRule       string    `ch:"verdict_rule" json:"verdict_rule,omitempty"`
	VerdictDetail     string    `ch:"verdict_detail" json:"verdict_detail,omitempty"`
	CloudTrailAccount string    `ch:"cloudtrail_account" json:"cloudtrail_account,omitempty"`
	CloudTrailEventID string    `ch:"cloudtrail_event_id" json:"cloudtrail_event_id,omitempty"`
	CloudTrailTime    time.Time `ch:"cloudtrail_time" json:"-"`
}

const requestColumns = `request_id, received_at, outcome, user, session_id, access_request_ids, app, aws_role_arn, role_session_name, source_identity, access_key_id, account, partition, region, service, signing_name, operation, action, also, access_level, resources, method, host, path, client_addr, user_agent, proxy, role, status, aws_request_id, error_code, request_bytes, response_bytes, latency_us, duration_us, interrupted, interrupted_detail, cause, reason, rule, lock_id, stage, admitted_event_id, verdict, verdict_rule, verdict_detail, cloudtrail_account, cloudtrail_event_id, cloudtrail_time`

// Record is a row of the cloudtrail table: AWS's account of one event.
type Record struct {
	EventTime          time.Time `ch:"event_time" json:"event_time"`
	RecipientAccountID string    `ch:"recipient_account_id" json:"recipient_account_id"`
	EventID            string    `ch:"event_id" json:"event_id"`
	EventType          string    `ch:"event_type" json:"event_type,omitempty"`
	EventSource        string    `ch:"event_source" json:"event_source"`
	EventName          string    `ch:"event_name" json:"event_name"`
	AWSRegion          string    `ch:"aws_region" json:"aws_region"`
	RequestID          string    `ch:"request_id" json:"request_id,omitempty"`
	IdentityType       string    `ch:"identity_type" json:"identity_type,omitempty"`
	PrincipalID        string    `ch:"principal_id" json:"principal_id,omitempty"`
	IdentityARN        string    `ch:"identity_arn" json:"identity_arn,omitempty"`
	AccessKeyID        string    `ch:"access_key_id" json:"access_key_id,omitempty"`
	IssuerARN          string    `ch:"issuer_arn" json:"issuer_arn,omitempty"`
	InvokedBy          string    `ch:"invoked_by" json:"invoked_by,omitempty"`
	SourceIdentity     string    `ch:"source_identity" json:"source_identity,omitempty"`
	FederatedUser      string    `ch:"federated_user" json:"federated_user,omitempty"`
	FederatedRule      string    `ch:"federated_rule" json:"federated_rule,omitempty"`
	LentTo             string    `ch:"lent_to" json:"lent_to,omitempty"` // the user, where postern knows and it is not FederatedUser
	SourceIPAddress    string    `ch:"source_ip_address" json:"source_ip_address,omitempty"`
	UserAgent          string    `ch:"user_agent" json:"user_agent,omitempty"`
	ErrorCode          string    `ch:"error_code" json:"error_code,omitempty"`
	ErrorMessage       string    `ch:"error_message" json:"error_message,omitempty"`
	ReadOnly           bool      `ch:"read_only" json:"read_only"`
	Resources          []string  `ch:"resources" json:"resources,omitempty"`
	File               string    `ch:"file" json:"file,omitempty"`
	Verdict            string    `ch:"verdict" json:"verdict,omitempty"`
	VerdictRule        string    `ch:"verdict_rule" json:"verdict_rule,omitempty"`
	VerdictDetail      string    `ch:"verdict_detail" json:"verdict_detail,omitempty"`
	PosternRequestID   string    `ch:"postern_request_id" json:"postern_request_id,omitempty"`
	PosternReceivedAt  time.Time `ch:"postern_received_at" json:"-"`
	// Record is the whole record; only Show gives it.
	Record json.RawMessage `json:"record,omitempty"`
}

// Who is the user whose call it is about, as far as is known.
func (r *Record) Who() string { return cmp.Or(r.LentTo, r.FederatedUser) }

const recordColumns = `event_time, recipient_account_id, event_id, event_type, event_source, event_name, aws_region, request_id, identity_type, principal_id, identity_arn, access_key_id, issuer_arn, invoked_by, source_identity, federated_user, federated_rule, lent_to, source_ip_address, user_agent, error_code, error_message, read_only, resources, file, verdict, verdict_rule, verdict_detail, postern_request_id, postern_received_at`

// Entry is one call, as postern saw it and as AWS saw it; one side may be missing.
type Entry struct {
	Time       time.Time `json:"time"`
	Verdict    string    `json:"verdict,omitempty"`
	Request    *Request  `json:"request,omitempty"`
	CloudTrail *Record   `json:"cloudtrail,omitempty"`
}

// Session is a row of the sessions table.
type Session struct {
	SessionID        string     `ch:"session_id" json:"session_id"`
	User             string     `ch:"user" json:"user"`
	App              string     `ch:"app" json:"app"`
	AWSRoleARN       string     `ch:"aws_role_arn" json:"aws_role_arn"`
	Account          string     `ch:"account" json:"account"`
	RoleSessionName  string     `ch:"role_session_name" json:"role_session_name"`
	SourceIdentity   string     `ch:"source_identity" json:"source_identity,omitempty"`
	Roles            []string   `ch:"roles" json:"roles,omitempty"`
	AccessRequestIDs []string   `ch:"access_request_ids" json:"access_request_ids,omitempty"`
	StartedAt        time.Time  `ch:"started_at" json:"started_at"`
	ExpiresAt        time.Time  `ch:"expires_at" json:"expires_at"`
	EndedAt          *time.Time `ch:"ended_at" json:"ended_at,omitempty"`
	EndedBy          string     `ch:"ended_by" json:"ended_by,omitempty"`
	EndReason        string     `ch:"end_reason" json:"end_reason,omitempty"`
	State            string     `ch:"state" json:"state"`
}

const sessionColumns = `session_id, user, app, aws_role_arn, account, role_session_name, source_identity, roles, access_request_ids, started_at, expires_at, ended_at, ended_by, end_reason, state`

// AccessRequest is a row of the access_requests table.
type AccessRequest struct {
	RequestID       string    `ch:"request_id" json:"request_id"`
	User            string    `ch:"user" json:"user"`
	Roles           []string  `ch:"roles" json:"roles,omitempty"`
	Resources       []string  `ch:"resources" json:"resources,omitempty"`
	Reason          string    `ch:"reason" json:"reason,omitempty"`
	CreatedAt       time.Time `ch:"created_at" json:"created_at"`
	State           string    `ch:"state" json:"state"`
	Reviewers       []string  `ch:"reviewers" json:"reviewers,omitempty"`
	AccessExpiresAt time.Time `ch:"access_expires_at" json:"access_expires_at,omitzero"`
}

const accessRequestColumns = `request_id, user, roles, resources, reason, created_at, state, reviewers, access_expires_at`

// Finding is a row of the findings table.
type Finding struct {
	FindingID          string     `ch:"finding_id" json:"finding_id"`
	Kind               string     `ch:"kind" json:"kind"`
	Severity           string     `ch:"severity" json:"severity"`
	State              string     `ch:"state" json:"state"`
	User               string     `ch:"user" json:"user,omitempty"`
	Account            string     `ch:"account" json:"account,omitempty"`
	RequestID          string     `ch:"request_id" json:"request_id,omitempty"`
	RecipientAccountID string     `ch:"recipient_account_id" json:"recipient_account_id,omitempty"`
	EventID            string     `ch:"event_id" json:"event_id,omitempty"`
	Summary            string     `ch:"summary" json:"summary"`
	OpenedAt           time.Time  `ch:"opened_at" json:"opened_at"`
	ResolvedAt         *time.Time `ch:"resolved_at" json:"resolved_at,omitempty"`
	ResolveReason      string     `ch:"resolve_reason" json:"resolve_reason,omitempty"`
}

const findingColumns = `finding_id, kind, severity, state, user, account, request_id, recipient_account_id, event_id, summary, opened_at, resolved_at, resolve_reason`
