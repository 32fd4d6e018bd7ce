package simaws

import (
	"bufio"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

func TestParseHost(t *testing.T) {
	api := func(service, region, partition, bucket string, global bool) endpoint {
		return endpoint{service: service, region: region, partition: partition, bucket: bucket, global: global}
	}
	for host, want := range map[string]endpoint{
		"sts.amazonaws.com":                                       api("sts", "us-east-1", "aws", "", true),
		"sts.eu-west-1.amazonaws.com:443":                         api("sts", "eu-west-1", "aws", "", false),
		"sts-fips.us-east-1.amazonaws.com":                        api("sts", "us-east-1", "aws", "", false),
		"STS.cn-north-1.amazonaws.com.cn":                         api("sts", "cn-north-1", "aws-cn", "", false),
		"sts.us-gov-west-1.amazonaws.com":                         api("sts", "us-gov-west-1", "aws-us-gov", "", false),
		"iam.us-gov.amazonaws.com":                                api("iam", "us-gov-west-1", "aws-us-gov", "", true),
		"iam.cn-north-1.amazonaws.com.cn":                         api("iam", "cn-north-1", "aws-cn", "", false),
		"s3.amazonaws.com":                                        api("s3", "us-east-1", "aws", "", true),
		"b.s3.us-east-1.amazonaws.com":                            api("s3", "us-east-1", "aws", "b", false),
		"a.b.c.s3.dualstack.eu-west-1.amazonaws.com":              api("s3", "eu-west-1", "aws", "a.b.c", false),
		"b.us-east-1.s3.eu-west-1.amazonaws.com":                  api("s3", "eu-west-1", "aws", "b.us-east-1", false),
		"b.s3-us-west-2.amazonaws.com":                            api("s3", "us-west-2", "aws", "b", false),
		"b.s3-fips.us-gov-east-1.amazonaws.com":                   api("s3", "us-gov-east-1", "aws-us-gov", "b", false),
		"123456789012.ddb.us-east-1.amazonaws.com":                api("dynamodb", "us-east-1", "aws", "", false),
		"api.ecr.us-east-1.amazonaws.com":                         api("ecr", "us-east-1", "aws", "", false),
		"abc123.execute-api.us-east-1.amazonaws.com":              api("execute-api", "us-east-1", "aws", "", false),
		"aps-workspaces.us-east-1.amazonaws.com":                  api("aps", "us-east-1", "aws", "", false),
		"0f.livy.emr-serverless-services.us-east-1.amazonaws.com": api("emr-serverless", "us-east-1", "aws", "", false),
		"us-west-2.queue.amazonaws.com":                           api("sqs", "us-west-2", "aws", "", false),
		"search-x.us-east-1.es.amazonaws.com":                     api("es", "us-east-1", "aws", "", false),
		"ec2.us-east-1.api.aws":                                   api("ec2", "us-east-1", "aws", "", false),
		"organizations.us-east-2.amazonaws.com":                   {service: "organizations", region: "us-east-1", regionToo: "us-east-2", partition: "aws", global: true},
		"123456789012.s3-control.us-east-1.amazonaws.com":         {service: "s3", region: "us-east-1", partition: "aws", control: true},
		"signin.aws.amazon.com":                                   {kind: hostSignin, service: "signin", region: "us-east-1", partition: "aws", global: true},
		"us-west-2.signin.aws.amazon.com":                         {kind: hostSignin, service: "signin", region: "us-west-2", partition: "aws"},
		"signin.amazonaws.cn":                                     {kind: hostSignin, service: "signin", region: "cn-northwest-1", partition: "aws-cn", global: true},
		"signin.amazonaws-us-gov.com":                             {kind: hostSignin, service: "signin", region: "us-gov-west-1", partition: "aws-us-gov", global: true},
		"us-east-1.console.aws.amazon.com":                        {kind: hostConsole, service: "signin", region: "us-east-1", partition: "aws"},
		"127.0.0.1:4443":                                          {kind: hostLocal, partition: "aws"},
		"[::1]:4443":                                              {kind: hostLocal, partition: "aws"},
	} {
		got, ok := parseHost(host)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(endpoint{})); !ok || diff != "" {
			t.Errorf("%s: %v %s", host, ok, diff)
		}
	}
	for _, host := range []string{"", "example.com", "amazonaws.com", ".amazonaws.com", "sts.amazonaws.com.evil.com", "evilamazonaws.com", "s3.amazonaws.com.", "10.0.0.1", "notsignin.aws.amazon.com.evil.test"} {
		if got, ok := parseHost(host); ok {
			t.Errorf("%q is taken for AWS's: %+v", host, got)
		}
	}
}

// TestEndpoints: every host of botocore's endpoint rules leads to the name and
// region that its service signs with.
func TestEndpoints(t *testing.T) {
	lines := bufio.NewScanner(datatest.Gunzip(t, "data/aws-endpoints.tsv.gz"))
	lines.Scan()
	col := map[string]int{}
	for i, name := range strings.Split(lines.Text(), "\t") {
		col[name] = i
	}
	checked, wrong := 0, map[string]string{}
	for lines.Scan() {
		row := strings.Split(lines.Text(), "\t")
		region := row[col["region"]]
		// A pseudo region such as aws-global, and FIPS or dual-stack names that
		// the rules put together for services that have none, are no hosts that
		// a client reaches.
		if strings.HasPrefix(row[col["auth"]], "bearer") || strings.HasSuffix(region, "-global") || row[col["variant"]] != "-" || row[col["source"]] != "ruleset" {
			continue
		}
		// Three global services have one host name for two partitions, by the
		// rules; by name it is the larger partition's.
		if s := row[col["service"]]; row[col["partition"]] != "aws" && (s == "budgets" || s == "cloudfront" || s == "importexport") {
			continue
		}
		ep, ok := parseHost(row[col["hostname"]])
		name := row[col["signing_name"]]
		checked++
		if !ok || ep.service != name && alsoSigns[ep.service] != name || ep.region != row[col["signing_region"]] && ep.regionToo != row[col["signing_region"]] {
			wrong[row[col["service"]]] = row[col["hostname"]] + " signs as " + name + " in " + row[col["signing_region"]] + ", taken for " + ep.service + " in " + ep.region
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for service, w := range wrong {
		t.Errorf("%s: %s", service, w)
	}
	if checked < 5000 {
		t.Errorf("only %d hosts checked", checked)
	}
}

// FuzzHost: no name outside AWS's domains is ever taken for AWS's.
func FuzzHost(f *testing.F) {
	for _, h := range []string{"sts.amazonaws.com", "b.s3.us-east-1.amazonaws.com", "signin.aws.amazon.com", "[::1]:1", "a..amazonaws.com", "us-gov.amazonaws.com", "dualstack.us-east-1.api.aws"} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, host string) {
		ep, ok := parseHost(host)
		if !ok || ep.kind == hostLocal {
			return
		}
		h := strings.ToLower(host)
		if i := strings.LastIndexByte(h, ':'); i >= 0 {
			h = h[:i]
		}
		h = strings.Trim(h, "[]")
		for _, s := range suffixes {
			if strings.HasSuffix(h, s.suffix) {
				return
			}
		}
		for _, d := range []string{"aws.amazon.com", "amazonaws.cn", "amazonaws-us-gov.com"} {
			if strings.HasSuffix(h, "."+d) {
				return
			}
		}
		t.Errorf("%q is taken for %+v", host, ep)
	})
}
