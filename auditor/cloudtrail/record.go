package cloudtrail

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Record holds the fields of a record that postern reads. The record itself is
// kept whole elsewhere: fields that are not here are not lost.
type Record struct {
	EventVersion       text      `json:"eventVersion"`
	EventTimeText      text      `json:"eventTime"`
	EventSource        text      `json:"eventSource"`
	EventName          text      `json:"eventName"`
	AWSRegion          text      `json:"awsRegion"`
	SourceIPAddress    text      `json:"sourceIPAddress"`
	UserAgent          text      `json:"userAgent"`
	ErrorCode          text      `json:"errorCode"`
	ErrorMessage       text      `json:"errorMessage"`
	RequestID          text      `json:"requestID"`
	EventID            text      `json:"eventID"`
	EventType          text      `json:"eventType"`
	EventCategory      text      `json:"eventCategory"`
	RecipientAccountID text      `json:"recipientAccountId"`
	SharedEventID      text      `json:"sharedEventID"`
	VPCEndpointID      text      `json:"vpcEndpointId"`
	ReadOnly           flag      `json:"readOnly"`
	ManagementEvent    flag      `json:"managementEvent"`
	FromConsole        flag      `json:"sessionCredentialFromConsole"`
	Identity           Identity  `json:"userIdentity"`
	Resources          resources `json:"resources"`
	Response           response  `json:"responseElements"`
	// EventTime is EventTimeText read, in UTC; 1970 where it can't be read.
	EventTime time.Time `json:"-"`
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
	r := &Record{}
	if len(b) == 0 || b[0] != '{' {
		return nil, fmt.Errorf("%w: no JSON object", ErrNotRecord)
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRecord, err)
	}
	if r.EventName == "" && r.EventType == "" && r.EventSource == "" {
		return nil, fmt.Errorf("%w: no eventName, eventType or eventSource", ErrNotRecord)
	}
	if r.RecipientAccountID == "" {
		r.RecipientAccountID = r.Identity.AccountID
	}
	if r.EventID == "" {
		sum := sha256.Sum256(b)
		r.EventID = text("sha256-" + hex.EncodeToString(sum[:16]))
	}
	r.EventTime = parseTime(string(r.EventTimeText))
	return r, nil
}

// parseTime reads RFC 3339, as AWS writes it, and the same with a space and no
// zone, as exports of other tools do. Times outside of what a store can hold
// are as good as none.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 && t.Year() < 2200 {
			return t.UTC().Truncate(time.Microsecond)
		}
	}
	return time.Unix(0, 0).UTC()
}

// Service is the first label of the event source: "s3" of "s3.amazonaws.com".
func (r *Record) Service() string {
	s, _, _ := strings.Cut(string(r.EventSource), ".")
	return s
}

// text is a string that forgives: JSON null is "", other values are their JSON.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		return nil
	case len(b) > 0 && b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = text(s)
	default:
		*t = text(b)
	}
	return nil
}

// flag is true for true and "true"; records have both.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	*f = flag(string(b) == "true" || strings.EqualFold(string(b), `"true"`))
	return nil
}

// resources lists the ARNs of a record's resources; forms it doesn't know are
// passed over.
type resources []string

func (r *resources) UnmarshalJSON(b []byte) error {
	var list []struct {
		ARN  text `json:"ARN"` // also matches "arn": field names are compared without case
		Name text `json:"resourceName"`
	}
	if json.Unmarshal(b, &list) != nil {
		return nil
	}
	for _, x := range list {
		if x.ARN != "" {
			*r = append(*r, string(x.ARN))
		} else if x.Name != "" {
			*r = append(*r, string(x.Name))
		}
	}
	return nil
}

// response holds what postern reads of responseElements.
type response struct {
	// IssuedAccessKeyID is the key that an sts:AssumeRole… call gave out.
	IssuedAccessKeyID string
}

func (r *response) UnmarshalJSON(b []byte) error {
	var v struct {
		Credentials struct {
			AccessKeyID text `json:"accessKeyId"`
		} `json:"credentials"`
	}
	if json.Unmarshal(b, &v) == nil {
		r.IssuedAccessKeyID = string(v.Credentials.AccessKeyID)
	}
	return nil
}
