package awsreq

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const account = "123456789012"

// request builds an input from "METHOD https://host/target".
func request(t testing.TB, tab *Table, line string, header http.Header, body string) *Input {
	t.Helper()
	method, url, _ := strings.Cut(line, " ")
	host, target, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
	h, err := tab.ParseHost(host)
	if err != nil {
		t.Fatal(err)
	}
	if header == nil {
		header = http.Header{}
	}
	in := &Input{Method: method, Host: &h, Header: header, Body: []byte(body), BodyComplete: true, Account: account}
	in.Path, in.RawQuery, _ = strings.Cut("/"+target, "?")
	return in
}

func names(actions []Action) (out []string) {
	for _, a := range actions {
		out = append(out, a.Name)
	}
	return out
}

// The region of a request is its signature's; of a region set, the host's where it has
// one, and else the set.
func TestRegion(t *testing.T) {
	tab := newTable(t)
	const many, one, global = "https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com/k", "https://b.s3.eu-west-1.amazonaws.com/k", "https://abc.endpoint.events.amazonaws.com/"
	for _, c := range []struct{ url, signed, want string }{
		{many, "*", "*"}, {many, "us-east-1,eu-west-1", "us-east-1,eu-west-1"}, {many, "us-*", "us-*"}, {many, "us-east-1", "us-east-1"}, {many, "", "*"},
		{one, "*", "eu-west-1"}, {one, "us-east-1,eu-west-1", "eu-west-1"}, {one, "eu-west-1", "eu-west-1"}, {one, "", "eu-west-1"},
		{global, "us-east-1,eu-west-1", "us-east-1,eu-west-1"}, {global, "*", "*"},
		{"https://b.s3-accelerate.amazonaws.com/k", "*", "*"}, {"https://iam.amazonaws.com/", "*", "us-east-1"},
	} {
		in := request(t, tab, "GET "+c.url, nil, "")
		in.SigningRegion = c.signed
		if r := tab.Recognize(in); r.Region != c.want {
			t.Errorf("%s signed for %q: region %q, want %q", c.url, c.signed, r.Region, c.want)
		}
	}
}

// An ARN of a region set may be of any of its regions.
func TestResourcesOfRegionSet(t *testing.T) {
	tab := newTable(t)
	for _, set := range []string{"us-east-1,us-west-2", "us-*", "*"} {
		in := request(t, tab, "POST https://abc.endpoints.email.amazonaws.com/v2/email/outbound-emails", http.Header{"Content-Type": {"application/json"}},
			`{"FromEmailAddress":"a@example.com","FromEmailAddressIdentityArn":"arn:aws:ses:us-east-1:123456789012:identity/example.com","ConfigurationSetName":"c"}`)
		in.SigningRegion = set
		r := tab.Recognize(in)
		if want := []string{"arn:aws:ses:us-east-1:" + account + ":identity/example.com", "arn:aws:ses:*:" + account + ":configuration-set/c"}; r.Region != set || !cmp.Equal(r.Resources, want) {
			t.Errorf("%s: region %q, %q, want %q", set, r.Region, r.Resources, want)
		}
	}
}

