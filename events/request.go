package events

import "time"

// RequestCreated is a user's wish for access beyond the standing roles.
type RequestCreated struct {
	RequestID string `json:"request_id"`
	User      string `json:"user"`
	// Roles asked for; Resources are AWS role ARNs, or account ids, asked for one
	// by one.
	Roles     []string `json:"roles,omitempty"`
	Resources []string `json:"resources,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	// TTL in seconds: how long the access lasts once approved.
	TTL int64 `json:"ttl_seconds"`
	// ExpiresAt is when the request lapses if nobody has decided.
	ExpiresAt  time.Time   `json:"expires_at"`
	Thresholds []Threshold `json:"thresholds"`
	// ThresholdSets group the thresholds by index, one set for every role's
	// conditions: one threshold of each set must be met. None is one set of all.
	ThresholdSets [][]int `json:"threshold_sets,omitempty"`
	// Reviewers are those whom a role, or the asker, suggests to ask.
	Reviewers []string `json:"suggested_reviewers,omitempty"`
	// StartsAt is when the access begins at the earliest.
	StartsAt *time.Time `json:"starts_at,omitempty"`
	// BreakGlass asks for access at once; a review is owed afterwards.
	BreakGlass bool `json:"break_glass,omitempty"`
	// Call is the one AWS call that is asked for, in place of roles.
	Call *HeldCall `json:"call,omitempty"`
}

// HeldCall is an AWS call that waits at a proxy for its approval.
type HeldCall struct {
	SessionID string `json:"session_id"`
	// Roles are those that want it approved.
	Roles []string `json:"roles"`
	// Digest binds the approval to the call: SHA-256, in hex, of its method, host,
	// path, query, meaningful headers and body.
	Digest     string   `json:"digest"`
	App        string   `json:"app"`
	AWSRoleARN string   `json:"aws_role_arn"`
	Account    string   `json:"account,omitempty"`
	Region     string   `json:"region,omitempty"`
	Service    string   `json:"service,omitempty"`
	Operation  string   `json:"operation,omitempty"`
	Action     string   `json:"action,omitempty"`
	Also       []string `json:"also,omitempty"` // as in AWSRequest
	Resources  []string `json:"resources,omitempty"`
	Method     string   `json:"method"`
	Host       string   `json:"host"`
	Path       string   `json:"path"`
	// Parameters are what the call says, for reviewers: a JSON object without
	// secrets (docs/privacy.md).
	Parameters string `json:"parameters,omitempty"`
}

// RequestReviewed is one person's verdict.
type RequestReviewed struct {
	RequestID string `json:"request_id"`
	Reviewer  string `json:"reviewer"`
	// Verdict is "approve" or "deny".
	Verdict string `json:"verdict"`
	Reason  string `json:"reason,omitempty"`
	// Thresholds are the indexes of those that it counts for; none written means
	// every one without a filter. A later review takes the place of an earlier one
	// of the same person.
	Thresholds []int `json:"thresholds,omitempty"`
}

// RequestApproved says that the thresholds were met, or that a rule or the
// breaking of the glass stands in for them: User holds Roles until
// AccessExpiresAt. Approval of a single call gives no role.
type RequestApproved struct {
	RequestID       string    `json:"request_id"`
	User            string    `json:"user"`
	Roles           []string  `json:"roles,omitempty"`
	Resources       []string  `json:"resources,omitempty"`
	AccessExpiresAt time.Time `json:"access_expires_at"`
	Reviewers       []string  `json:"reviewers"`
	Threshold       string    `json:"threshold,omitempty"`
	// AccessStartsAt is when the access begins, where not at once.
	AccessStartsAt *time.Time `json:"access_starts_at,omitempty"`
	// Rule names the auto-approval rules that approved it.
	Rule string `json:"rule,omitempty"`
	// BreakGlass: nobody approved it; a review is owed.
	BreakGlass bool `json:"break_glass,omitempty"`
}

// RequestDenied says that a denial threshold was met.
type RequestDenied struct {
	RequestID string   `json:"request_id"`
	User      string   `json:"user"`
	Reviewers []string `json:"reviewers"`
	Threshold string   `json:"threshold,omitempty"`
}

// RequestExpired says that nobody decided in time.
type RequestExpired struct {
	RequestID string `json:"request_id"`
	User      string `json:"user"`
}

// RequestDropped says that the asker gave the request, or the access it granted,
// up, or that somebody else revoked it.
type RequestDropped struct {
	RequestID string `json:"request_id"`
	By        string `json:"by"`
	Reason    string `json:"reason,omitempty"`
}

// RequestPromoted says that, in place of access for a while, an owner of an
// access list made User a member of it; the list's own event follows.
type RequestPromoted struct {
	RequestID string `json:"request_id"`
	User      string `json:"user"`
	List      string `json:"access_list"`
	// ExpiresAt is the end of the membership; nil means none.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	By        string     `json:"by"`
}

func (e *RequestCreated) Channel() string  { return channel("access", "request", e.RequestID) }
func (e *RequestCreated) Thing() string    { return "request/" + e.RequestID }
func (e *RequestReviewed) Channel() string { return channel("access", "request", e.RequestID) }
func (e *RequestReviewed) Thing() string   { return "request/" + e.RequestID }
func (e *RequestApproved) Channel() string { return channel("access", "request", e.RequestID) }
func (e *RequestApproved) Thing() string   { return "request/" + e.RequestID }
func (e *RequestDenied) Channel() string   { return channel("access", "request", e.RequestID) }
func (e *RequestDenied) Thing() string     { return "request/" + e.RequestID }
func (e *RequestExpired) Channel() string  { return channel("access", "request", e.RequestID) }
func (e *RequestExpired) Thing() string    { return "request/" + e.RequestID }
func (e *RequestDropped) Channel() string  { return channel("access", "request", e.RequestID) }
func (e *RequestDropped) Thing() string    { return "request/" + e.RequestID }
func (e *RequestPromoted) Channel() string { return channel("access", "request", e.RequestID) }
func (e *RequestPromoted) Thing() string   { return "request/" + e.RequestID }

// SessionStarted is the whole decision that lets a user use one AWS role: the
// proxy decides every request from it alone.
type SessionStarted struct {
	SessionID string `json:"session_id"`
	User      string `json:"user"`
	// Roles are the postern roles that allow it, by name and revision.
	Roles     []RoleRef         `json:"roles"`
	App       string            `json:"app"`
	AppLabels map[string]string `json:"app_labels,omitempty"`
	// RequestIDs are the access requests whose approval it rests on.
	RequestIDs []string `json:"request_ids,omitempty"`
	// AccessLists are the lists whose membership it rests on.
	AccessLists []string `json:"access_lists,omitempty"`

	AWSRoleARN string `json:"aws_role_arn"`
	Account    string `json:"account"`
	Partition  string `json:"partition"`
	// Region is the app's default region; STS is called there.
	Region string `json:"region"`
	// RoleSessionName is the user name as STS accepts it
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
	RoleSessionName string            `json:"role_session_name"`
	SourceIdentity  string            `json:"source_identity,omitempty"`
	SessionTags     map[string]string `json:"session_tags,omitempty"`
	ExternalID      string            `json:"external_id,omitempty"`

	// Permissions narrow what may be called; empty allows every AWS call that
	// the IAM role itself allows.
	Permissions []Permission `json:"permissions,omitempty"`
	// Requestable names the roles that the user may ask for and that reach the
	// same AWS role: what a denial offers (`postern request create --roles …`).
	Requestable []string `json:"requestable_roles,omitempty"`
	// RealCredentials and RateLimits as in the options of the roles that allow it.
	RealCredentials []string    `json:"real_credentials,omitempty"`
	RateLimits      []RateLimit `json:"rate_limits,omitempty"`
	// Offers are the permissions that these roles would add, where they narrow.
	Offers []Permission `json:"requestable_permissions,omitempty"`

	StartedAt  time.Time `json:"started_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	ClientAddr string    `json:"client_addr,omitempty"`
	// Certificate is the serial of the certificate that it was started with, and
	// SecondFactor the event that proved one for it.
	Certificate  string `json:"certificate_serial,omitempty"`
	SecondFactor string `json:"second_factor_event,omitempty"`
	// Device is the id of the machine that the certificate was made for.
	Device string `json:"device,omitempty"`
	// OtherRoles are the roles that the user holds without a request, those of Roles
	// left out: a lock on any of them stops the session, too.
	OtherRoles []string `json:"other_roles,omitempty"`
	// LockMode is RoleOptions.Lock as the user's roles come to together.
	LockMode string `json:"lock_mode,omitempty"`
}

