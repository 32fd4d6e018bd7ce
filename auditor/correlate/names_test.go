package correlate

import (
	"slices"
	"testing"

	"github.com/posternhq/postern/proxy/awsreq"
)

func TestSameName(t *testing.T) {
	for _, x := range []struct {
		operation, source, name string
		same                    bool
	}{
		{"ListObjectsV2", "s3.amazonaws.com", "ListObjects", true},
		{"ListObjects", "s3.amazonaws.com", "ListObjects", true},
		{"GetPublicAccessBlock", "s3.amazonaws.com", "GetBucketPublicAccessBlock", true},
		{"PutBucketLifecycleConfiguration", "s3.amazonaws.com", "PutBucketLifecycle", true},
		{"HeadBucket", "s3.amazonaws.com", "HeadBucket", true},
		{"HeadBucket", "s3.amazonaws.com", "HeadObject", false},
		{"GetPublicAccessBlock", "s3control.amazonaws.com", "GetBucketPublicAccessBlock", false},
		{"ListFunctions", "lambda.amazonaws.com", "ListFunctions20150331", true},
		{"UpdateFunctionConfiguration", "lambda.amazonaws.com", "UpdateFunctionConfiguration20150331v2", true},
		{"CreateDistribution", "cloudfront.amazonaws.com", "CreateDistribution2020_05_31", true},
		{"GetObjectV2", "x.amazonaws.com", "GetObject", false},
		{"20150331", "x.amazonaws.com", "20150331", true},
		{"A", "x.amazonaws.com", "A120150331", false},
	} {
		if got := SameName(x.operation, x.source, x.name); got != x.same {
			t.Errorf("SameName(%s, %s, %s) = %v", x.operation, x.source, x.name, got)
		}
	}
	for _, x := range []struct {
		service, signing, source string
		same                     bool
	}{
		{"s3", "s3", "s3.amazonaws.com", true},
		{"email", "ses", "ses.amazonaws.com", true},
		{"monitoring", "monitoring", "monitoring.amazonaws.com", true},
		{"s3", "s3", "s3.amazonaws.com.cn", true},
		{"s3", "s3", "s3outposts.amazonaws.com", false},
		{"", "", "", false},
	} {
		if got := SameService(x.service, x.signing, x.source); got != x.same {
			t.Errorf("SameService(%s, %s, %s) = %v", x.service, x.signing, x.source, got)
		}
	}
}

// What CloudTrail may call a call is what it is known by, both ways.
func TestNamesBothWays(t *testing.T) {
	for _, operation := range []string{"ListObjectsV2", "ListObjects", "GetPublicAccessBlock", "HeadObject"} {
		for _, name := range EventNames("s3", operation) {
			if !SameName(operation, "s3.amazonaws.com", name) {
				t.Errorf("%s is not called %s", operation, name)
			}
		}
	}
	if got := EventNames("s3", "GetObjectLockConfiguration"); !slices.Contains(got, "GetBucketObjectLockConfiguration") {
		t.Errorf("GetObjectLockConfiguration: %v", got)
	}
	if got := EventNames("s3", "ListObjectsV2"); len(got) != 2 || got[1] != "ListObjects" {
		t.Errorf("ListObjectsV2: %v", got)
	}
	for _, label := range EventSources("email", "ses", "email") {
		if !SameService("email", "ses", label+".amazonaws.com") {
			t.Errorf("email is not called %s", label)
		}
	}
}

// The services and operations whose calls are data events are known by the names that
// the proxy has for them.
func TestDataEventsAreOperations(t *testing.T) {
	table, err := awsreq.New()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for o := range table.Operations() {
		known[o.Service], known[o.Service+":"+o.Name] = true, true
	}
	for service, d := range dataEvents {
		if !known[service] || len(d.types) == 0 || d.all == (len(d.operations) > 0) {
			t.Errorf("%s: known as a service: %t, types %q, all %t, %d operations", service, known[service], d.types, d.all, len(d.operations))
		}
		for operation := range d.operations {
			if !known[service+":"+operation] {
				t.Errorf("%s has no operation %s", service, operation)
			}
		}
	}
	for _, x := range []struct {
		service, operation string
		data               bool
	}{
		{"s3", "GetObject", true},
		{"s3", "ListObjectsV2", true},
		{"s3", "GetBucketPolicy", false},
		{"sagemaker-runtime", "InvokeEndpoint", true},
		{"sagemaker", "CreateEndpoint", false},
		{"dynamodbstreams", "GetRecords", true},
		{"dynamodbstreams", "ListStreams", false},
		{"cloudwatch", "PutMetricData", true},
		{"cloudwatch", "PutMetricAlarm", false},
		{"kinesisvideo", "ListStreams", false},
		{"kinesisvideo", "DeleteStream", false},
		{"kinesis-video-media", "GetMedia", true},
		{"cognito-identity", "GetId", true},
		{"cognito-identity", "ListIdentityPools", false},
		{"ebs", "PutSnapshotBlock", true},
		{"ebs", "StartSnapshot", false},
		{"bedrock-runtime", "InvokeModel", false},
		{"", "", false},
	} {
		if got := DataEvent(x.service, x.operation); got != x.data {
			t.Errorf("DataEvent(%s, %s) = %t", x.service, x.operation, got)
		}
	}
}
