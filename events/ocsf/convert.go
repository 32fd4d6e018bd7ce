package ocsf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Version is the release of OCSF that is spoken here.
const Version = "1.8.0"

// Class ids.
const (
	detectionFinding     = 2004
	authentication       = 3002
	authorizeSession     = 3003
	userAccessManagement = 3005
	apiActivity          = 6003
)

const other = 99 // activity and status of OCSF for what it has no number for

// Convert returns a CloudEvent of postern's, in structured mode, as an OCSF event.
// A type that this version does not know becomes API Activity.
func Convert(cloudEvent []byte) ([]byte, error) {
	e, err := convert(cloudEvent)
	if err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

func convert(cloudEvent []byte) (*event, error) {
	var in struct {
		ID, Source, Subject, CorrelationID, Sequence string
		Type                                         events.Type
		Time                                         time.Time
		Data                                         json.RawMessage
	}
	if err := json.Unmarshal(cloudEvent, &in); err != nil {
		return nil, fmt.Errorf("convert event to OCSF: %w", err)
	}
	var f facts
	if err := read(in.Data, &f); err != nil {
		return nil, fmt.Errorf("convert event %s to OCSF: %w", in.ID, err)
	}
	sequence, _ := strconv.ParseUint(in.Sequence, 10, 64) // it may have none
	e := &event{
		SeverityID: 1, Time: millis(in.Time),
		Metadata: metadata{
			Version: Version, Product: product{Name: "postern", VendorName: "Postern"},
			UID: in.ID, EventCode: string(in.Type), CorrelationUID: in.CorrelationID, LogProvider: in.Source,
			Sequence: sequence, Profiles: []string{"cloud", "security_control"},
		},
		Cloud:    cloudOf(f.Partition, f.Region, f.Account),
		Unmapped: in.Data,
	}
	what := strings.TrimSuffix(strings.TrimPrefix(string(in.Type), "io.postern."), ".v1")
	switch what {
	case "aws.request.admitted", "aws.request.completed", "aws.request.denied", "aws.request.failed",
		"aws.call.held", "aws.call.released", "aws.tunnel.opened", "aws.tunnel.closed", "aws.token.issued":
		e.awsRequest(what, &f)
	case "cloudtrail.record.received":
		var r record
		if err := read(f.Record, &r); err != nil {
			return nil, fmt.Errorf("convert event %s to OCSF: record: %w", in.ID, err)
		}
		e.cloudTrail(&f, &r)
	case "signin.succeeded", "signin.failed", "signin.revoked", "session.ended":
		e.authentication(what, &f)
	case "session.started":
		e.sessionStarted(&f)
	case "user.created", "user.updated", "user.deleted", "request.created", "request.approved", "request.promoted",
		"access_list.member_added", "access_list.member_removed":
		e.userAccess(what, &f)
	case "finding.opened", "finding.resolved", "verdict.reached":
		e.finding(what, &f, in.Subject)
	default:
		e.administration(what, &f, in.Source, in.Subject)
	}
	if e.ActivityID == other {
		e.ActivityName = what
	}
	e.CategoryUID = e.ClassUID / 1000
	e.TypeUID = e.ClassUID*100 + e.ActivityID
	return e, nil
}

// awsRequest tells of a call by a user that came to the proxy.
func (e *event) awsRequest(what string, f *facts) {
	e.ClassUID, e.ActivityID = apiActivity, doing(f.Operation)
	operation := f.Operation
	if operation == "" {
		operation = f.Method + " " + f.Path
	}
	e.API = &api{Operation: operation, Service: &named{Name: orUnknown(f.Service)}}
	if id := f.AWSRequestID; id != "" {
		e.API.Request = &named{UID: id}
	}
	e.Actor = &actor{User: &user{Name: orUnknown(f.User), CredentialUID: f.AccessKeyID}, AppName: f.App}
	if f.SessionID != "" {
		e.Actor.Session = &session{UID: f.SessionID, Issuer: f.AWSRoleARN}
	}
	e.SrcEndpoint = endpointOf(f.ClientAddr, f.Proxy)
	if f.Host != "" {
		host, _, err := net.SplitHostPort(f.Host)
		if err != nil {
			host = f.Host
		}
		e.DstEndpoint = &endpoint{Hostname: host}
		e.HTTPRequest = &httpRequest{Method: f.Method, UserAgent: f.UserAgent, BodyLength: f.RequestBytes,
			URL: &url{Scheme: "https", Hostname: host, Path: f.Path}}
	}
	for _, r := range f.Resources {
		e.Resources = append(e.Resources, named{UID: orUnknown(r)})
	}
	e.ActionID = 1
	e.Duration = f.DurationMicros / 1000
	switch what {
	case "aws.request.completed":
		e.HTTPResponse = &httpResponse{Code: f.Status, BodyLength: f.ResponseBytes, Latency: f.LatencyMicros / 1000}
		e.API.Response = &response{Code: f.Status, Error: f.AWSErrorCode}
		e.StatusID, e.StatusCode = 1, f.AWSErrorCode
		if f.Status >= 400 || f.Interrupted != "" {
			e.StatusID, e.StatusDetail = 2, f.Interrupted
		}
	case "aws.request.denied":
		e.ActionID, e.StatusID, e.SeverityID = 2, 2, 2
		e.StatusCode, e.StatusDetail = f.Code, f.Reason
		if f.Rule != "" {
			e.Policy = &named{Name: f.Rule}
		}
	case "aws.request.failed":
		e.StatusID, e.SeverityID, e.StatusCode, e.StatusDetail = 2, 2, f.Code, f.Reason
	default:
		e.StatusID, e.Status = other, what[strings.LastIndexByte(what, '.')+1:]
	}
}

// cloudTrail tells of a call as AWS recorded it.
func (e *event) cloudTrail(f *facts, r *record) {
	e.ClassUID, e.ActivityID = apiActivity, doing(r.EventName)
	if !r.EventTime.IsZero() { // else the event's own
		e.Time = millis(r.EventTime.Time)
	}
	e.API = &api{Operation: orUnknown(r.EventName), Service: &named{Name: orUnknown(r.EventSource)}}
	if r.RequestID != "" {
		e.API.Request = &named{UID: r.RequestID}
	}
	e.StatusID = 1
	if r.ErrorCode != "" {
		e.API.Response = &response{Error: r.ErrorCode}
		e.StatusID, e.StatusCode, e.StatusDetail = 2, r.ErrorCode, r.ErrorMessage
	}
	id := &r.UserIdentity
	u := &user{Name: id.UserName, UID: id.ARN, Type: id.Type, CredentialUID: id.AccessKeyID}
	if u.UID == "" {
		u.UID = orUnknown(id.PrincipalID)
	}
	if id.AccountID != "" {
		u.Account = &named{UID: id.AccountID}
	}
	e.Actor = &actor{User: u, InvokedBy: id.InvokedBy}
	e.SrcEndpoint = endpointOf(r.SourceIPAddress, "unknown")
	if r.UserAgent != "" {
		e.HTTPRequest = &httpRequest{UserAgent: r.UserAgent}
	}
	e.Cloud = cloudOf("", r.AWSRegion, f.Account)
	for _, x := range r.Resources {
		if x.ARN != "" {
			e.Resources = append(e.Resources, named{UID: x.ARN, Type: x.Type})
		}
	}
}

// administration tells of a change to postern itself.
func (e *event) administration(what string, f *facts, source, subject string) {
	e.ClassUID, e.ActivityID = apiActivity, other
	switch what[strings.LastIndexByte(what, '.')+1:] {
	case "created":
		e.ActivityID = 1
	case "updated":
		e.ActivityID = 3
	case "deleted":
		e.ActivityID = 4
	}
	e.API = &api{Operation: what, Service: &named{Name: "postern"}}
	e.Actor = &actor{AppName: orUnknown(source)}
	for _, name := range []string{f.By, f.Reviewer, f.User} {
		if name != "" {
			e.Actor.User = &user{Name: name}
			break
		}
	}
	e.SrcEndpoint = endpointOf(f.ClientAddr, orUnknown(source))
	e.Resources = []named{{UID: orUnknown(subject)}}
	e.StatusID, e.StatusDetail = 1, f.Reason
	if what == "lock.placed" {
		e.SeverityID = 3
	}
}

// read leaves out a field that this event has in a shape of its own.
func read(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	if _, shaped := errors.AsType[*json.UnmarshalTypeError](err); shaped {
		return nil
	}
	return err
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