func TestRecognizeS3(t *testing.T) {
	tab := newTable(t)
	const (
		vh  = "https://b.s3.eu-west-1.amazonaws.com/"
		ph  = "https://s3.eu-west-1.amazonaws.com/"
		obj = "arn:aws:s3:::b/k"
	)
	const directory, directoryARN = "https://b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/", "arn:aws:s3express:us-east-1:" + account + ":bucket/b--use1-az4--x-s3"
	cp, fromDirectory := http.Header{"X-Amz-Copy-Source": {"/src/a%20b?versionId=1"}}, http.Header{"X-Amz-Copy-Source": {"%2Fsrc--use1-az4--x-s3%2Fk"}}
	for _, c := range []struct {
		line      string
		header    http.Header
		op        string
		action    string
		resources []string
	}{
		{"GET " + ph, nil, "ListBuckets", "s3:ListAllMyBuckets", nil},
		{"GET " + vh, nil, "ListObjects", "s3:ListBucket", []string{"arn:aws:s3:::b"}},
		{"GET " + ph + "b?list-type=2&prefix=x%2F", nil, "ListObjectsV2", "s3:ListBucket", []string{"arn:aws:s3:::b"}},
		{"GET " + ph + "b/?versions", nil, "ListObjectVersions", "s3:ListBucketVersions", []string{"arn:aws:s3:::b"}},
		{"HEAD " + vh + "k", nil, "HeadObject", "s3:GetObject", []string{obj}},
		{"GET " + vh + "k", nil, "GetObject", "s3:GetObject", []string{obj}},
		{"GET " + vh + "k?versionId=abc", nil, "GetObject", "s3:GetObjectVersion", []string{obj}},
		{"GET " + vh + "k%20%2B+/%C3%A9//x", nil, "GetObject", "s3:GetObject", []string{"arn:aws:s3:::b/k ++/\u00e9//x", "arn:aws:s3:::b/k + /\u00e9//x"}},
		{"GET " + vh + "/k", nil, "GetObject", "s3:GetObject", []string{"arn:aws:s3:::b//k"}},
		{"PUT " + vh + "k?x-id=GetObject", nil, "PutObject", "s3:PutObject", []string{obj}},
		{"PUT " + vh + "k", cp, "CopyObject", "s3:PutObject", []string{obj, "arn:aws:s3:::src/a b"}},
		{"PUT " + vh + "k?partNumber=1&uploadId=u", nil, "UploadPart", "s3:PutObject", []string{obj}},
		{"PUT " + vh + "k?partNumber=1&uploadId=u", cp, "UploadPartCopy", "s3:PutObject", []string{obj, "arn:aws:s3:::src/a b"}},
		{"POST " + vh + "k?uploads", nil, "CreateMultipartUpload", "s3:PutObject", []string{obj}},
		{"POST " + vh + "k?uploadId=u", nil, "CompleteMultipartUpload", "s3:PutObject", []string{obj}},
		{"DELETE " + vh + "k?uploadId=u", nil, "AbortMultipartUpload", "s3:AbortMultipartUpload", []string{obj}},
		{"GET " + vh + "?uploads", nil, "ListMultipartUploads", "s3:ListBucketMultipartUploads", []string{"arn:aws:s3:::b"}},
		{"GET " + vh + "k?%61cl", nil, "GetObjectAcl", "s3:GetObjectAcl", []string{obj}},
		{"PUT " + vh + "?policy", nil, "PutBucketPolicy", "s3:PutBucketPolicy", []string{"arn:aws:s3:::b"}},
		{"GET " + vh + "?inventory&id=x", nil, "GetBucketInventoryConfiguration", "s3:GetInventoryConfiguration", []string{"arn:aws:s3:::b"}},
		{"GET " + vh + "?inventory", nil, "ListBucketInventoryConfigurations", "s3:GetInventoryConfiguration", []string{"arn:aws:s3:::b"}},
		{"PUT " + vh, nil, "CreateBucket", "s3:CreateBucket", []string{"arn:aws:s3:::b"}},
		{"GET https://ap-" + account + ".s3-accesspoint.eu-west-1.amazonaws.com/k", nil, "GetObject", "s3:GetObject",
			[]string{"arn:aws:s3:eu-west-1:" + account + ":accesspoint/ap/object/k"}},
		{"GET " + vh + "k?annotation", nil, "ListObjectAnnotations", "s3:ListObjectAnnotations", []string{obj}},
		{"GET " + vh + "k?annotation=&annotation-prefix=a&versionId=v&x-id=ListObjectAnnotations", nil, "ListObjectAnnotations", "s3:ListObjectVersionAnnotations", []string{obj}},
		{"GET " + vh + "k?annotation&annotationName=a", nil, "GetObjectAnnotation", "s3:GetObjectAnnotation", []string{obj}},
		{"PUT " + vh + "k?annotation&annotationName=a", nil, "PutObjectAnnotation", "s3:PutObjectAnnotation", []string{obj}},
		{"DELETE " + vh + "k?annotation&annotationName=a&versionId=v", nil, "DeleteObjectAnnotation", "s3:DeleteObjectVersionAnnotation", []string{obj}},
		{"PUT " + vh + "?metadataAnnotationTable", nil, "UpdateBucketMetadataAnnotationTableConfiguration", "s3:UpdateBucketMetadataAnnotationTableConfiguration", []string{"arn:aws:s3:::b"}},
		// What is not known may be another operation.
		{"DELETE " + vh + "k?newest", nil, "", "", []string{obj}},
		{"PUT " + vh + "k?newest=", nil, "", "", []string{obj}},
		{"DELETE " + vh + "?%6eewest", nil, "", "", []string{"arn:aws:s3:::b"}},
		{"GET " + vh + "k?x-mine&X-other=&v=1&response-expires=", nil, "GetObject", "s3:GetObject", []string{obj}},
		{"GET " + vh + "?prefix=&delimiter&marker=&x-id", nil, "ListObjects", "s3:ListBucket", []string{"arn:aws:s3:::b"}},
		{"GET https://b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/k", nil, "GetObject", "s3express:CreateSession",
			[]string{"arn:aws:s3express:us-east-1:" + account + ":bucket/b--use1-az4--x-s3"}},
	} {
		r := tab.Recognize(request(t, tab, c.line, c.header, ""))
		if r.Operation != c.op || r.Action != c.action || r.Ambiguous {
			t.Errorf("%s: %s %s (ambiguous %v), want %s %s", c.line, r.Operation, r.Action, r.Ambiguous, c.op, c.action)
		}
		if d := cmp.Diff(c.resources, r.Resources); d != "" {
			t.Errorf("%s: %s", c.line, d)
		}
	}
	for _, c := range []struct {
		line      string
		header    http.Header
		body      string
		action    string
		also      []string
		resources []string
	}{
		{"PUT " + vh + "k", http.Header{"X-Amz-Acl": {"public-read"}, "X-Amz-Tagging": {"a=b"}}, "", "s3:PutObject", []string{"s3:PutObjectAcl", "s3:PutObjectTagging"}, []string{obj}},
		{"PUT " + vh + "k?X-Amz-Signature=s&x-amz-acl=public-read", nil, "", "s3:PutObject", []string{"s3:PutObjectAcl"}, []string{obj}},
		{"POST " + vh + "k?uploads", http.Header{"X-Amz-Grant-Read": {"id=1"}, "X-Amz-Object-Lock-Mode": {"GOVERNANCE"}}, "", "s3:PutObject", []string{"s3:PutObjectAcl", "s3:PutObjectRetention"}, []string{obj}},
		{"PUT " + vh, http.Header{"X-Amz-Bucket-Object-Lock-Enabled": {"true"}}, "", "s3:CreateBucket", []string{"s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"}, []string{"arn:aws:s3:::b"}},
		{"DELETE " + vh + "k?versionId=v", http.Header{"X-Amz-Bypass-Governance-Retention": {"true"}}, "", "s3:DeleteObjectVersion", []string{"s3:BypassGovernanceRetention"}, []string{obj}},
		{"GET " + vh + "k?attributes", nil, "", "s3:GetObject", []string{"s3:GetObjectAttributes"}, []string{obj}},
		{"GET " + vh + "k?attributes&versionId=v", nil, "", "s3:GetObjectVersion", []string{"s3:GetObjectVersionAttributes"}, []string{obj}},
		{"PUT " + vh + "k", cp, "", "s3:PutObject", []string{"s3:GetObjectVersion"}, []string{obj, "arn:aws:s3:::src/a b"}},
		{"POST " + vh + "?delete", nil, "<Delete><Object><Key>k</Key><VersionId>v</VersionId></Object></Delete>", "s3:DeleteObject", []string{"s3:DeleteObjectVersion"}, []string{obj}},
		{"POST " + vh + "?delete", nil, "<Delete><Object>", "s3:DeleteObject", []string{"s3:DeleteObjectVersion"}, []string{"arn:aws:s3:::b/*"}},
		// Directory buckets: what is copied into one is read from wherever it is, and the other way round.
		{"PUT " + directory + "k", cp, "", "s3express:CreateSession", []string{"s3:GetObjectVersion"}, []string{directoryARN, "arn:aws:s3:::src/a b"}},
		{"PUT " + directory + "k?partNumber=1&uploadId=u", http.Header{"X-Amz-Copy-Source": {"src%2Fk"}}, "", "s3express:CreateSession", []string{"s3:GetObject"}, []string{directoryARN, "arn:aws:s3:::src/k"}},
		{"PUT " + directory + "k", fromDirectory, "", "s3express:CreateSession", nil, []string{directoryARN, "arn:aws:s3express:us-east-1:" + account + ":bucket/src--use1-az4--x-s3"}},
		{"PUT https://b.s3.us-east-1.amazonaws.com/k", fromDirectory, "", "s3:PutObject", []string{"s3express:CreateSession"}, []string{obj, "arn:aws:s3express:us-east-1:" + account + ":bucket/src--use1-az4--x-s3"}},
		{"GET https://ap-" + account + ".s3-object-lambda.eu-west-1.amazonaws.com/k", nil, "", "s3-object-lambda:GetObject", nil,
			[]string{"arn:aws:s3-object-lambda:eu-west-1:" + account + ":accesspoint/ap"}},
		{"POST https://route.s3-object-lambda.eu-west-1.amazonaws.com/WriteGetObjectResponse", nil, "", "s3-object-lambda:WriteGetObjectResponse", nil, nil},
		{"GET https://ap-" + account + ".op-1.s3-outposts.eu-west-1.amazonaws.com/a/k?versionId=v", nil, "", "s3-outposts:GetObjectVersion", nil,
			[]string{"arn:aws:s3-outposts:eu-west-1:" + account + ":outpost/op-1/accesspoint/ap/object/a/k"}},
		{"PUT https://ap-" + account + ".op-1.s3-outposts.eu-west-1.amazonaws.com/k", cp, "", "s3-outposts:PutObject", []string{"s3-outposts:GetObjectVersion"},
			[]string{"arn:aws:s3-outposts:eu-west-1:" + account + ":outpost/op-1/accesspoint/ap/object/k", "arn:aws:s3:::src/a b"}},
		{"POST https://ap-" + account + ".s3-accesspoint.eu-west-1.amazonaws.com/?delete", nil, "<Delete><Object><Key>k</Key></Object></Delete>", "s3:DeleteObject", nil,
			[]string{"arn:aws:s3:eu-west-1:" + account + ":accesspoint/ap/object/k"}},
		{"POST https://ap-" + account + ".op-1.s3-outposts.eu-west-1.amazonaws.com/?delete", nil, "<Delete><Object>", "s3-outposts:DeleteObject", []string{"s3-outposts:DeleteObjectVersion"},
			[]string{"arn:aws:s3-outposts:eu-west-1:" + account + ":outpost/op-1/accesspoint/ap/object/*"}},
		{"POST " + vh + "?delete", nil, deletion("team/é", "team/è", 101), "s3:DeleteObject", nil, []string{"arn:aws:s3:::b/team/*"}},
		{"POST " + vh + "?delete", nil, deletion("team/", "x", 101), "s3:DeleteObject", nil, []string{"arn:aws:s3:::b/*"}},
		// Access points by their aliases.
		{"GET https://ap-hrzrlukc5m36-s3alias.s3.eu-west-1.amazonaws.com/a/k", nil, "", "s3:GetObject", nil, []string{"arn:aws:s3:eu-west-1:*:accesspoint/*/object/a/k"}},
		{"GET " + ph + "ap-hrzrlukc5m36-s3alia%73?list-type=2", nil, "", "s3:ListBucket", nil, []string{"arn:aws:s3:eu-west-1:*:accesspoint/*"}},
		{"POST " + ph + "ap-hrzrlukc5m36-s3alias?delete", nil, "<Delete><Object><Key>k</Key></Object></Delete>", "s3:DeleteObject", nil, []string{"arn:aws:s3:eu-west-1:*:accesspoint/*/object/k"}},
		{"PUT " + vh + "k", http.Header{"X-Amz-Copy-Source": {"ap-hrzrlukc5m36-s3alias/a%20b"}}, "", "s3:PutObject", []string{"s3:GetObject"}, []string{obj, "arn:aws:s3:eu-west-1:*:accesspoint/*/object/a b"}},
		{"PUT " + vh + "k", http.Header{"X-Amz-Copy-Source": {"ap-hrzrlukc5m36-s3alias/a%2541"}}, "", "s3:PutObject", []string{"s3:GetObject"}, []string{obj, "arn:aws:s3:eu-west-1:*:accesspoint/*/object/a%41"}},
		{"PUT " + vh + "k", http.Header{"X-Amz-Copy-Source": {"ap-o0b1d075431d83bebde8xz5w8ijx1qzlbp3i3kuse10--op-s3%2Fa+b"}}, "", "s3:PutObject", []string{"s3:GetObject"},
			[]string{obj, "arn:aws:s3-outposts:eu-west-1:*:outpost/*/accesspoint/*/object/a+b", "arn:aws:s3-outposts:eu-west-1:*:outpost/*/accesspoint/*/object/a b"}},
		{"PUT " + vh + "k", http.Header{"X-Amz-Copy-Source": {"ap-1a4n8yjrb3kd--ol-s3/k"}}, "", "s3:PutObject", []string{"s3:GetObject"}, []string{obj, "arn:aws:s3-object-lambda:eu-west-1:*:accesspoint/*"}},
		{"GET https://ap-1a4n8yjrb3kd--ol-s3.s3.eu-west-1.amazonaws.com/k", nil, "", "s3-object-lambda:GetObject", nil, []string{"arn:aws:s3-object-lambda:eu-west-1:*:accesspoint/*"}},
		{"GET https://ap-o0b1d075431d83bebde8xz5w8ijx1qzlbp3i3kuse10--op-s3.op-0b1d075431d83bebd.s3-outposts.eu-west-1.amazonaws.com/k", nil, "", "s3-outposts:GetObject", nil,
			[]string{"arn:aws:s3-outposts:eu-west-1:*:outpost/op-0b1d075431d83bebd/accesspoint/*/object/k"}},
		{"GET https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com/k", nil, "", "s3:GetObject", nil,
			[]string{"arn:aws:s3::" + account + ":accesspoint/mfzwi23gnjvgw.mrap/object/k"}},
		{"GET https://b.s3-accelerate.dualstack.amazonaws.com/k", nil, "", "s3:GetObject", nil, []string{obj}},
		{"GET https://b.s3-fips.dualstack.us-gov-west-1.amazonaws.com/k", nil, "", "s3:GetObject", nil, []string{"arn:aws-us-gov:s3:::b/k"}},
		{"GET https://s3express-control.us-east-1.amazonaws.com/b--use1-az4--x-s3?policy", nil, "", "s3express:GetBucketPolicy", nil,
			[]string{"arn:aws:s3express:us-east-1:" + account + ":bucket/b--use1-az4--x-s3"}},
		{"GET https://ap--use1-az4--xa-s3.s3express-use1-az4.us-east-1.amazonaws.com/k", nil, "", "s3express:CreateSession", nil,
			[]string{"arn:aws:s3express:us-east-1:" + account + ":accesspoint/ap--use1-az4--xa-s3"}},
		{"DELETE https://" + account + ".s3-control.eu-west-1.amazonaws.com/v20180820/accesspoint/ap", nil, "", "s3:DeleteAccessPoint", nil,
			[]string{"arn:aws:s3:eu-west-1:" + account + ":accesspoint/ap"}},
		{"POST https://" + account + ".s3-control.eu-west-1.amazonaws.com/v20180820/tags/arn%3Aaws%3As3%3Aeu-west-1%3A" + account + "%3Aaccess-grants/default/location/l", nil, "", "s3:TagResource", nil,
			[]string{"arn:aws:s3:eu-west-1:" + account + ":access-grants/default/location/l"}},
		{"DELETE https://s3-outposts.eu-west-1.amazonaws.com/v20180820/accesspoint/ap", http.Header{"X-Amz-Outpost-Id": {"op-1"}, "X-Amz-Account-Id": {"999999999999"}}, "", "s3-outposts:DeleteAccessPoint", nil,
			[]string{"arn:aws:s3-outposts:eu-west-1:999999999999:outpost/op-1/accesspoint/ap"}},
	} {
		r := tab.Recognize(request(t, tab, c.line, c.header, c.body))
		if r.Action != c.action || !r.ActionKnown || r.Ambiguous {
			t.Errorf("%s: %s %s (known %v, ambiguous %v), want %s", c.line, r.Operation, r.Action, r.ActionKnown, r.Ambiguous, c.action)
		}
		if d := cmp.Diff(c.also, names(r.Also)); d != "" {
			t.Errorf("%s: also %s", c.line, d)
		}
		if d := cmp.Diff(c.resources, r.Resources); d != "" {
			t.Errorf("%s: %s", c.line, d)
		}
	}
	body := `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>x</Key></Object><Object><Key>y/z</Key></Object></Delete>`
	r := tab.Recognize(request(t, tab, "POST "+vh+"?delete", nil, body))
	if d := cmp.Diff([]string{"arn:aws:s3:::b/x", "arn:aws:s3:::b/y/z"}, r.Resources); d != "" || r.Action != "s3:DeleteObject" {
		t.Errorf("%s %s", r.Action, d)
	}
}

