package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

func serveNothing(_ *proxy.Config, a *ststest.AWS) {
	a.Serve = func(http.ResponseWriter, *http.Request, ststest.Key) {}
}

// Too many requests are refused as S3 refuses them, nothing of them reaches AWS,
// and the record names the rule.
func TestRateLimit(t *testing.T) {
	r := newRig(t, serveNothing)
	c := r.client(r.session(func(s *events.SessionStarted) {
		s.RateLimits = []events.RateLimit{{Role: "engineer", Per: "user", Rate: 1, Burst: 2}}
	}))
	passed, slowed := 0, 0
	for range 5 {
		resp, body := c.do(t, c.request(t, http.MethodGet, "https://b.s3.us-east-1.amazonaws.com/k", nil))
		switch {
		case resp.StatusCode == http.StatusOK:
			passed++
		case resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, "<Code>SlowDown</Code>") && strings.Contains(body, "role engineer allows each user 1 requests per second"):
			slowed++
		default:
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if passed < 2 || slowed == 0 {
		t.Errorf("%d passed, %d were slowed down", passed, slowed)
	}
	es := r.audit()
	if n := len(payloads[*events.AWSRequestAdmitted](es)); n != passed {
		t.Errorf("%d admitted, %d passed", n, passed)
	}
	denied := payloads[*events.AWSRequestDenied](es)
	if len(denied) != slowed {
		t.Fatalf("%d denied, %d slowed down", len(denied), slowed)
	}
	if d := denied[0]; d.Cause != "rate_limit" || d.Code != "SlowDown" || !strings.HasPrefix(d.Rule, "role engineer allows each user") {
		t.Errorf("recorded as %+v", d)
	}
	r.clean()
}

// What a role in dry run would refuse passes, and its admitted event says so.
func TestDryRun(t *testing.T) {
	r := newRig(t, serveNothing)
	c := r.client(r.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Role: "reader", Effect: "Allow", Actions: []string{"s3:Get*"}, DryRun: true}}
	}))
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if resp, body := c.do(t, c.request(t, method, "https://b.s3.us-east-1.amazonaws.com/k", nil)); resp.StatusCode >= 300 {
			t.Fatalf("%s: %d %s", method, resp.StatusCode, body)
		}
	}
	admitted := payloads[*events.AWSRequestAdmitted](r.audit())
	if len(admitted) != 2 || admitted[0].DryRun != nil {
		t.Fatalf("%+v", admitted)
	}
	if d := admitted[1].DryRun; d == nil || d.Rule != "no role of the session allows it" || !strings.Contains(d.Reason, "s3:DeleteObject on arn:aws:s3:::b/k") {
		t.Errorf("dry run of the DELETE: %+v", d)
	}
	r.clean()
}
