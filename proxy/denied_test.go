package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/grants"
)

// A role that denies some resources refuses what may be about these, and nothing of other
// services.
func TestDeniedResources(t *testing.T) {
	r := newRig(t, withEcho)
	c := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{
			{Role: "narrow", Effect: "Allow", Actions: []string{"*"}},
			{Role: "narrow", Effect: "Deny", Resources: []string{"arn:aws:lambda:*:*:function:secret", "arn:aws:dynamodb:*:*:table/secret"}},
		}
	}))
	for _, w := range []struct {
		url    string
		denied string // part of the answer
	}{
		{"https://s3.us-east-1.amazonaws.com/", ""},
		{"https://ec2.us-east-1.amazonaws.com/?Action=DescribeInstances&Version=2016-11-15", ""},
		{"https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/", ""},
		{"https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/other", ""},
		{"https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/secret", "arn:aws:lambda:*:*:function:secret"},
		{"https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/a%2Fb:c:d:e", "cannot tell which resources"},
		{"https://tagging.us-east-1.amazonaws.com/", "postern cannot name"},
	} {
		resp, body := c.do(t, c.request(t, http.MethodGet, w.url, nil))
		if denied := resp.StatusCode == http.StatusForbidden; denied != (w.denied != "") || !strings.Contains(body, w.denied) {
			t.Errorf("%s: %d %s", w.url, resp.StatusCode, body)
		}
		if w.denied != "" && (strings.Contains(body, "request create") || !strings.Contains(body, "whoever may change role narrow")) {
			t.Errorf("%s: %s", w.url, body)
		}
	}
}

// The table and the decisions tell a call about nothing alike.
func TestNoService(t *testing.T) {
	if awsreq.NoService != grants.NoService {
		t.Errorf("%q and %q", awsreq.NoService, grants.NoService)
	}
}

// A session of another partition is at home there.
func TestHomePartition(t *testing.T) {
	r := newRig(t, withEcho)
	c := r.client(r.session(func(s *events.SessionStarted) {
		s.Partition, s.Region, s.AWSRoleARN = "aws-us-gov", "us-gov-west-1", "arn:aws-us-gov:iam::111122223333:role/dev"
	}))
	for _, url := range []string{"https://s3.us-gov-west-1.amazonaws.com/bucket/k", "https://sts.us-gov-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15"} {
		if resp, body := c.do(t, c.request(t, http.MethodGet, url, nil)); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", url, resp.StatusCode, body)
		}
	}
}
