package awsreq

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseHost(t *testing.T) {
	tab := newTable(t)
	for in, want := range map[string]Host{
		"ec2.us-east-1.amazonaws.com":        {Partition: "aws", Region: "us-east-1", SigningName: "ec2", SigningRegion: "us-east-1", Endpoint: "ec2"},
		"EC2.US-East-1.amazonaws.com:443":    {Partition: "aws", Region: "us-east-1", SigningName: "ec2", SigningRegion: "us-east-1", Endpoint: "ec2"},
		"ec2-fips.us-gov-west-1.api.aws":     {Partition: "aws-us-gov", Region: "us-gov-west-1", SigningName: "ec2", SigningRegion: "us-gov-west-1", Endpoint: "ec2", FIPS: true, DualStack: true},
		"iam.amazonaws.com":                  {Partition: "aws", SigningName: "iam", SigningRegion: "us-east-1", Endpoint: "iam"},
		"iam.us-gov.amazonaws.com":           {Partition: "aws-us-gov", SigningName: "iam", SigningRegion: "us-gov-west-1", Endpoint: "iam.us-gov"},
		"iam.cn-north-1.amazonaws.com.cn":    {Partition: "aws-cn", Region: "cn-north-1", SigningName: "iam", SigningRegion: "cn-north-1", Endpoint: "iam"},
		"sts.eusc-de-east-1.amazonaws.eu":    {Partition: "aws-eusc", Region: "eusc-de-east-1", SigningName: "sts", SigningRegion: "eusc-de-east-1", Endpoint: "sts"},
		"sts.us-iso-east-1.c2s.ic.gov":       {Partition: "aws-iso", Region: "us-iso-east-1", SigningName: "sts", SigningRegion: "us-iso-east-1", Endpoint: "sts"},
		"sts.us-isof-south-1.csp.hci.ic.gov": {Partition: "aws-iso-f", Region: "us-isof-south-1", SigningName: "sts", SigningRegion: "us-isof-south-1", Endpoint: "sts"},
		"sts.eu-isoe-west-1.cloud.adc-e.uk":  {Partition: "aws-iso-e", Region: "eu-isoe-west-1", SigningName: "sts", SigningRegion: "eu-isoe-west-1", Endpoint: "sts"},
		"queue.amazonaws.com":                {Partition: "aws", SigningName: "sqs", SigningRegion: "us-east-1", Endpoint: "sqs"},
		"us-west-2.queue.amazonaws.com":      {Partition: "aws", Region: "us-west-2", SigningName: "sqs", SigningRegion: "us-west-2", Endpoint: "sqs"},
		"api.sagemaker.eu-west-1.amazonaws.com": {Partition: "aws", Region: "eu-west-1", SigningName: "sagemaker",
			SigningRegion: "eu-west-1", Endpoint: "api.sagemaker"},
		"abc123.execute-api.us-east-1.amazonaws.com":    {Partition: "aws", Region: "us-east-1", SigningName: "execute-api", SigningRegion: "us-east-1", Endpoint: "execute-api", Label: "abc123"},
		"123456789012.ddb.us-east-1.amazonaws.com":      {Partition: "aws", Region: "us-east-1", SigningName: "dynamodb", SigningRegion: "us-east-1", Endpoint: "ddb", Label: "123456789012", AccountID: "123456789012"},
		"a1b2-ats.iot.us-east-1.amazonaws.com":          {Partition: "aws", Region: "us-east-1", SigningName: "iotdata", SigningRegion: "us-east-1", Endpoint: "iot", Label: "a1b2-ats"},
		"xyz.lambda-url.us-east-1.on.aws":               {Partition: "aws", Region: "us-east-1", SigningName: "lambda", SigningRegion: "us-east-1", Endpoint: "lambda-url", Label: "xyz", DualStack: true},
		"ab.cd.endpoint.events.amazonaws.com":           {},
		"abcd.endpoint.events.amazonaws.com":            {Partition: "aws", SigningName: "events", SigningRegion: "*", Endpoint: "endpoint.events", Label: "abcd"},
		"abcd1234.mediaconvert.us-west-2.amazonaws.com": {Partition: "aws", Region: "us-west-2", SigningName: "mediaconvert", SigningRegion: "us-west-2", Endpoint: "mediaconvert", Label: "abcd1234"},
		"workflows-omics.us-east-1.amazonaws.com":       {Partition: "aws", Region: "us-east-1", SigningName: "omics", SigningRegion: "us-east-1", Endpoint: "workflows-omics"},

		"s3.amazonaws.com":                          {Partition: "aws", SigningName: "s3", SigningRegion: "us-east-1", Endpoint: "s3", S3: S3Path},
		"s3.eu-west-1.amazonaws.com":                {Partition: "aws", Region: "eu-west-1", SigningName: "s3", SigningRegion: "eu-west-1", Endpoint: "s3", S3: S3Path},
		"my.dotted.bucket.s3.amazonaws.com":         {Partition: "aws", SigningName: "s3", SigningRegion: "us-east-1", Endpoint: "s3", S3: S3VirtualHost, Bucket: "my.dotted.bucket"},
		"b.s3.dualstack.us-west-2.amazonaws.com":    {Partition: "aws", Region: "us-west-2", SigningName: "s3", SigningRegion: "us-west-2", Endpoint: "s3", S3: S3VirtualHost, Bucket: "b", DualStack: true},
		"fips-data.s3-fips.us-west-2.amazonaws.com": {Partition: "aws", Region: "us-west-2", SigningName: "s3", SigningRegion: "us-west-2", Endpoint: "s3", S3: S3VirtualHost, Bucket: "fips-data", FIPS: true},
		"fips-data.s3.us-west-2.amazonaws.com":      {Partition: "aws", Region: "us-west-2", SigningName: "s3", SigningRegion: "us-west-2", Endpoint: "s3", S3: S3VirtualHost, Bucket: "fips-data"},
		"s3.us-east-1.s3.us-west-2.amazonaws.com":   {Partition: "aws", Region: "us-west-2", SigningName: "s3", SigningRegion: "us-west-2", Endpoint: "s3", S3: S3VirtualHost, Bucket: "s3.us-east-1"},
		"a.us-east-1.s3.amazonaws.com":              {Partition: "aws", SigningName: "s3", SigningRegion: "us-east-1", Endpoint: "s3", S3: S3VirtualHost, Bucket: "a.us-east-1"},
		"b.s3-us-west-2.amazonaws.com":              {Partition: "aws", Region: "us-west-2", SigningName: "s3", SigningRegion: "us-west-2", Endpoint: "s3-us-west-2", S3: S3VirtualHost, Bucket: "b"},
		"b.s3.cn-north-1.amazonaws.com.cn":          {Partition: "aws-cn", Region: "cn-north-1", SigningName: "s3", SigningRegion: "cn-north-1", Endpoint: "s3", S3: S3VirtualHost, Bucket: "b"},
		"b.s3-accelerate.amazonaws.com":             {Partition: "aws", SigningName: "s3", Endpoint: "s3-accelerate", S3: S3Accelerate, Bucket: "b"},
		"b.s3-accelerate.dualstack.amazonaws.com":   {Partition: "aws", SigningName: "s3", Endpoint: "s3-accelerate", S3: S3Accelerate, Bucket: "b", DualStack: true},
		"ap-123456789012.s3-accesspoint.us-east-1.amazonaws.com": {Partition: "aws", Region: "us-east-1", SigningName: "s3", SigningRegion: "us-east-1",
			Endpoint: "s3-accesspoint", S3: S3AccessPoint, Bucket: "ap", AccountID: "123456789012"},
		"my-ap-123456789012.s3-object-lambda.us-east-1.amazonaws.com": {Partition: "aws", Region: "us-east-1", SigningName: "s3-object-lambda", SigningRegion: "us-east-1",
			Endpoint: "s3-object-lambda", S3: S3ObjectLambda, Bucket: "my-ap", AccountID: "123456789012"},
		"ap-123456789012.op-01ac5d28a6a232904.s3-outposts.us-west-2.amazonaws.com": {Partition: "aws", Region: "us-west-2", SigningName: "s3-outposts", SigningRegion: "us-west-2",
			Endpoint: "s3-outposts", S3: S3Outposts, Bucket: "ap", AccountID: "123456789012", Outpost: "op-01ac5d28a6a232904"},
		"mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com": {Partition: "aws", SigningName: "s3", SigningRegion: "*", Endpoint: "s3-global", S3: S3MultiRegion, Bucket: "mfzwi23gnjvgw.mrap"},
		"b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com": {Partition: "aws", Region: "us-east-1", SigningName: "s3express", SigningRegion: "us-east-1",
			Endpoint: "s3express-use1-az4", S3: S3Express, Bucket: "b--use1-az4--x-s3"},
		"s3express-control.us-east-1.amazonaws.com":                                      {Partition: "aws", Region: "us-east-1", SigningName: "s3express", SigningRegion: "us-east-1", Endpoint: "s3express-control", S3: S3ExpressPath},
		"123456789012.s3-control.us-east-1.amazonaws.com":                                {Partition: "aws", Region: "us-east-1", SigningName: "s3", SigningRegion: "us-east-1", Endpoint: "s3-control", AccountID: "123456789012"},
		"b.bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com":                    {Partition: "aws", Region: "us-east-1", SigningName: "s3", SigningRegion: "us-east-1", Endpoint: "s3", S3: S3VirtualHost, Bucket: "b"},
		"vpce-1a2b3c4d-5e6f.ec2.us-east-1.vpce.amazonaws.com":                            {Partition: "aws", Region: "us-east-1", SigningName: "ec2", SigningRegion: "us-east-1", Endpoint: "ec2"},
		"ap-123456789012.accesspoint.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com": {Partition: "aws", Region: "us-east-1", SigningName: "s3", SigningRegion: "us-east-1", Endpoint: "s3", S3: S3AccessPoint, Bucket: "ap", AccountID: "123456789012"},
	} {
		got, err := tab.ParseHost(in)
		if want.Partition == "" {
			if !errors.Is(err, ErrNotAWS) {
				t.Errorf("%s: accepted", in)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		want.Name = strings.ToLower(strings.TrimSuffix(in, ":443"))
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Host{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", in, d)
		}
	}
}

// notAWS are names that belong to customers, to nobody, or to a reader's mistake.
var notAWS = []string{
	"", ".", "amazonaws.com", ".amazonaws.com", "evil.example", "amazonaws.com.evil.example",
	"ec2.us-east-1.amazonaws.com.evil.example", "ec2.us-east-1.amazonaws.com.", "ec2..us-east-1.amazonaws.com",
	"ec2.us-east-1.amazonaws.com:80", "ec2.us-east-1.amazonaws.com:443:443", "ec2.us-east-1.amazonaws.com:", "ec2.us-east-1.amazonaws.com:0443", "ec2.us-east-1.amazonaws.com:8443",
	"user@ec2.us-east-1.amazonaws.com", "evil.example@ec2.us-east-1.amazonaws.com", "ec2.us-east-1.amazonaws.com@evil.example",
	"evil.example/.amazonaws.com", "evil.example#.us-east-1.amazonaws.com", "evil.example?.us-east-1.amazonaws.com",
	"evil.example\\.us-east-1.amazonaws.com", "evil.example%2f.us-east-1.amazonaws.com", "evil.example%00.us-east-1.amazonaws.com",
	"evil.example\x00.us-east-1.amazonaws.com", "ec2.us-east-1.amazonaws.com\x00.evil.example", "ec2.us-east-1.amazonaws.com\n",
	" ec2.us-east-1.amazonaws.com", "ec2.us-east-1.amazonaws\uff0ecom", "ec2.us-east-1.amazonaw\u017f.com", "\u212ams.us-east-1.amazonaws.com",
	"[::1]", "127.0.0.1", "169.254.169.254", "localhost", "ec2.us-east-1.evilamazonaws.com", "evilamazonaws.com", "xapi.aws",
	"ec2-203-0-113-1.compute-1.amazonaws.com", "ec2-203-0-113-1.us-west-2.compute.amazonaws.com",
	"evil-1234.us-east-1.elb.amazonaws.com", "evil-1234.elb.us-east-1.amazonaws.com", "internal-x.us-east-1.elb.amazonaws.com",
	"db.c9akciq32.us-east-1.rds.amazonaws.com", "x.c2.us-east-1.redshift.amazonaws.com", "evil.cache.amazonaws.com",
	"vpce-0123-abcd.vpce-svc-0123.us-east-1.vpce.amazonaws.com", "b.s3-website-us-east-1.amazonaws.com", "b.s3-website.us-east-1.amazonaws.com",
	"x.us-east-1.on.aws", "evil.on.aws", "x.s3.evil.amazonaws.com", "b.s3-us-west-2.us-east-1.amazonaws.com",
	"-ec2.us-east-1.amazonaws.com", "ec2-.us-east-1.amazonaws.com", "xn--ec2-.us-east-1.amazonaws.com",
}

func TestParseHostRefuses(t *testing.T) {
	tab := newTable(t)
	for _, in := range append(notAWS, strings.Repeat("a.", 130)+"s3.amazonaws.com", strings.Repeat("a", 64)+".s3.amazonaws.com") {
		if h, err := tab.ParseHost(in); !errors.Is(err, ErrNotAWS) {
			t.Errorf("%q accepted as %+v", in, h)
		}
	}
}

// FuzzParseHost: whatever is accepted is, to every other reader of URLs, a name
// under one of AWS's domains.
func FuzzParseHost(f *testing.F) {
	for _, s := range notAWS {
		f.Add(s)
	}
	for _, s := range []string{"ec2.us-east-1.amazonaws.com", "b.s3.amazonaws.com:443", "iam.cn-north-1.amazonaws.com.cn", "ap-123456789012.s3-accesspoint.us-east-1.amazonaws.com", "x.execute-api.eusc-de-east-1.amazonaws.eu", "vpce-1.s3.us-east-1.vpce.amazonaws.com"} {
		f.Add(s)
	}
	tab, err := New()
	if err != nil {
		f.Fatal(err)
	}
	domains := []string{"amazonaws.com", "api.aws", "on.aws", "aws.amazon.com", "amazonaws.com.cn", "amazonwebservices.com.cn", "amazonaws.cn",
		"amazonaws-us-gov.com", "ic.gov", "sc2s.sgov.gov", "aws.scloud", "adc-e.uk", "amazonaws.eu", "amazonwebservices.eu"}
	f.Fuzz(func(t *testing.T, in string) {
		h, err := tab.ParseHost(in)
		if err != nil {
			if !errors.Is(err, ErrNotAWS) {
				t.Fatalf("%q: error of another kind: %v", in, err)
			}
			return
		}
		u, err := url.Parse("https://" + in + "/")
		if err != nil || u.User != nil || u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q accepted, but a URL with it reads %+v %v", in, u, err)
		}
		if !strings.EqualFold(u.Hostname(), h.Name) {
			t.Fatalf("%q: a URL reads host %q, we %q", in, u.Hostname(), h.Name)
		}
		if p := u.Port(); p != "" && p != "443" {
			t.Fatalf("%q: port %s", in, p)
		}
		if net.ParseIP(h.Name) != nil {
			t.Fatalf("%q is an address", in)
		}
		ok := false
		for _, d := range domains {
			ok = ok || strings.HasSuffix(h.Name, "."+d)
		}
		if !ok || strings.Contains(h.Name, ".compute") && h.S3 == NotS3 && h.Endpoint != "compute-optimizer" && strings.Contains(h.Name, ".compute.") {
			t.Fatalf("%q accepted as %+v", in, h)
		}
		if h.Partition == "" || h.SigningName == "" {
			t.Fatalf("%q: incomplete %+v", in, h)
		}
	})
}