// deletion is a DeleteObjects of n objects called one, and of another.
func deletion(one, another string, n int) string {
	object := func(key string) string { return "<Object><Key>" + key + "</Key></Object>" }
	return "<Delete>" + strings.Repeat(object(one), n) + object(another) + "</Delete>"
}

func TestRecognizeOthers(t *testing.T) {
	tab := newTable(t)
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	jsonTarget := func(target string) http.Header {
		return http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {target}}
	}
	for _, c := range []struct {
		line      string
		header    http.Header
		body      string
		op        string
		action    string
		also      []string
		level     AccessLevel
		resources []string
	}{
		{"POST https://dynamodb.us-east-1.amazonaws.com/", jsonTarget("DynamoDB_20120810.GetItem"), `{"TableName":"t"}`,
			"GetItem", "dynamodb:GetItem", nil, Read, []string{"arn:aws:dynamodb:us-east-1:" + account + ":table/t"}},
		{"POST https://dynamodb.us-east-1.amazonaws.com/", jsonTarget("DynamoDB_20120810.TransactWriteItems"),
			`{"TransactItems":[{"Put":{"TableName":"t"}},{"Delete":{"TableName":"u"}}]}`,
			"TransactWriteItems", "dynamodb:PutItem", []string{"dynamodb:DeleteItem"}, Write,
			[]string{"arn:aws:dynamodb:us-east-1:" + account + ":table/t", "arn:aws:dynamodb:us-east-1:" + account + ":table/u"}},
		{"POST https://ec2.us-east-1.amazonaws.com/", form, "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1&InstanceId.2=i-2",
			"TerminateInstances", "ec2:TerminateInstances", nil, Write,
			[]string{"arn:aws:ec2:us-east-1:" + account + ":instance/i-1", "arn:aws:ec2:us-east-1:" + account + ":instance/i-2"}},
		{"GET https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15", nil, "",
			"GetCallerIdentity", "sts:GetCallerIdentity", nil, Read, nil},
		{"POST https://monitoring.us-east-1.amazonaws.com/service/GraniteServiceVersion20100801/operation/PutMetricData", nil, "",
			"PutMetricData", "cloudwatch:PutMetricData", nil, Write, nil},
		{"POST https://monitoring.us-east-1.amazonaws.com/v1/service/GraniteServiceVersion20100801/operation/PutMetricData", nil, "",
			"PutMetricData", "cloudwatch:PutMetricData", nil, Write, nil},
		{"POST https://monitoring.us-east-1.amazonaws.com/", form, "Action=PutMetricData", "PutMetricData", "cloudwatch:PutMetricData", nil, Write, nil},
		{"POST https://sqs.us-east-1.amazonaws.com/", jsonTarget("AmazonSQS.SendMessageBatch"), `{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/` + account + `/q"}`,
			"SendMessageBatch", "sqs:SendMessage", nil, Write, []string{"arn:aws:sqs:us-east-1:" + account + ":q"}},
		{"POST https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/f/invocations", nil, "",
			"Invoke", "lambda:InvokeFunction", nil, Write, []string{"arn:aws:lambda:us-east-1:" + account + ":function:f"}},
		{"POST https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A999999999999%3Afunction%3Af/invocations", nil, "",
			"Invoke", "lambda:InvokeFunction", nil, Write, []string{"arn:aws:lambda:us-east-1:999999999999:function:f"}},
		{"GET https://apigateway.us-east-1.amazonaws.com/restapis/x", nil, "", "GetRestApi", "apigateway:GET", nil, Read,
			[]string{"arn:aws:apigateway:us-east-1::/restapis/x"}},
		{"POST https://x1.execute-api.us-east-1.amazonaws.com/prod/pets/1", nil, "", "Invoke", "execute-api:Invoke", nil, Write,
			[]string{"arn:aws:execute-api:us-east-1:" + account + ":x1/prod/POST/pets/1"}},
		{"POST https://x1.execute-api.us-east-1.amazonaws.com/prod/@connections/L0SM9cOFvHcCIhw%3D", nil, "hello", "PostToConnection", "execute-api:ManageConnections", nil, Write,
			[]string{"arn:aws:execute-api:us-east-1:" + account + ":x1/prod/POST/@connections/L0SM9cOFvHcCIhw="}},
		{"DELETE https://x1.execute-api.us-east-1.amazonaws.com/prod/%40connections/c", nil, "", "DeleteConnection", "execute-api:ManageConnections", nil, Write,
			[]string{"arn:aws:execute-api:us-east-1:" + account + ":x1/prod/DELETE/@connections/c"}},
		{"PUT https://workspaces-web.us-east-1.amazonaws.com/portals/arn:aws:workspaces-web:us-east-1:" + account + ":portal/p/browserSettings", nil, "",
			"AssociateBrowserSettings", "workspaces-web:AssociateBrowserSettings", nil, Write, []string{"arn:aws:workspaces-web:us-east-1:" + account + ":portal/p"}},
		{"POST https://sns.us-east-1.amazonaws.com/", form, "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A" + account + "%3At&Message=m",
			"Publish", "sns:Publish", nil, Write, []string{"arn:aws:sns:us-east-1:" + account + ":t"}},
		{"GET https://eks.us-east-1.amazonaws.com/clusters/prod", nil, "", "DescribeCluster", "eks:DescribeCluster", nil, Read,
			[]string{"arn:aws:eks:us-east-1:" + account + ":cluster/prod"}},
		{"POST https://eks.us-east-1.amazonaws.com/clusters/prod/node-groups", http.Header{"Content-Type": {"application/json"}}, `{"nodegroupName":"n"}`,
			"CreateNodegroup", "eks:CreateNodegroup", nil, Write, []string{"arn:aws:eks:us-east-1:" + account + ":cluster/prod"}},
		{"POST https://ssm.us-east-1.amazonaws.com/", jsonTarget("AmazonSSM.GetParameters"), `{"Names":["/a/b","c"]}`,
			"GetParameters", "ssm:GetParameters", nil, Read, []string{"arn:aws:ssm:us-east-1:" + account + ":parameter/a/b", "arn:aws:ssm:us-east-1:" + account + ":parameter/c"}},
		{"POST https://rds.us-east-1.amazonaws.com/", form, "Action=DeleteDBInstance&Version=2014-10-31&DBInstanceIdentifier=db1",
			"DeleteDBInstance", "rds:DeleteDBInstance", nil, Write, []string{"arn:aws:rds:us-east-1:" + account + ":db:db1"}},
		{"POST https://redshift.us-east-1.amazonaws.com/", form, "Action=PauseCluster&Version=2012-12-01&ClusterIdentifier=c",
			"PauseCluster", "redshift:PauseCluster", nil, Write, []string{"arn:aws:redshift:us-east-1:" + account + ":cluster:c"}},
		{"POST https://ec2.us-east-1.amazonaws.com/", form, "Action=DeleteSecurityGroup&Version=2016-11-15&GroupId=sg-1",
			"DeleteSecurityGroup", "ec2:DeleteSecurityGroup", nil, Write, []string{"arn:aws:ec2:us-east-1:" + account + ":security-group/sg-1"}},
		{"POST https://glue.us-east-1.amazonaws.com/", jsonTarget("AWSGlue.GetJob"), `{"JobName":"j"}`,
			"GetJob", "glue:GetJob", nil, Read, []string{"arn:aws:glue:us-east-1:" + account + ":job/j"}},
		{"POST https://ecs.us-east-1.amazonaws.com/", jsonTarget("AmazonEC2ContainerServiceV20141113.UpdateService"), `{"cluster":"c","service":"s"}`,
			"UpdateService", "ecs:UpdateService", nil, Write, []string{"arn:aws:ecs:us-east-1:" + account + ":service/c/s"}},
		// A name that may be of something else names nothing.
		{"POST https://athena.us-east-1.amazonaws.com/", jsonTarget("AmazonAthena.CreateNamedQuery"), `{"Name":"q"}`,
			"CreateNamedQuery", "athena:CreateNamedQuery", nil, Write, nil},
		{"POST https://elasticloadbalancing.us-east-1.amazonaws.com/", form, "Action=DescribeTags&Version=2012-06-01",
			"DescribeTags", "elasticloadbalancing:DescribeTags", nil, Read, nil},
	} {
		r := tab.Recognize(request(t, tab, c.line, c.header, c.body))
		if r.Operation != c.op || r.Action != c.action || r.AccessLevel != c.level || r.Ambiguous {
			t.Errorf("%s: %s %s %s (ambiguous %v), want %s %s %s", c.line, r.Operation, r.Action, r.AccessLevel, r.Ambiguous, c.op, c.action, c.level)
		}
		if d := cmp.Diff(c.also, names(r.Also)); d != "" {
			t.Errorf("%s: also %s", c.line, d)
		}
		if d := cmp.Diff(c.resources, r.Resources); d != "" {
			t.Errorf("%s: resources %s", c.line, d)
		}
	}
}

