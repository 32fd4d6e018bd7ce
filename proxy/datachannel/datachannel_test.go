package datachannel_test

import (
	"testing"
	"time"

	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/datachannel"
)

func TestHosts(t *testing.T) {
	table, err := awsreq.New()
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"ssmmessages.us-east-1.amazonaws.com":          "us-east-1",
		"SSMMessages.eu-central-1.amazonaws.com":       "eu-central-1",
		"ssmmessages-fips.us-east-1.amazonaws.com":     "us-east-1",
		"ssmmessages.us-east-1.api.aws":                "us-east-1",
		"ssmmessages-fips.us-west-2.api.aws":           "us-west-2",
		"ssmmessages.cn-north-1.amazonaws.com.cn":      "cn-north-1",
		"ssmmessages.us-gov-west-1.amazonaws.com":      "us-gov-west-1",
		"ssmmessages.us-iso-east-1.c2s.ic.gov":         "us-iso-east-1",
		"ssmmessages.eusc-de-east-1.amazonaws.eu":      "eusc-de-east-1",
		"ssm.us-east-1.amazonaws.com":                  "",
		"ec2messages.us-east-1.amazonaws.com":          "",
		"s3.us-east-1.amazonaws.com":                   "",
		"ssmmessages.s3.us-east-1.amazonaws.com":       "", // a bucket
		"ssmmessages.us-east-1.amazonaws.com.evil.org": "",
		"ssmmessages.amazonaws.com":                    "",
		"x.ssmmessages.us-east-1.amazonaws.com":        "",
		"ssmmessages.us-east-1.elb.amazonaws.com":      "",
		"ssmmessages.execute-api.us-east-1.on.aws":     "",
	} {
		h, err := table.ParseHost(host)
		region := ""
		if err == nil && datachannel.Is(&h) {
			region = h.Region
		}
		if region != want {
			t.Errorf("%s: region %q, want %q (%+v, %v)", host, region, want, h, err)
		}
	}
}

func TestStarts(t *testing.T) {
	var s datachannel.Starts[string, int]
	t0 := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	take := func(key string, now time.Time, want int) {
		t.Helper()
		got, ok := s.Take(key, now)
		if got != want || ok != (want != 0) {
			t.Errorf("%d %t, want %d", got, ok, want)
		}
	}
	take("a", t0, 0)
	s.Add("a", 1, t0)
	s.Add("a", 2, t0.Add(time.Minute))
	s.Add("b", 3, t0.Add(time.Minute))
	take("a", t0.Add(2*time.Minute), 2)
	take("a", t0.Add(2*time.Minute), 1) // two at once: one each
	take("a", t0.Add(2*time.Minute), 2) // again: the latest
	take("b", t0.Add(time.Minute+datachannel.Window), 3)
	s.Add("a", 4, t0.Add(3*time.Minute))
	take("a", t0.Add(3*time.Minute), 4)
	take("a", t0.Add(3*time.Minute+datachannel.Window), 4)
	take("a", t0.Add(3*time.Minute+datachannel.Window+1), 0)
	take("b", t0.Add(time.Hour), 0)
}
