package cloudtrail

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func agree(t *testing.T, b []byte) {
	t.Helper()
	got, err := Parse(b)
	if errors.Is(err, errDepth) {
		return
	}
	if err != nil && !errors.Is(err, ErrNotRecord) {
		t.Fatal(err)
	}
	want, ok := reference(b)
	if ok != (err == nil) {
		t.Fatalf("%q: %v, encoding/json takes it: %v", b, err, ok)
	}
	if !ok {
		return
	}
	if want.RecipientAccountID == "" {
		want.RecipientAccountID = want.Identity.AccountID
	}
	if want.EventID == "" {
		want.EventID = got.EventID
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Record{})); d != "" {
		t.Fatalf("%q: %s", b, d)
	}
	if name, rule := got.Identity.User(); (name == "") != (rule == "") || got.EventID == "" {
		t.Fatalf("%q: %q by %q, id %q", b, name, rule, got.EventID)
	}
	// What received believes of a record: it travels as it is.
	if got.compact && !escapes(b) {
		if on, err := json.Marshal(json.RawMessage(b)); err != nil || string(on) != string(b) {
			t.Fatalf("%q would travel as %q, %v", b, on, err)
		}
	}
}

// The scanner reads what encoding/json reads, and refuses what it refuses.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"eventName":"A","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s"}}`,
		`{"eventName":"A","userIdentity":{"type":"Unknown","principalId":":"},"resources":[{}]}`,
		`{"eventName":"A","userIdentity":{"type":"a","sessionContext":{"sourceIdentity":"x"}},"userIdentity":{"type":7}}`,
		`{"eventN\u0061me":"\u00e9\ud83d\ude00\"\\\/\b","resources":[{"ARN":"a"},{"arn":"b","ARN":null},7,{"resourceName":"c"},[{"ARN":"d"}]],"resources":[{"ARN":"e"}]}`,
		`{"eventName":"é` + "\xff" + `","readOnly":"TRUE","managementEvent":true,"errorCode":{"a":[1,-0.5e+3,false,null]}}`,
		`{"eventName":"A","responseElements":{"credentials":{"accessKeyId":"ASIA"}},"errorMessage":-0}`,
		`{"eventName":"A","requestID":"b","addendum":{"reason":"UPDATED_DATA","originalRequestID":"a","originalEventID":"c"},"addendum":{"originalRequestID":7}}`,
		`{"eventName" : "A" }x`, `{"eventName":"A","x":01}`, `{"eventName":"A","x":tru}`, "{\"eventName\":\"A\n\"}", `{"eventName":"\u12g4"}`,
		`{"eventName":"A",}`, `{"eventName":"A","x":[1,]}`, `{,}`, `{"eventName":"A","x":1.}`, `{"eventName":"A","x":-}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(agree)
}

func TestRealRecords(t *testing.T) {
	for _, b := range realRecords(t) {
		agree(t, b)
	}
}

// Records of every category and of old versions: what identifies them is read.
func TestCategories(t *testing.T) {
	for _, x := range []struct{ record, want string }{
		// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-insights-fields-trails.html
		{`{"eventVersion":"1.08","eventTime":"2026-01-15T12:00:00Z","awsRegion":"us-east-1","eventID":"i1","eventType":"AwsCloudTrailInsight","recipientAccountId":"123456789012","sharedEventID":"s1","insightDetails":{"state":"Start","eventSource":"iam.amazonaws.com","eventName":"AttachUserPolicy","insightType":"ApiErrorRateInsight"},"eventCategory":"Insight"}`,
			"1.08 Insight i1 123456789012 - -"},
		// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-network-events-with-cloudtrail.html
		{`{"eventVersion":"1.09","userIdentity":{"type":"AWSAccount","principalId":"AROA1:alice","accountId":"123456789012"},"eventTime":"2026-01-15T12:00:00Z","eventSource":"s3.amazonaws.com","eventName":"ListBuckets","awsRegion":"us-east-1","errorCode":"VpceAccessDenied","errorMessage":"The request was denied due to a VPC endpoint policy","requestID":"r","eventID":"n1","eventType":"AwsVpceEvent","recipientAccountId":"123456789012","vpcEndpointId":"vpce-1","vpcEndpointAccountId":"123456789012","eventCategory":"NetworkActivity"}`,
			"1.09 NetworkActivity n1 123456789012 ListBuckets alice"},
		{`{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","userName":"bob"},"eventSource":"s3.amazonaws.com","eventName":"GetObject","eventID":"d1","readOnly":true,"managementEvent":false,"recipientAccountId":"123456789012","eventCategory":"Data"}`,
			"1.11 Data d1 123456789012 GetObject bob"},
		{`{"eventVersion":"1.0","userIdentity":{"type":"IAMUser","accountId":"123456789012","userName":"carol"},"eventTime":"2014-03-06T21:22:54Z","eventSource":"ec2.amazonaws.com","eventName":"StartInstances"}`,
			"1.0  sha256-… 123456789012 StartInstances carol"},
		{`{"eventVersion":"1.10","userIdentity":{"type":"AWSService","invokedBy":"kms.amazonaws.com"},"eventSource":"kms.amazonaws.com","eventName":"RotateKey","eventID":"k1","eventType":"AwsServiceEvent","recipientAccountId":"123456789012","serviceEventDetails":{"keyId":"x"},"eventCategory":"Management"}`,
			"1.10 Management k1 123456789012 RotateKey kms.amazonaws.com"},
	} {
		r, err := Parse([]byte(x.record))
		if err != nil {
			t.Errorf("%s: %v", x.record, err)
			continue
		}
		user, _ := r.Identity.User()
		id, _, _ := strings.Cut(r.EventID, "-")
		if id == "sha256" {
			id = "sha256-…"
		}
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		if got := fmt.Sprintf("%s %s %s %s %s %s", r.EventVersion, r.EventCategory, id, r.RecipientAccountID, dash(r.EventName), dash(user)); got != x.want {
			t.Errorf("%s, want %s", got, x.want)
		}
	}
	for name, want := range map[string]string{
		"123456789012_CloudTrail_us-east-1_20230710T1145Z_x.json.gz":                    "123456789012 us-east-1",
		"123456789012_CloudTrail-Insight_us-gov-west-1_20230710T1145Z_x.json.gz":        "123456789012 us-gov-west-1",
		"123456789012_CloudTrail-NetworkActivity_eu-west-1_20230710T1145Z_x.json.gz":    "123456789012 eu-west-1",
		"123456789012_CloudTrail-Digest_eu-west-1_t_eu-west-1_20230710T114500Z.json.gz": "",
	} {
		got := ""
		if m := accountOf.FindStringSubmatch(name); m != nil && IsLogFile(name) {
			got = m[1] + " " + m[2]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
