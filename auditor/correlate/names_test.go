package correlate

import (
	"slices"
	"testing"

	"github.com/posternhq/postern/proxy/awsreq"
)

func TestSameName(t *testing.T) {
	for _, x := range []struct {
		service, operation, source, name string
		same                             bool
	}{
		{"s3", "ListObjectsV2", "s3.amazonaws.com", "ListObjects", true},
		{"s3", "ListObjects", "s3.amazonaws.com", "ListObjects", true},
		{"s3", "GetPublicAccessBlock", "s3.amazonaws.com", "GetBucketPublicAccessBlock", true},
		{"s3", "PutBucketLifecycleConfiguration", "s3.amazonaws.com", "PutBucketLifecycle", true},
		{"s3", "HeadBucket", "s3.amazonaws.com", "HeadBucket", true},
		{"s3", "HeadBucket", "s3.amazonaws.com", "HeadObject", false},
		{"s3control", "GetPublicAccessBlock", "s3control.amazonaws.com", "GetBucketPublicAccessBlock", false},
		{"s3control", "GetPublicAccessBlock", "s3.amazonaws.com", "GetAccountPublicAccessBlock", true},
		{"s3control", "GetPublicAccessBlock", "s3.amazonaws.com", "GetBucketPublicAccessBlock", false},
		{"s3control", "PutPublicAccessBlock", "s3.amazonaws.com", "PutAccountPublicAccessBlock", true},
		{"s3control", "DeletePublicAccessBlock", "s3.amazonaws.com", "DeleteAccountPublicAccessBlock", true},
		{"s3", "DeletePublicAccessBlock", "s3.amazonaws.com", "DeleteAccountPublicAccessBlock", false},
		{"lambda", "ListFunctions", "lambda.amazonaws.com", "ListFunctions20150331", true},
		{"lambda", "UpdateFunctionConfiguration", "lambda.amazonaws.com", "UpdateFunctionConfiguration20150331v2", true},
		{"cloudfront", "CreateDistribution", "cloudfront.amazonaws.com", "CreateDistribution2020_05_31", true},
		{"x", "GetObjectV2", "x.amazonaws.com", "GetObject", false},
		{"x", "20150331", "x.amazonaws.com", "20150331", true},
		{"x", "A", "x.amazonaws.com", "A120150331", false},
	} {
		if got := SameName(x.service, x.operation, x.source, x.name); got != x.same {
			t.Errorf("SameName(%s, %s, %s, %s) = %v", x.service, x.operation, x.source, x.name, got)
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
		{"application-autoscaling", "application-autoscaling", "autoscaling.amazonaws.com", true},
		{"autoscaling-plans", "autoscaling-plans", "autoscaling.amazonaws.com", true},
		{"cloudfront-keyvaluestore", "cloudfront-keyvaluestore", "edgekeyvaluestore.amazonaws.com", true},
		{"connectparticipant", "execute-api", "participant-connect.amazonaws.com", true},
		{"iotsecuretunneling", "IoTSecuredTunneling", "iotsecuredtunneling.amazonaws.com", true},
		{"marketplace-catalog", "aws-marketplace", "marketplacecatalog.amazonaws.com", true},
		{"meteringmarketplace", "aws-marketplace", "metering-marketplace.amazonaws.com", true},
		{"pricing", "pricing", "pricelist.amazonaws.com", true},
		{"rds-data", "rds-data", "rdsdata.amazonaws.com", true},
		{"rds", "rds", "rdsdata.amazonaws.com", false},
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
		for _, name := range EventNames("s3", "s3", operation) {
			if !SameName("s3", operation, "s3.amazonaws.com", name) {
				t.Errorf("%s is not called %s", operation, name)
			}
		}
	}
	if got := EventNames("s3", "s3", "GetObjectLockConfiguration"); !slices.Contains(got, "GetBucketObjectLockConfiguration") {
		t.Errorf("GetObjectLockConfiguration: %v", got)
	}
	if got := EventNames("s3", "s3", "ListObjectsV2"); len(got) != 2 || got[1] != "ListObjects" {
		t.Errorf("ListObjectsV2: %v", got)
	}
	if got := EventNames("s3control", "s3", "GetPublicAccessBlock"); !slices.Contains(got, "GetAccountPublicAccessBlock") || slices.Contains(got, "GetBucketPublicAccessBlock") {
		t.Errorf("GetPublicAccessBlock of an account: %v", got)
	}
	if got := EventSources("rds-data", "rds-data", "rds-data"); !slices.Contains(got, "rdsdata") {
		t.Errorf("rds-data: %v", got)
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
	for service, operations := range readsByCloudTrail {
		for operation := range operations {
			if !known[service+":"+operation] {
				t.Errorf("%s has no operation %s", service, operation)
			}
		}
	}
	for operation := range accountNames {
		if !known["s3control:"+operation] {
			t.Errorf("s3control has no operation %s", operation)
		}
	}
	for _, operation := range neverLogged["apigateway"] {
		if !known["apigateway:"+operation] {
			t.Errorf("apigateway has no operation %s", operation)
		}
	}
	if !known["cloudsearchdomain"] {
		t.Error("there is no service cloudsearchdomain")
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
