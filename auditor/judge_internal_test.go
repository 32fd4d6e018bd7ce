package auditor

import (
	"encoding/json"
	"testing"

	"github.com/posternhq/postern/events"
)

// recordOf reads a record as CloudTrail writes it.
func recordOf(t *testing.T, fields string) (out struct {
	InvokedBy string
	Refused   bool
}) {
	t.Helper()
	r, ok := record(&events.CloudTrailRecordReceived{RecipientAccountID: "111111111111", EventID: "E", Record: json.RawMessage(`{"eventSource":"ec2.amazonaws.com","eventName":"RunInstances",` + fields + `}`)}, 1)
	if !ok {
		t.Fatalf("%s is no record", fields)
	}
	out.InvokedBy, out.Refused = r.InvokedBy, r.Refused
	return out
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
