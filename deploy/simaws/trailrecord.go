package simaws

import (
	"crypto/tls"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// event is what an operation tells CloudTrail about itself. A handler fills it
// as it goes; record puts it into CloudTrail's form.
type event struct {
	source, name  string
	readOnly      bool
	data          bool   // a data event, delivered only where it is selected
	dataARN       string // what the selectors are asked about
	dataAlways    bool   // the bucket asked for its data events itself
	request       any
	response      any
	resources     []resource
	additional    map[string]any
	otherAccounts []string // accounts that get a copy: a role's, a bucket's owner
	errorCode     string
	errorMessage  string
}

type resource struct {
	AccountID string `json:"accountId,omitempty"`
	Type      string `json:"type,omitempty"`
	ARN       string `json:"ARN,omitempty"`
}

func (e *event) nameIt(operation string) {
	if operation == "" || len(operation) > 128 || strings.ContainsFunc(operation, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9')
	}) {
		return
	}
	e.name = operation
	for _, p := range []string{"Get", "List", "Describe", "Head", "Query", "Scan", "BatchGet"} {
		e.readOnly = e.readOnly || strings.HasPrefix(operation, p)
	}
}

// trailRecord is one CloudTrail record:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
type trailRecord struct {
	EventVersion        string         `json:"eventVersion"`
	UserIdentity        map[string]any `json:"userIdentity"`
	EventTime           string         `json:"eventTime"`
	EventSource         string         `json:"eventSource"`
	EventName           string         `json:"eventName"`
	AWSRegion           string         `json:"awsRegion"`
	SourceIPAddress     string         `json:"sourceIPAddress"`
	UserAgent           string         `json:"userAgent"`
	ErrorCode           string         `json:"errorCode,omitempty"`
	ErrorMessage        string         `json:"errorMessage,omitempty"`
	RequestParameters   any            `json:"requestParameters"`
	ResponseElements    any            `json:"responseElements"`
	AdditionalEventData map[string]any `json:"additionalEventData,omitempty"`
	RequestID           string         `json:"requestID,omitempty"`
	EventID             string         `json:"eventID"`
	ReadOnly            bool           `json:"readOnly"`
	Resources           []resource     `json:"resources,omitempty"`
	EventType           string         `json:"eventType"`
	ManagementEvent     bool           `json:"managementEvent"`
	RecipientAccountID  string         `json:"recipientAccountId"`
	SharedEventID       string         `json:"sharedEventID,omitempty"`
	EventCategory       string         `json:"eventCategory"`
	TLSDetails          map[string]any `json:"tlsDetails,omitempty"`
}

// userIdentity: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
func userIdentity(id *identity) map[string]any {
	u := map[string]any{"principalId": id.principalID(), "arn": id.arn(), "accountId": id.account}
	if id.accessKey != "" {
		u["accessKeyId"] = id.accessKey
	}
	attributes := map[string]string{"creationDate": id.issued.UTC().Format(time.RFC3339), "mfaAuthenticated": "false"}
	if !id.isRole() {
		u["type"], u["userName"] = "IAMUser", id.userName
		if id.temporary() {
			u["sessionContext"] = map[string]any{"attributes": attributes}
		}
		return u
	}
	u["type"] = "AssumedRole"
	ctx := map[string]any{
		"sessionIssuer": map[string]string{
			"type": "Role", "principalId": id.roleID, "arn": id.roleARN, "accountId": id.account, "userName": id.roleName,
		},
		"attributes": attributes,
	}
	if id.sourceIdentity != "" {
		ctx["sourceIdentity"] = id.sourceIdentity
	}
	u["sessionContext"] = ctx
	return u
}

// record hands a finished call to the trail. Calls that failed authentication
// never come here: CloudTrail does not deliver those either.
func (s *Sim) record(c *call) {
	e := &c.event
	if e.name == "" {
		return
	}
	if c.ep.service == "ec2" && e.errorCode != "" {
		e.errorCode = "Client." + e.errorCode
	}
	if e.errorCode == "AccessDeniedException" {
		e.errorCode = "AccessDenied"
	}
	agent := c.r.UserAgent()
	if c.proto == protoS3 {
		agent = "[" + agent + "]" // S3's habit
		c.s3Additional()
	}
	rec := trailRecord{
		EventVersion: "1.11", UserIdentity: userIdentity(c.who),
		EventTime: c.at.Format(time.RFC3339), EventSource: e.source, EventName: e.name, AWSRegion: c.ep.region,
		SourceIPAddress: c.sourceIP(), UserAgent: agent, ErrorCode: e.errorCode, ErrorMessage: e.errorMessage,
		RequestParameters: e.request, ResponseElements: e.response, AdditionalEventData: e.additional,
		RequestID: c.requestID, ReadOnly: e.readOnly, Resources: e.resources,
		EventType: "AwsApiCall", ManagementEvent: !e.data, EventCategory: "Management", TLSDetails: tlsDetails(c.r),
	}
	if e.data {
		rec.EventCategory = "Data"
	}
	if rec.ErrorCode != "" {
		rec.ResponseElements = nil
	}
	recipients := append([]string{c.who.account}, e.otherAccounts...)
	if len(recipients) > 1 {
		rec.SharedEventID = uuid.NewString()
	}
	for _, account := range recipients {
		rec.RecipientAccountID, rec.EventID = account, uuid.NewString()
		s.trail.take(rec, e.data, e.dataARN, !e.data || e.dataAlways || s.dataSelected(e.dataARN))
	}
}

func (s *Sim) dataSelected(arn string) bool {
	for _, sel := range s.cfg.DataEvents {
		if sel != "" && (strings.HasPrefix(arn, sel) || arn+"/" == sel) {
			return true
		}
	}
	return false
}

func tlsDetails(r *http.Request) map[string]any {
	if r.TLS == nil {
		return nil
	}
	return map[string]any{
		"tlsVersion":               strings.Replace(tls.VersionName(r.TLS.Version), "TLS ", "TLSv", 1),
		"cipherSuite":              tls.CipherSuiteName(r.TLS.CipherSuite),
		"clientProvidedHostHeader": r.Host,
	}
}

// s3Additional is the additionalEventData that S3 sends with every record.
func (c *call) s3Additional() {
	method := "AuthHeader"
	if c.sig.presigned {
		method = "QueryString"
	}
	if c.event.additional == nil {
		c.event.additional = map[string]any{}
	}
	version := "SigV4"
	if c.sig.alg == algorithmECDSA {
		version = "SigV4A"
	}
	for k, v := range map[string]any{
		"SignatureVersion": version, "AuthenticationMethod": method,
		"bytesTransferredIn": c.received, "bytesTransferredOut": c.w.bytes, "x-amz-id-2": c.hostID,
	} {
		c.event.additional[k] = v
	}
	if c.r.TLS != nil {
		c.event.additional["CipherSuite"] = tls.CipherSuiteName(c.r.TLS.CipherSuite)
	}
}