// What could be read in two ways is told as such, and never as the harmless one.
func TestAmbiguous(t *testing.T) {
	tab := newTable(t)
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	both := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Amz-Target": {"AmazonSQS.ListQueues"}}
	target := http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {"DynamoDB_20120810.GetItem"}}
	cbor := http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}}
	for _, c := range []struct {
		line   string
		header http.Header
		body   string
	}{
		{"POST https://ec2.us-east-1.amazonaws.com/?Action=DescribeInstances", form, "Action=TerminateInstances"},
		{"POST https://ec2.us-east-1.amazonaws.com/", form, "Action=DescribeInstances&Action=TerminateInstances"},
		{"POST https://ec2.us-east-1.amazonaws.com/", form, "Action=DescribeInstances&%41ction=TerminateInstances"},
		{"POST https://sqs.us-east-1.amazonaws.com/", both, "Action=DeleteQueue&QueueUrl=x"},
		{"POST https://monitoring.us-east-1.amazonaws.com/v1/service/GraniteServiceVersion20100801/operation/DeleteAlarms?Action=ListMetrics", cbor, ""},
		{"POST https://monitoring.us-east-1.amazonaws.com/service/x.GraniteServiceVersion20100801/operation/DeleteAlarms?Action=ListMetrics", cbor, ""},
		{"POST https://cloudfront.amazonaws.com/2020-05-31/tagging?Operation=Tag&Operation=Untag&Resource=r", nil, ""},
		{"POST https://cloudfront.amazonaws.com/2020-05-31/tagging?Operation=Untag&Resource=r&%4Fperation=Tag", nil, ""},
		{"POST https://ec2.us-east-1.amazonaws.com/?Action=DescribeInstances", http.Header{"Content-Type": {"text/plain"}}, "Version=2016-11-15&Action=TerminateInstances"},
		{"PUT https://b.s3.us-east-1.amazonaws.com/k?tagging&acl", nil, ""},
		{"DELETE https://s3.us-east-1.amazonaws.com/b%2Fk", nil, ""},
		{"GET https://s3.us-east-1.amazonaws.com/b%2fk/x", nil, ""},
		{"POST https://dynamodb.us-east-1.amazonaws.com/", target, `{"TableName":"ok","TableName":"secret"}`},
		{"POST https://dynamodb.us-east-1.amazonaws.com/", target, `{"tableName":"ok","TableName":"secret"}`},
		{"POST https://dynamodb.us-east-1.amazonaws.com/", target, `{"TableName":"ok"}{"TableName":"secret"}`},
	} {
		if r := tab.Recognize(request(t, tab, c.line, c.header, c.body)); !r.Ambiguous {
			t.Errorf("%s %q: read as %s %v", c.line, c.body, r.Operation, r.Resources)
		}
	}
	// Nothing is told of a body that was not seen to its end.
	in := request(t, tab, "POST https://dynamodb.us-east-1.amazonaws.com/", target, `{"TableName":"ok",`)
	in.BodyComplete = false
	if r := tab.Recognize(in); r.Operation != "GetItem" || len(r.Resources) > 0 {
		t.Errorf("cut body: %s %v", r.Operation, r.Resources)
	}
}

