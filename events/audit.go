package events

import (
	"encoding/json"
	"time"
)

// AWSRequest is what every event about one AWS API request repeats, so that
// each can be read alone. It holds no query string, body or secret.
type AWSRequest struct {
	// RequestID is postern's id of the request and the correlationid of all
	// its events.
	RequestID string `json:"request_id"`
	// ReceivedAt is when the proxy had read the request's header.
	ReceivedAt time.Time `json:"received_at"`

	User             string   `json:"user"`
	SessionID        string   `json:"session_id,omitempty"`
	AccessRequestIDs []string `json:"access_request_ids,omitempty"`
	App              string   `json:"app,omitempty"`
	AWSRoleARN       string   `json:"aws_role_arn,omitempty"`
	RoleSessionName  string   `json:"role_session_name,omitempty"`
	SourceIdentity   string   `json:"source_identity,omitempty"`
	// AccessKeyID is the temporary key that signs what is forwarded.
	AccessKeyID string `json:"access_key_id,omitempty"`

	Account   string `json:"account,omitempty"`
	Partition string `json:"partition,omitempty"`
	Region    string `json:"region,omitempty"`
	// Service is the endpoint prefix of the API, such as "s3", "dynamodb".
	Service     string `json:"service,omitempty"`
	SigningName string `json:"signing_name,omitempty"`
	Operation   string `json:"operation,omitempty"`
	// Action is the IAM action, and Also are those that it takes besides, or may take
	// where the request does not tell. Each of them was decided.
	Action string   `json:"action,omitempty"`
	Also   []string `json:"also,omitempty"`
	// AccessLevel is the highest of these actions' levels.
	AccessLevel string   `json:"access_level,omitempty"`
	Resources   []string `json:"resources,omitempty"`

	Method string `json:"method"`
	Host   string `json:"host"`
	// Path is the escaped path as it came, without the query string.
	Path       string `json:"path"`
	ClientAddr string `json:"client_addr,omitempty"`
	UserAgent  string `json:"user_agent,omitempty"`
	// Proxy is the name of the proxy that handled it.
	Proxy string `json:"proxy"`
}

