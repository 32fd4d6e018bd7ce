package evidence

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// summaryVersion is that of how a bundle's events are told. Whatever changes what is told
// of the same events makes another one: bundles are opened years later.
const summaryVersion = 1

// Summary is what the events of a bundle say, told for people. It follows from
// them alone.
type Summary struct {
	// Version is summaryVersion of the postern that tells.
	Version int     `json:"version"`
	Subject Subject `json:"subject"`
	// Events counts them by stream.
	Events         map[string]int  `json:"events"`
	AccessRequests []AccessRequest `json:"access_requests"`
	Sessions       []Session       `json:"sessions"`
	Calls          []Call          `json:"calls"`
	// Records are CloudTrail's.
	Records []Record `json:"cloudtrail"`
	// Files are those that the records came from, Digests AWS's digest files that
	// should vouch for them, as the auditor judged them.
	Files    []File    `json:"cloudtrail_files"`
	Digests  []Digest  `json:"cloudtrail_digests"`
	Findings []Finding `json:"findings"`
	// Others are events that tell of something else: roles, sign-ins, locks.
	Others []Other `json:"others"`
}

// AccessRequest is one with its reviews.
type AccessRequest struct {
	RequestID string    `json:"request_id"`
	User      string    `json:"user"`
	Roles     []string  `json:"roles,omitempty"`
	Resources []string  `json:"resources,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	Reviews   []Review  `json:"reviews"`
	// State is "pending", "approved", "denied", "expired" or "dropped".
	State     string    `json:"state"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
}

// Review is one person's verdict on an access request.
type Review struct {
	Reviewer string    `json:"reviewer"`
	Verdict  string    `json:"verdict"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

// Session is one on an AWS app.
type Session struct {
	SessionID  string           `json:"session_id"`
	User       string           `json:"user"`
	App        string           `json:"app"`
	AWSRoleARN string           `json:"aws_role_arn"`
	Roles      []events.RoleRef `json:"roles,omitempty"`
	RequestIDs []string         `json:"request_ids,omitempty"`
	StartedAt  time.Time        `json:"started_at"`
	ExpiresAt  time.Time        `json:"expires_at"`
	EndedAt    time.Time        `json:"ended_at,omitzero"`
}

// Call is one AWS request through postern.
type Call struct {
	RequestID  string    `json:"request_id"`
	ReceivedAt time.Time `json:"received_at"`
	User       string    `json:"user"`
	SessionID  string    `json:"session_id,omitempty"`
	Service    string    `json:"service,omitempty"`
	Operation  string    `json:"operation,omitempty"`
	Resources  []string  `json:"resources,omitempty"`
	// Outcome is "admitted", "completed", "denied" or "failed".
	Outcome      string `json:"outcome"`
	Status       int    `json:"status,omitempty"`
	Reason       string `json:"reason,omitempty"`
	AWSRequestID string `json:"aws_request_id,omitempty"`
	// Verdict is the last one on it, Record CloudTrail's event id.
	Verdict string `json:"verdict,omitempty"`
	Record  string `json:"cloudtrail_event_id,omitempty"`
}

// Record is CloudTrail's account of a call.
type Record struct {
	RecipientAccountID string `json:"recipient_account_id"`
	EventID            string `json:"event_id"`
	EventTime          string `json:"event_time"`
	EventSource        string `json:"event_source"`
	EventName          string `json:"event_name"`
	RequestID          string `json:"aws_request_id,omitempty"`
	ErrorCode          string `json:"error_code,omitempty"`
	File               string `json:"file"`
	// SignedByAWS: the log file is in the bundle and has the record, and a digest
	// file with a good signature vouches for it.
	SignedByAWS bool `json:"signed_by_aws"`
}

// File is one of CloudTrail's log files. SHA256 is of what is compressed.
type File struct {
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
	Records int    `json:"records"`
	// Digest is the key of the signed digest file that vouches for it; Included
	// says that its content is in the bundle.
	Digest   string `json:"digest,omitempty"`
	Included bool   `json:"included"`
}

// Digest is the verdict on one of CloudTrail's digest files.
type Digest struct {
	Bucket  string    `json:"bucket"`
	Key     string    `json:"key"`
	Verdict string    `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	SHA256  string    `json:"sha256,omitempty"`
	At      time.Time `json:"checked_at"`
	// SignedBy is the fingerprint of AWS's key, as ListPublicKeys names it, where the
	// bundle has the file and its signature holds.
	SignedBy string `json:"signed_by,omitempty"`
}