// The name of an operation that goes on where no more was seen is none.
func TestCutAction(t *testing.T) {
	tab := newTable(t)
	for _, c := range []struct{ seen, want string }{
		{"UserName=a&Action=DeleteUser", ""}, {"Action=DeleteUser", ""}, {"Action=DeleteUser&UserName=a", "DeleteUser"}, {"UserName=a&Action=DeleteUser&", "DeleteUser"},
	} {
		in := request(t, tab, "POST https://iam.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, c.seen)
		in.BodyComplete = false
		if r := tab.Recognize(in); r.Operation != c.want {
			t.Errorf("%s…: read as %q", c.seen, r.Operation)
		}
	}
}

func lookups(t testing.TB, tab *Table) map[string]*Input {
	return map[string]*Input{
		"json": request(t, tab, "POST https://dynamodb.us-east-1.amazonaws.com/", http.Header{"X-Amz-Target": {"DynamoDB_20120810.GetItem"}}, ""),
		"query": request(t, tab, "POST https://ec2.us-east-1.amazonaws.com/",
			http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, "Action=DescribeInstances&Version=2016-11-15"),
		"rest": request(t, tab, "GET https://connect.us-east-1.amazonaws.com/users-summary/123", nil, ""),
		"s3":   request(t, tab, "GET https://b.s3.us-east-1.amazonaws.com/a/key?versionId=1", nil, ""),
		"cbor": request(t, tab, "POST https://monitoring.us-east-1.amazonaws.com/service/GraniteServiceVersion20100801/operation/PutMetricData", nil, ""),
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	tab := newTable(t)
	for name, in := range lookups(t, tab) {
		if r := tab.Lookup(in); r.Operation == "" {
			t.Errorf("%s: not recognised", name)
		}
		if n := testing.AllocsPerRun(100, func() { tab.Lookup(in) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	tab := newTable(b)
	for name, in := range lookups(b, tab) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tab.Lookup(in)
			}
		})
	}
}

func BenchmarkParseHost(b *testing.B) {
	tab := newTable(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tab.ParseHost("my-bucket.s3.eu-west-1.amazonaws.com"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzRecognize: nothing in a request makes it fail, and a JSON or query service
// is never read as another operation than the one named.
func FuzzRecognize(f *testing.F) {
	f.Add("POST", "dynamodb.us-east-1.amazonaws.com", "/", "", "DynamoDB_20120810.GetItem", "application/x-amz-json-1.0", []byte(`{"TableName":"t"}`))
	f.Add("POST", "ec2.us-east-1.amazonaws.com", "/", "Action=RunInstances", "", "application/x-www-form-urlencoded", []byte("Action=X"))
	f.Add("PUT", "workspaces-web.us-east-1.amazonaws.com", "/portals/a/b/c/browserSettings", "", "", "", []byte(nil))
	f.Add("GET", "b.s3.us-east-1.amazonaws.com", "//..%2f", "acl&%zz", "", "", []byte(nil))
	tab, err := New()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, host, path, query, target, ct string, body []byte) {
		h, err := tab.ParseHost(host)
		if err != nil {
			return
		}
		in := &Input{Method: method, Host: &h, Path: path, RawQuery: query, Body: body, BodyComplete: true, Account: account,
			Header: http.Header{"Content-Type": {ct}, "X-Amz-Target": {target}}}
		r := tab.Recognize(in)
		if r.Operation != "" && r.Action == "" {
			t.Fatalf("%s has no action", r.Operation)
		}
		if h.Endpoint == "dynamodb" && r.Operation != "" && target != "DynamoDB_20120810."+r.Operation && !strings.Contains(query+string(body)+path, "ction") {
			t.Fatalf("target %q read as %s", target, r.Operation)
		}
	})
}

// Role templates make roles with policies, of names that the template gives: which, is not told.
func TestRoleTemplates(t *testing.T) {
	tab := newTable(t)
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	const template = "arn:aws:iam::aws:role-template/iam.amazonaws.com/PowerUserRoleTemplate:1"
	for _, c := range []struct {
		op, body, action string
		level            AccessLevel
		also, resources  []string
	}{
		{"AcquireRole", "&TemplateArn=" + template + "&ReplacementValues.entry.1.key=RoleName&ReplacementValues.entry.1.value.Values.member.1=r", "iam:CreateRole", Permissions,
			[]string{"iam:AttachRolePolicy", "iam:PutRolePolicy", "iam:GetRoleTemplateVersion"}, nil},
		{"GetRoleTemplateVersion", "&TemplateArn=" + template, "iam:GetRoleTemplateVersion", Read, nil, nil},
		{"GetAccountProperties", "", "iam:GetAccountProperties", Read, nil, nil},
		{"PutAccountProperties", "", "iam:PutAccountProperties", Write, nil, nil},
	} {
		r := tab.Recognize(request(t, tab, "POST https://iam.amazonaws.com/", form, "Action="+c.op+"&Version=2010-05-08"+c.body))
		if r.Operation != c.op || r.Action != c.action || !r.ActionKnown || r.Strongest() != c.level || r.Ambiguous {
			t.Errorf("%s: %s %s %s (known %v, ambiguous %v)", c.op, r.Operation, r.Action, r.Strongest(), r.ActionKnown, r.Ambiguous)
		}
		if d := cmp.Diff(c.also, names(r.Also)); d != "" {
			t.Errorf("%s: also %s", c.op, d)
		}
		if d := cmp.Diff(c.resources, r.Resources); d != "" {
			t.Errorf("%s: resources %s", c.op, d)
		}
	}
}
