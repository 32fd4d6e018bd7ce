package auditor

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// recordOf reads a record as CloudTrail writes it.
func recordOf(t *testing.T, fields string) correlate.Record {
	t.Helper()
	r, ok := record(&events.CloudTrailRecordReceived{RecipientAccountID: "111111111111", EventID: "E", Record: json.RawMessage(`{"eventSource":"ec2.amazonaws.com","eventName":"RunInstances",` + fields + `}`)}, 1)
	if !ok {
		t.Fatalf("%s is no record", fields)
	}
	return r
}

func TestRefused(t *testing.T) {
	for code, want := range map[string]bool{
		"AccessDenied": true, "Client.UnauthorizedOperation": true, "Client.AuthFailure": true, "AuthFailure": true, "InvalidAccessKeyId": true,
		"SignatureDoesNotMatch": true, "InvalidToken": true, "InvalidClientTokenId": true, "ExpiredToken": true, "ExpiredTokenException": true,
		"RequestExpired": true, "Client.RequestExpired": true, "VpceAccessDenied": true, "IncompleteSignature": true, "InvalidSignatureException": true,
		"MissingAuthenticationToken": true, "OptInRequired": true, "UnrecognizedClientException": true,
		"": false, "Client.DryRunOperation": false, "ThrottlingException": false, "NoSuchBucketPolicy": false, "InvalidNextToken": false,
		"ValidationError": false, "Client.InvalidParameterValue": false, "InvalidAccessException": false,
	} {
		if got := recordOf(t, `"errorCode":"`+code+`"`).Refused; got != want {
			t.Errorf("%q: %v", code, got)
		}
	}
}

// Which records say by their source address that a service acted.
func TestByService(t *testing.T) {
	for fields, want := range map[string]string{
		`"eventVersion":"1.08","sourceIPAddress":"AWS Internal"`:                                                     "AWS Internal",
		`"eventVersion":"1.11","sourceIPAddress":"AWS Internal"`:                                                     "AWS Internal",
		`"eventVersion":"1.08","sourceIPAddress":"AWS Internal","sessionCredentialFromConsole":"true"`:               "",
		`"eventVersion":"1.05","sourceIPAddress":"AWS Internal"`:                                                     "",
		`"eventVersion":"1.08","sourceIPAddress":"AWS Internal","userIdentity":{"invokedBy":"athena.amazonaws.com"}`: "athena.amazonaws.com",
		`"eventVersion":"1.08","sourceIPAddress":"trustedadvisor.amazonaws.com"`:                                     "trustedadvisor.amazonaws.com",
		`"eventVersion":"1.08","sourceIPAddress":"203.0.113.7","userAgent":"AWS Internal"`:                           "",
	} {
		if got := recordOf(t, fields).InvokedBy; got != want {
			t.Errorf("%s: %q, want %q", fields, got, want)
		}
	}
}

// As whom AWS saw a call, in each shape that it says it in.
func TestCallerOfRecords(t *testing.T) {
	type who struct{ Account, RoleARN, Role, Session, RoleID string }
	const arn = "arn:aws:iam::111111111111:role/team/Ops"
	for said, want := range map[string]who{
		`{"type":"AssumedRole","principalId":"AROAOPS:alice","arn":"arn:aws:sts::111111111111:assumed-role/Ops/alice","accountId":"111111111111","sessionContext":{"sessionIssuer":{"type":"Role","arn":"` + arn + `"}}}`: {"111111111111", arn, "Ops", "alice", "AROAOPS"},
		`{"type":"AssumedRole","principalId":"AROAOPS:alice","sessionContext":{"sessionIssuer":{"type":"Role","arn":"` + arn + `"}}}`:                                                                                     {"111111111111", arn, "Ops", "alice", "AROAOPS"},
		`{"type":"AWSAccount","principalId":"AROAOPS:alice","accountId":"111111111111"}`:                                                                                                                                  {"111111111111", "", "", "alice", "AROAOPS"},
		`{"type":"AWSAccount","principalId":"AIDAUSER","accountId":"111111111111"}`:                                                                                                                                       {"111111111111", "", "", "", ""},
		`{"type":"FederatedUser","principalId":"111111111111:alice","accountId":"111111111111"}`:                                                                                                                          {"111111111111", "", "", "", ""},
		`{"type":"AWSService","invokedBy":"ec2.amazonaws.com"}`:                                                                                                                                                           {},
	} {
		r := recordOf(t, `"userIdentity":`+said)
		if got := (who{r.IdentityAccount, r.RoleARN, r.RoleName, r.SessionName, r.RoleID}); got != want {
			t.Errorf("%s: %+v, want %+v", said, got, want)
		}
	}
}

// A record whose time can't be read is of no age: it is judged, however short rows are kept.
func TestUntimedIsJudged(t *testing.T) {
	a := &Auditor{}
	a.kept.Store(&[]store.RetentionSet{{Since: time.Now().AddDate(-1, 0, 0), Retention: store.Retention{CloudTrail: 30 * 24 * time.Hour}}})
	for said, want := range map[string]bool{`"redacted"`: false, `null`: false, `"2001-01-01T00:00:00Z"`: true} {
		if r := recordOf(t, `"eventTime":`+said); a.tooOld(r.EventTime) != want {
			t.Errorf("%s, so of %s: too old to be judged: %t, want %t", said, r.EventTime, !want, want)
		}
	}
}