// Finding is what a person should have looked at.
type Finding struct {
	FindingID  string    `json:"finding_id"`
	Kind       string    `json:"kind"`
	Severity   string    `json:"severity,omitempty"`
	Summary    string    `json:"summary,omitempty"`
	OpenedAt   time.Time `json:"opened_at,omitzero"`
	ResolvedAt time.Time `json:"resolved_at,omitzero"`
}

// Other is an event by its name.
type Other struct {
	Type  events.Type `json:"type"`
	Thing string      `json:"subject"`
	At    time.Time   `json:"time"`
}

// Summary tells what the events say.
func (b *Bundle) Summary() (*Summary, error) {
	f := summing{
		Summary:  &Summary{Version: summaryVersion, Subject: b.Subject, Events: map[string]int{}, Others: []Other{}, Files: []File{}, Digests: []Digest{}},
		requests: map[string]*AccessRequest{}, sessions: map[string]*Session{}, calls: map[string]*Call{}, records: map[string]*Record{}, findings: map[string]*Finding{},
		aws: vouching{logs: b.Logs, vouched: map[string]string{}, by: map[string]*Digest{}},
	}
	items := slices.Clone(b.Items)
	slices.SortFunc(items, func(x, y Item) int { return cmp.Or(cmp.Compare(x.Stream, y.Stream), cmp.Compare(x.Seq, y.Seq)) })
	for _, i := range items {
		f.Events[i.Stream]++
		e, err := events.Decode(i.Body)
		if errors.Is(err, events.ErrUnknownType) {
			continue // of a later version: proved, but not understood
		}
		if err != nil {
			return nil, err
		}
		if err := f.add(e); err != nil {
			return nil, err
		}
	}
	f.AccessRequests = values(f.requests, func(r *AccessRequest) (time.Time, string) { return r.CreatedAt, r.RequestID })
	f.Sessions = values(f.sessions, func(s *Session) (time.Time, string) { return s.StartedAt, s.SessionID })
	f.Calls = values(f.calls, func(c *Call) (time.Time, string) { return c.ReceivedAt, c.RequestID })
	f.Records = values(f.records, func(r *Record) (time.Time, string) { return time.Time{}, r.EventTime + r.EventID })
	f.Findings = values(f.findings, func(x *Finding) (time.Time, string) { return x.OpenedAt, x.FindingID })
	return f.Summary, f.aws.conclude(f.Summary)
}

// values are a map's in the order of their times and names.
func values[T any](m map[string]*T, by func(*T) (time.Time, string)) []T {
	out := make([]T, 0, len(m))
	for _, v := range m {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(x, y T) int {
		tx, nx := by(&x)
		ty, ny := by(&y)
		return cmp.Or(tx.Compare(ty), cmp.Compare(nx, ny))
	})
	return out
}

type summing struct {
	*Summary
	requests map[string]*AccessRequest
	sessions map[string]*Session
	calls    map[string]*Call
	records  map[string]*Record
	findings map[string]*Finding
	aws      vouching
}

// of returns the thing of an id, made if need be.
func of[T any](m map[string]*T, id string) *T {
	if m[id] == nil {
		m[id] = new(T)
	}
	return m[id]
}

func (f *summing) request(id string) *AccessRequest {
	r := of(f.requests, id)
	if r.RequestID == "" {
		r.RequestID, r.State, r.Reviews = id, "pending", []Review{}
	}
	return r
}

func (f *summing) decide(id, state string, at time.Time) {
	r := f.request(id)
	r.State, r.DecidedAt = state, at
}