// RoleRef names a role at one revision.
type RoleRef struct {
	Name     string `json:"name"`
	Revision uint64 `json:"revision"`
}

// Permission is one postern role's say on AWS calls. A call needs one Allow
// permission whose lists all match (an empty list matches all) and no Deny
// permission that matches (a Deny permission has at least one list).
type Permission struct {
	Role string `json:"role"`
	// Effect is "Allow" or "Deny".
	Effect    string   `json:"effect"`
	Actions   []string `json:"actions,omitempty"`
	Resources []string `json:"resources,omitempty"`
	Regions   []string `json:"regions,omitempty"`
	// DryRun permissions refuse nothing: what they would refuse is recorded.
	DryRun bool `json:"dry_run,omitempty"`
	// Approval, of a Deny permission, holds the call until it is approved in place
	// of denying it.
	Approval bool `json:"approval,omitempty"`
}

// SessionEnded ends a session before its time.
type SessionEnded struct {
	SessionID string `json:"session_id"`
	User      string `json:"user"`
	By        string `json:"by"`
	Reason    string `json:"reason"`
}

func (e *SessionStarted) Channel() string { return channel("access", "session", e.SessionID) }
func (e *SessionStarted) Thing() string   { return "session/" + e.SessionID }
func (e *SessionEnded) Channel() string   { return channel("access", "session", e.SessionID) }
func (e *SessionEnded) Thing() string     { return "session/" + e.SessionID }
