package events

import (
	"encoding/json"
	"time"
)

// CloudTrailRecordReceived is one record of a CloudTrail log file, whole
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html).
type CloudTrailRecordReceived struct {
	// RecipientAccountID and EventID together name a record.
	RecipientAccountID string `json:"recipient_account_id"`
	EventID            string `json:"event_id"`
	Region             string `json:"region"`
	// EventSource is the service's name, "s3.amazonaws.com".
	EventSource string `json:"event_source"`
	// File is where the record came from, Position its index there, from 0.
	File     string          `json:"file"`
	Position int             `json:"position"`
	Record   json.RawMessage `json:"record"`
	// Raw is the record byte for byte as the file has it, where Record, which
	// travels without insignificant white space, differs from that.
	Raw string `json:"raw,omitempty"`
}

// CloudTrailFileRejected says that a file was set aside, with the reason.
type CloudTrailFileRejected struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
	// Records read from the file before the place that was wrong.
	Records int `json:"records"`
}

func (e *CloudTrailRecordReceived) Channel() string {
	return channel("cloudtrail", e.RecipientAccountID, e.Region, serviceOf(e.EventSource))
}
func (e *CloudTrailRecordReceived) Thing() string {
	return "cloudtrail/" + e.RecipientAccountID + "/" + e.EventID
}
func (e *CloudTrailFileRejected) Channel() string {
	return channel("cloudtrail", "rejected", "file", "unreadable")
}
func (e *CloudTrailFileRejected) Thing() string { return "file/" + e.File }

// serviceOf turns "s3.amazonaws.com" into "s3".
func serviceOf(eventSource string) string {
	for i := 0; i < len(eventSource); i++ {
		if eventSource[i] == '.' {
			return eventSource[:i]
		}
	}
	return eventSource
}

// Verdicts of VerdictReached.
const (
	Matched    = "matched"    // a request and its CloudTrail record
	Awaiting   = "awaiting"   // a request whose record is not due yet: the state before any verdict, so never an event
	Missing    = "missing"    // a request whose record is overdue
	NotLogged  = "not_logged" // a request that no trail selects, so no record is due
	Mismatched = "mismatched" // a pair that disagrees
	Bypass     = "bypass"     // a record under a brokered identity that no request made
	// The rest are about records that need no request of their own.
	Proxied     = "proxied"     // one more record of a request that has its record: copies for other accounts, say
	Console     = "console"     // a record of a console session that postern opened
	Forwarded   = "forwarded"   // an AWS service acting for a brokered identity
	Credentials = "credentials" // an AssumeRole of postern's own
	Exported    = "exported"    // a call with credentials that postern handed to the user
	ByToken     = "token"       // a call with a URL or token that postern signed for the user
)

// VerdictReached says how a request and CloudTrail's account of it compare. A
// later verdict on the same request or record replaces an earlier one.
type VerdictReached struct {
	// RequestID is empty for a record with no request of ours.
	RequestID string `json:"request_id,omitempty"`
	// RecipientAccountID and EventID are empty for a request with no record.
	RecipientAccountID string `json:"recipient_account_id,omitempty"`
	EventID            string `json:"event_id,omitempty"`
	// RequestAt is the request's ReceivedAt, EventTime the record's eventTime.
	RequestAt time.Time `json:"request_at,omitzero"`
	EventTime time.Time `json:"event_time,omitzero"`
	// User is the request's user, else whom postern lent the record's identity to, else
	// the record's federated user name.
	User string `json:"user,omitempty"`
	// UserRule says what tells of User where the record itself names another: "request",
	// "access_key", "source_identity" or "role_session_name". AWS takes some users' names
	// only changed, and what one key got from STS may have any name.
	UserRule string    `json:"user_rule,omitempty"`
	Account  string    `json:"account,omitempty"`
	Verdict  string    `json:"verdict"`
	Previous string    `json:"previous,omitempty"`
	Rule     string    `json:"rule,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	At       time.Time `json:"at"`
}

func (e *VerdictReached) Channel() string { return channel("findings", "verdict") }
func (e *VerdictReached) Thing() string {
	if e.RequestID != "" {
		return "aws-request/" + e.RequestID
	}
	return "cloudtrail/" + e.RecipientAccountID + "/" + e.EventID
}

// FindingOpened is something that a person should look at, with the evidence.
type FindingOpened struct {
	FindingID string `json:"finding_id"`
	// Kind is one of FindingKinds.
	Kind string `json:"kind"`
	// Severity is "low", "medium", "high" or "critical".
	Severity           string    `json:"severity"`
	User               string    `json:"user,omitempty"`
	Account            string    `json:"account,omitempty"`
	RequestID          string    `json:"request_id,omitempty"`
	RecipientAccountID string    `json:"recipient_account_id,omitempty"`
	EventID            string    `json:"event_id,omitempty"`
	Summary            string    `json:"summary"`
	OpenedAt           time.Time `json:"opened_at"`
}

// FindingKinds lists the kinds of findings.
func FindingKinds() []string {
	return []string{"bypass", "missing", "mismatch", "after_lock", "after_expiry", "trail_gap", "trail_tampered", "unknown_identity", "forged_decision"}
}

// FindingResolved closes a finding, once.
type FindingResolved struct {
	FindingID  string    `json:"finding_id"`
	Kind       string    `json:"kind"`
	Reason     string    `json:"reason"`
	ResolvedAt time.Time `json:"resolved_at"`
}

func (e *FindingOpened) Channel() string   { return channel("findings", e.Kind) }
func (e *FindingOpened) Thing() string     { return "finding/" + e.FindingID }
func (e *FindingResolved) Channel() string { return channel("findings", e.Kind) }
func (e *FindingResolved) Thing() string   { return "finding/" + e.FindingID }