func (f *summing) call(r *events.AWSRequest, outcome string) *Call {
	c := of(f.calls, r.RequestID)
	c.RequestID, c.ReceivedAt, c.User, c.SessionID = r.RequestID, r.ReceivedAt, r.User, r.SessionID
	c.Service, c.Operation, c.Resources = r.Service, r.Operation, r.Resources
	if c.Outcome == "" || c.Outcome == "admitted" {
		c.Outcome = outcome
	}
	return c
}

func (f *summing) add(e events.Event) error {
	switch d := e.Data.(type) {
	case *events.RequestCreated:
		r := f.request(d.RequestID)
		r.User, r.Roles, r.Resources, r.Reason, r.CreatedAt = d.User, d.Roles, d.Resources, d.Reason, e.Time
	case *events.RequestReviewed:
		r := f.request(d.RequestID)
		r.Reviews = append(r.Reviews, Review{d.Reviewer, d.Verdict, d.Reason, e.Time})
	case *events.RequestApproved:
		f.decide(d.RequestID, "approved", e.Time)
	case *events.RequestDenied:
		f.decide(d.RequestID, "denied", e.Time)
	case *events.RequestExpired:
		f.decide(d.RequestID, "expired", e.Time)
	case *events.RequestDropped:
		f.decide(d.RequestID, "dropped", e.Time)
	case *events.SessionStarted:
		s := of(f.sessions, d.SessionID)
		*s = Session{d.SessionID, d.User, d.App, d.AWSRoleARN, d.Roles, d.RequestIDs, d.StartedAt, d.ExpiresAt, s.EndedAt}
	case *events.SessionEnded:
		s := of(f.sessions, d.SessionID)
		s.SessionID, s.User, s.EndedAt = d.SessionID, d.User, e.Time
	case *events.AWSRequestAdmitted:
		f.call(&d.AWSRequest, "admitted")
	case *events.AWSRequestCompleted:
		c := f.call(&d.AWSRequest, "completed")
		c.Status, c.AWSRequestID = d.Status, d.AWSRequestID
	case *events.AWSRequestDenied:
		f.call(&d.AWSRequest, "denied").Reason = d.Reason
	case *events.AWSRequestFailed:
		f.call(&d.AWSRequest, "failed").Reason = d.Reason
	case *events.CloudTrailRecordReceived:
		f.record(d)
	case *events.CloudTrailFileReceived:
		f.Files = append(f.Files, File{File: d.File, SHA256: d.SHA256, Records: d.Records})
	case *events.CloudTrailDigestChecked:
		about := Digest{Bucket: d.Bucket, Key: d.Key, Verdict: d.Verdict, Reason: d.Reason, SHA256: d.SHA256, At: e.Time}
		if err := f.aws.digest(d, &about); err != nil {
			return err
		}
		f.Digests = append(f.Digests, about)
	case *events.VerdictReached:
		if d.RequestID != "" {
			c := of(f.calls, d.RequestID)
			c.RequestID, c.Verdict, c.Record = d.RequestID, d.Verdict, d.EventID
		}
	case *events.FindingOpened:
		x := of(f.findings, d.FindingID)
		x.FindingID, x.Kind, x.Severity, x.Summary, x.OpenedAt = d.FindingID, d.Kind, d.Severity, d.Summary, d.OpenedAt
	case *events.FindingResolved:
		x := of(f.findings, d.FindingID)
		x.FindingID, x.Kind, x.ResolvedAt = d.FindingID, d.Kind, d.ResolvedAt
	default:
		f.Others = append(f.Others, Other{d.Type(), d.Thing(), e.Time})
	}
	return nil
}

func (f *summing) record(d *events.CloudTrailRecordReceived) {
	var says struct {
		EventTime string `json:"eventTime"`
		EventName string `json:"eventName"`
		RequestID string `json:"requestID"`
		ErrorCode string `json:"errorCode"`
	}
	f.aws.records = append(f.aws.records, d)
	_ = json.Unmarshal(wholeRecord(d), &says) // what can't be read is left out
	*of(f.records, d.RecipientAccountID+"/"+d.EventID) = Record{RecipientAccountID: d.RecipientAccountID, EventID: d.EventID, EventTime: says.EventTime,
		EventSource: d.EventSource, EventName: says.EventName, RequestID: says.RequestID, ErrorCode: says.ErrorCode, File: d.File}
}
