package ocsf

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// facts are the fields that payloads share, by the names that all of them use.
// What has one name and several shapes is read leniently.
type facts struct {
	User     string `json:"user"`
	By       string `json:"by"`
	Name     string `json:"name"`
	Reviewer string `json:"reviewer"`
	Member   struct {
		Name string `json:"name"`
	} `json:"member"`
	AccessList string `json:"access_list"`

	SessionID         string    `json:"session_id"`
	CertificateSerial string    `json:"certificate_serial"`
	AccessKeyID       string    `json:"access_key_id"`
	StartedAt         time.Time `json:"started_at"`
	ExpiresAt         time.Time `json:"expires_at"`
	Reason            string    `json:"reason"`
	Method            string    `json:"method"`
	Connector         string    `json:"connector"`
	SecondFactor      string    `json:"second_factor"`

	App        string `json:"app"`
	AWSRoleARN string `json:"aws_role_arn"`
	Account    string `json:"account"`
	Partition  string `json:"partition"`
	Region     string `json:"region"`
	ClientAddr string `json:"client_addr"`
	UserAgent  string `json:"user_agent"`
	Host       string `json:"host"`
	Path       string `json:"path"`
	Proxy      string `json:"proxy"`

	RequestID    string `json:"request_id"`
	AWSRequestID string `json:"aws_request_id"`
	Service      string `json:"service"`
	Operation    string `json:"operation"`
	Roles        strs   `json:"roles"`
	Resources    strs   `json:"resources"`
	Accounts     strs   `json:"accounts"`
	Target       struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"target"`

	Status         int    `json:"status"`
	AWSErrorCode   string `json:"aws_error_code"`
	Code           string `json:"code"`
	Rule           string `json:"rule"`
	Interrupted    string `json:"interrupted"`
	RequestBytes   int64  `json:"request_bytes"`
	ResponseBytes  int64  `json:"response_bytes"`
	LatencyMicros  int64  `json:"latency_us"`
	DurationMicros int64  `json:"duration_us"`

	FindingID string          `json:"finding_id"`
	Kind      string          `json:"kind"`
	Severity  string          `json:"severity"`
	Summary   string          `json:"summary"`
	Verdict   string          `json:"verdict"`
	EventID   string          `json:"event_id"`
	Record    json.RawMessage `json:"record"`
}

// strs reads a list of names: strings, or objects that have one.
type strs []string

func (s *strs) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil {
		return nil
	}
	for _, e := range list {
		var text string
		if json.Unmarshal(e, &text) != nil {
			var o struct {
				Name string `json:"name"`
			}
			if json.Unmarshal(e, &o) != nil {
				continue
			}
			text = o.Name
		}
		*s = append(*s, text)
	}
	return nil
}

// record is the part of a CloudTrail record that OCSF has words for
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html).
type record struct {
	EventTime       recordTime `json:"eventTime"`
	EventSource     string     `json:"eventSource"`
	EventName       string     `json:"eventName"`
	AWSRegion       string     `json:"awsRegion"`
	SourceIPAddress string     `json:"sourceIPAddress"`
	UserAgent       string     `json:"userAgent"`
	ErrorCode       string     `json:"errorCode"`
	ErrorMessage    string     `json:"errorMessage"`
	RequestID       string     `json:"requestID"`
	UserIdentity    struct {
		Type        string `json:"type"`
		PrincipalID string `json:"principalId"`
		ARN         string `json:"arn"`
		AccountID   string `json:"accountId"`
		AccessKeyID string `json:"accessKeyId"`
		UserName    string `json:"userName"`
		InvokedBy   string `json:"invokedBy"`
	} `json:"userIdentity"`
	Resources []struct {
		ARN  string `json:"ARN"`
		Type string `json:"type"`
	} `json:"resources"`
}

// recordTime is a record's time in any form that the auditor takes; zero where it can't be
// read.
type recordTime struct{ time.Time }

// UnmarshalJSON takes strings and numbers, and never fails.
func (t *recordTime) UnmarshalJSON(b []byte) error {
	text := string(b)
	if json.Unmarshal(b, &text) != nil {
		text = string(b)
	}
	t.Time, _ = events.RecordTime(text)
	return nil
}

// endpointOf reads "IP", "IP:port" or a name.
func endpointOf(addr, otherwise string) *endpoint {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return &endpoint{IP: ap.Addr().String(), Port: int(ap.Port())}
	}
	if ip, err := netip.ParseAddr(addr); err == nil {
		return &endpoint{IP: ip.String()}
	}
	if addr == "" {
		addr = otherwise
	}
	return &endpoint{Name: addr}
}

func cloudOf(partition, region, account string) *cloud {
	if partition == "" && region == "" && account == "" {
		return nil
	}
	c := &cloud{Provider: "AWS", Partition: partition, Region: region}
	if account != "" {
		c.Account = &named{UID: account}
	}
	return c
}

// millis is t in OCSF's form, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// doing tells from an operation's name whether it creates (1), reads (2),
// updates (3) or deletes (4); 99 is something else.
func doing(operation string) int {
	for id, prefixes := range [...]string{
		1: "Create Put Run Start Add Register Allocate Upload Import Copy Issue Publish Send",
		2: "Get List Describe Head BatchGet Query Scan Select Lookup Search Download Receive Decode",
		3: "Update Modify Set Change Attach Associate Enable Reset Replace Tag Restore",
		4: "Delete Terminate Remove Deregister Release Detach Disassociate Disable Purge Untag Abort Cancel Revoke Stop",
	} {
		for p := range strings.FieldsSeq(prefixes) {
			if strings.HasPrefix(operation, p) {
				return id
			}
		}
	}
	return 99
}
