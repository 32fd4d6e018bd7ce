package cloudtrail

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Record holds the fields of a record that postern reads. The record itself is
// kept whole elsewhere: fields that are not here are not lost.
type Record struct {
	EventVersion       string
	EventSource        string
	EventName          string
	AWSRegion          string
	SourceIPAddress    string
	UserAgent          string
	ErrorCode          string
	ErrorMessage       string
	RequestID          string
	EventID            string
	EventType          string
	EventCategory      string
	RecipientAccountID string
	SharedEventID      string
	VPCEndpointID      string
	ReadOnly           bool
	ManagementEvent    bool
	FromConsole        bool
	Identity           Identity
	// Resources lists the ARNs of the record's resources, or names where it
	// gives no ARN.
	Resources []string
	Response  Response
	// OriginalRequestID is of a record that adds to an earlier one of the same call, under
	// ids of its own: addendum.originalRequestID, since version 1.08.
	OriginalRequestID string
	// EventTime is in UTC; 1970 where it can't be read: what would stand in its
	// place would not be the same at every delivery, and it is part of the key.
	EventTime time.Time

	compact bool // no white space between tokens
}

// Response holds what postern reads of responseElements.
type Response struct {
	// IssuedAccessKeyID is the key that an sts:AssumeRole… call gave out.
	IssuedAccessKeyID string
}

// ErrNotRecord is wrapped by Parse's error for JSON that is no CloudTrail record.
var ErrNotRecord = errors.New("not a CloudTrail record")

// Parse reads a record. Unknown fields and fields of unexpected types are
// passed over; what every record must have is an object with an event name.
//
// Records of the first versions lack some ids: RecipientAccountID is then the
// identity's account, and EventID is made from the record's SHA-256, so that
// it is the same whenever the record comes again.
func Parse(b []byte) (*Record, error) {
	if len(b) == 0 || b[0] != '{' {
		return nil, fmt.Errorf("%w: no JSON object", ErrNotRecord)
	}
	s := scanner{b: b}
	end, err := s.value(0, recordShape, none, 0)
	if err == nil && s.space(end) < len(b) {
		err = errSyntax
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRecord, err)
	}
	return s.record(b[:end])
}

// record makes a Record of what was found in b. Its strings share one copy of
// their bytes, so that keeping one does not keep b.
func (s *scanner) record(b []byte) (*Record, error) {
	if len(b) == 0 || b[0] != '{' {
		return nil, fmt.Errorf("%w: no JSON object", ErrNotRecord)
	}
	var shared strings.Builder
	size := 0
	for _, at := range s.spans {
		size += int(at.hi - at.lo)
	}
	for _, at := range s.resources {
		size += int(at.hi - at.lo)
	}
	shared.Grow(size)
	text := func(f field) string { return s.spans[f].text(b, &shared) }
	flag := func(f field) bool {
		at := s.spans[f]
		return at.hi > 0 && (string(b[at.lo:at.hi]) == "true" || strings.EqualFold(string(b[at.lo:at.hi]), `"true"`))
	}
	r := &Record{
		EventVersion: text(eventVersion), EventSource: text(eventSource), EventName: text(eventName), AWSRegion: text(awsRegion),
		SourceIPAddress: text(sourceIPAddress), UserAgent: text(userAgent), ErrorCode: text(errorCode), ErrorMessage: text(errorMessage),
		RequestID: text(requestID), EventID: text(eventID), EventType: text(eventType), EventCategory: text(eventCategory),
		RecipientAccountID: text(recipientAccountID), SharedEventID: text(sharedEventID), VPCEndpointID: text(vpcEndpointID),
		ReadOnly: flag(readOnly), ManagementEvent: flag(managementEvent), FromConsole: flag(fromConsole),
		Identity: Identity{
			Type: text(identityType), PrincipalID: text(principalID), ARN: text(identityARN), AccountID: text(accountID),
			AccessKeyID: text(accessKeyID), UserName: text(userName), InvokedBy: text(invokedBy),
			Session:    Session{SourceIdentity: text(sourceIdentity), Issuer: Issuer{Type: text(issuerType), ARN: text(issuerARN), UserName: text(issuerUserName)}},
			OnBehalfOf: Behalf{UserID: text(behalfUserID)},
		},
		Response:          Response{IssuedAccessKeyID: text(issuedAccessKeyID)},
		OriginalRequestID: text(originalRequestID),
		EventTime:         parseTime(text(eventTime)),
		compact:           !s.spaced,
	}
	for i := 0; i < len(s.resources); i += 2 {
		if arn := s.resources[i].text(b, &shared); arn != "" {
			r.Resources = append(r.Resources, arn)
		} else if name := s.resources[i+1].text(b, &shared); name != "" {
			r.Resources = append(r.Resources, name)
		}
	}
	if r.EventName == "" && r.EventType == "" && r.EventSource == "" {
		return nil, fmt.Errorf("%w: no eventName, eventType or eventSource", ErrNotRecord)
	}
	if r.RecipientAccountID == "" {
		r.RecipientAccountID = r.Identity.AccountID
	}
	if r.EventID == "" {
		sum := sha256.Sum256(b)
		r.EventID = "sha256-" + hex.EncodeToString(sum[:16])
	}
	return r, nil
}

// text is a value as a string, and forgives: null is "", other values that are
// no strings are their JSON.
func (at span) text(b []byte, shared *strings.Builder) string {
	v := b[at.lo:at.hi]
	switch {
	case at.hi == 0 || string(v) == "null":
		return ""
	case at.plain:
		v = v[1 : len(v)-1]
	case v[0] == '"':
		var s string
		_ = json.Unmarshal(v, &s) // the scanner has checked it
		return s
	}
	from := shared.Len()
	shared.Write(v)
	return shared.String()[from:]
}

// parseTime is events.RecordTime, or 1970.
func parseTime(s string) time.Time {
	if t, ok := events.RecordTime(s); ok {
		return t
	}
	return time.Unix(0, 0).UTC()
}