// AWSRequestAdmitted is on the stream, acknowledged, before a single byte of
// the request goes to AWS.
type AWSRequestAdmitted struct {
	AWSRequest
	// Role is the postern role whose permission allowed it, if any narrowed it.
	Role string `json:"role,omitempty"`
	// DryRun is what would have refused it, were no role in dry run.
	DryRun *DryRun `json:"dry_run,omitempty"`
	// Parameters are what the request says besides, where the proxy is told to
	// record them for its action: without secrets, and shortened.
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// DryRun is a refusal that roles in dry run did not make.
type DryRun struct {
	// Rule names the role and the entry, as in AWSRequestDenied.
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

// AWSRequestCompleted is what became of an admitted request that AWS answered.
type AWSRequestCompleted struct {
	AWSRequest
	Status int `json:"status"`
	// AWSRequestID is x-amzn-RequestId or x-amz-request-id of the answer, as
	// CloudTrail's requestID.
	AWSRequestID string `json:"aws_request_id,omitempty"`
	// AWSErrorCode is the error code of the answer, where its header gives one.
	AWSErrorCode string `json:"aws_error_code,omitempty"`
	// RequestBytes and ResponseBytes count body bytes that passed.
	RequestBytes  int64 `json:"request_bytes"`
	ResponseBytes int64 `json:"response_bytes"`
	// LatencyMicros is from ReceivedAt to the answer's header, DurationMicros to
	// the last byte; both in microseconds.
	LatencyMicros  int64 `json:"latency_us"`
	DurationMicros int64 `json:"duration_us"`
	// Interrupted says why the answer was cut before its end: "lock",
	// "session_expired", "session_ended", "client_gone", "upstream"; empty when whole.
	Interrupted       string `json:"interrupted,omitempty"`
	InterruptedDetail string `json:"interrupted_detail,omitempty"`
}

// AWSRequestDenied is a request that postern refused; AWS never saw it.
type AWSRequestDenied struct {
	AWSRequest
	// Code is the AWS error code that the client got, such as "AccessDenied".
	Code string `json:"code"`
	// Cause is "unauthenticated", "no_session", "session_expired",
	// "session_ended", "lock", "rule", "signature", "host", "stale",
	// "no_start" (a tunnel that no call of the session began), "rate_limit",
	// "credentials" (they would work without postern, and no role allows that),
	// "unsupported".
	Cause  string `json:"cause"`
	Reason string `json:"reason"`
	// Rule names the role and the entry that refused; LockID the lock.
	Rule   string `json:"rule,omitempty"`
	LockID string `json:"lock_id,omitempty"`
}

// AWSRequestFailed is a request that postern could not carry out.
type AWSRequestFailed struct {
	AWSRequest
	// Stage is "body", "credentials", "record" or "forward". "forward" means that AWS may
	// have seen it.
	Stage         string `json:"stage"`
	Code          string `json:"code"`
	Reason        string `json:"reason"`
	RequestBytes  int64  `json:"request_bytes"`
	LatencyMicros int64  `json:"latency_us"`
}

func (r *AWSRequest) channel(what string) string {
	return channel("audit", what, r.Account, r.Service, r.Operation)
}

func (e *AWSRequestAdmitted) Channel() string  { return e.channel("admitted") }
func (e *AWSRequestAdmitted) Thing() string    { return "aws-request/" + e.RequestID }
func (e *AWSRequestCompleted) Channel() string { return e.channel("completed") }
func (e *AWSRequestCompleted) Thing() string   { return "aws-request/" + e.RequestID }
func (e *AWSRequestDenied) Channel() string    { return e.channel("denied") }
func (e *AWSRequestDenied) Thing() string      { return "aws-request/" + e.RequestID }
func (e *AWSRequestFailed) Channel() string    { return e.channel("failed") }
func (e *AWSRequestFailed) Thing() string      { return "aws-request/" + e.RequestID }

// AWSCredentialsIssued says that the proxy assumed a role. The secret parts of
// the credentials are nowhere but in the proxy's memory (or with the user,
// where Exported).
type AWSCredentialsIssued struct {
	AccessKeyID     string `json:"access_key_id"`
	SessionID       string `json:"session_id"`
	User            string `json:"user"`
	App             string `json:"app"`
	AWSRoleARN      string `json:"aws_role_arn"`
	Account         string `json:"account"`
	RoleSessionName string `json:"role_session_name"`
	SourceIdentity  string `json:"source_identity,omitempty"`
	// AssumedRoleID is AROA…:session-name, CloudTrail's principalId.
	AssumedRoleID string    `json:"assumed_role_id,omitempty"`
	IssuedAt      time.Time `json:"issued_at"`
	ExpiresAt     time.Time `json:"expires_at"`
	// Use is "proxy", "console", "assume_role" (the user's own AssumeRole) or
	// "export".
	Use   string `json:"use"`
	Proxy string `json:"proxy"`
	// HandedOut: the user has the secret too, so use that postern never saw may be
	// the user's.
	HandedOut bool `json:"handed_out,omitempty"`
	// Bucket is the directory bucket that they are for, if they are of
	// s3express:CreateSession; Use is "proxy" then.
	Bucket string `json:"bucket,omitempty"`
	// RequestID is the user's request that they answer, AssumeRole or
	// CreateSession, and SourceAccessKeyID the key that signed it.
	RequestID         string `json:"request_id,omitempty"`
	SourceAccessKeyID string `json:"source_access_key_id,omitempty"`
	ClientAddr        string `json:"client_addr,omitempty"`
	// DryRun is why they would not have been handed out, were no role in dry run.
	DryRun *DryRun `json:"dry_run,omitempty"`
}

// AWSTokenIssued says that a signature for use without postern is about to be
// handed to a user. Its AccessKeyID is what AWS will see; what AWS does by it
// is no request of postern's.
type AWSTokenIssued struct {
	AWSRequest
	// Kind is one of the Credential constants.
	Kind string `json:"kind"`
	// ExpiresAt is when AWS stops taking it.
	ExpiresAt time.Time `json:"expires_at"`
	// Role and DryRun as in AWSRequestAdmitted.
	Role   string  `json:"role,omitempty"`
	DryRun *DryRun `json:"dry_run,omitempty"`
}

// AWSConsoleOpened says that a console sign-in link was made for a user.
type AWSConsoleOpened struct {
	SessionID       string    `json:"session_id"`
	User            string    `json:"user"`
	App             string    `json:"app"`
	AWSRoleARN      string    `json:"aws_role_arn"`
	Account         string    `json:"account"`
	RoleSessionName string    `json:"role_session_name"`
	AccessKeyID     string    `json:"access_key_id"`
	Destination     string    `json:"destination"`
	ExpiresAt       time.Time `json:"expires_at"`
	ClientAddr      string    `json:"client_addr,omitempty"`
	Proxy           string    `json:"proxy"`
	// DryRun is why it would have been refused, were no role in dry run.
	DryRun *DryRun `json:"dry_run,omitempty"`
}

func (e *AWSCredentialsIssued) Channel() string {
	return channel("audit", "credentials", e.Account, "sts", "AssumeRole")
}
func (e *AWSCredentialsIssued) Thing() string { return "session/" + e.SessionID }
func (e *AWSTokenIssued) Channel() string     { return e.channel("token") }
func (e *AWSTokenIssued) Thing() string       { return "aws-token/" + e.RequestID }
func (e *AWSConsoleOpened) Channel() string {
	return channel("audit", "console", e.Account, "signin", "GetSigninToken")
}
func (e *AWSConsoleOpened) Thing() string { return "session/" + e.SessionID }

// AWSLockApplied says that the policy by which locks reach AWS was put on an IAM
// role. One policy carries all locks of that role.
type AWSLockApplied struct {
	AWSRoleARN string `json:"aws_role_arn"`
	Account    string `json:"account"`
	PolicyName string `json:"policy_name"`
	// LockIDs are the locks that it carries.
	LockIDs []string `json:"lock_ids"`
	// Policy is its JSON, as AWS has it.
	Policy string `json:"policy"`
	Proxy  string `json:"proxy"`
}

// AWSLockLifted says that the policy is gone, because no lock reaches the role.
type AWSLockLifted struct {
	AWSRoleARN string `json:"aws_role_arn"`
	Account    string `json:"account"`
	PolicyName string `json:"policy_name"`
	Proxy      string `json:"proxy"`
}

// AWSLockFailed says that locks do not reach a role as they should. It is tried
// again until they do.
type AWSLockFailed struct {
	AWSRoleARN string `json:"aws_role_arn"`
	Account    string `json:"account"`
	PolicyName string `json:"policy_name"`
	// LockIDs are the locks that should hold there; none where the policy should go.
	LockIDs []string `json:"lock_ids,omitempty"`
	Reason  string   `json:"reason"`
	Proxy   string   `json:"proxy"`
}

func (e *AWSLockApplied) Channel() string { return channel("audit", "lock", e.Account, e.AWSRoleARN) }
func (e *AWSLockApplied) Thing() string   { return "aws-role/" + e.AWSRoleARN }
func (e *AWSLockLifted) Channel() string  { return channel("audit", "lock", e.Account, e.AWSRoleARN) }
func (e *AWSLockLifted) Thing() string    { return "aws-role/" + e.AWSRoleARN }
func (e *AWSLockFailed) Channel() string  { return channel("audit", "lock", e.Account, e.AWSRoleARN) }
func (e *AWSLockFailed) Thing() string    { return "aws-role/" + e.AWSRoleARN }
