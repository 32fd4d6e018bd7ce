package local

import (
	"bufio"
	"strings"
	"testing"

	"github.com/posternhq/postern/events/eventstest/datatest"
	"github.com/posternhq/postern/proxy/awsreq"
)

func testHelper(t *testing.T) *Helper {
	t.Helper()
	table, err := awsreq.New()
	if err != nil {
		t.Fatal(err)
	}
	return &Helper{cfg: Config{Table: table}}
}

func TestIsAWS(t *testing.T) {
	h := testHelper(t)
	for host, want := range map[string]bool{
		"sts.amazonaws.com": true,
		"bucket.with.dots.s3.eu-central-1.amazonaws.com":          true,
		"s3.cn-north-1.amazonaws.com.cn":                          true,
		"lambda.us-east-1.api.aws":                                true,
		"abc.execute-api.us-east-1.amazonaws.com":                 true,
		"elasticloadbalancing.us-east-1.amazonaws.com":            true,
		"eks.us-east-1.amazonaws.com":                             true,
		"rds.us-east-1.amazonaws.com":                             true,
		"amazonaws.com":                                           false,
		"evilamazonaws.com":                                       false,
		"amazonaws.com.evil.example":                              false,
		"169.254.169.254":                                         false,
		"fd00:ec2::254":                                           false,
		"169.254.170.2":                                           false,
		"registry.terraform.io":                                   false,
		"lb-1.us-east-1.elb.amazonaws.com":                        false,
		"nlb-1.elb.us-east-1.amazonaws.com":                       false,
		"ec2-1-2-3-4.compute-1.amazonaws.com":                     false,
		"db.abc.us-east-1.rds.amazonaws.com":                      false,
		"0123.gr7.us-east-1.eks.amazonaws.com":                    false,
		"111122223333.dkr.ecr.us-east-1.amazonaws.com":            false,
		"dom-111122223333.d.codeartifact.us-east-1.amazonaws.com": false,
		"docs.aws.amazon.com":                                     false,
	} {
		if got := h.isAWS(host); got != want {
			t.Errorf("isAWS(%s) = %t", host, got)
		}
	}
}

// Every host at which AWS's clients look for an API is intercepted.
func TestIsAWSEndpoints(t *testing.T) {
	s := bufio.NewScanner(datatest.Gunzip(t, "data/aws-endpoints.tsv.gz"))
	h := testHelper(t)
	hosts := 0
	for s.Scan() {
		host := strings.Split(s.Text(), "\t")[9]
		if host == "hostname" || strings.HasPrefix(host, "{") {
			continue
		}
		host = strings.NewReplacer("{", "", "}", "").Replace(strings.ToLower(host))
		hosts++
		constrained := false
		for _, d := range awsDomains() {
			constrained = constrained || strings.HasSuffix(host, "."+d)
		}
		if !h.isAWS(host) || !constrained {
			t.Errorf("%s is not seen as AWS's, or outside of the local CA's constraints: %s", host, s.Text())
		}
	}
	if err := s.Err(); err != nil || hosts < 1000 {
		t.Errorf("%d hosts, error %v", hosts, err)
	}
}
