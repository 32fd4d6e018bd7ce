package proxy_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

func serveNothing(_ *proxy.Config, a *ststest.AWS) {
	a.Serve = func(http.ResponseWriter, *http.Request, ststest.Key) {}
}

// Too many requests are refused as S3 refuses them, nothing of them reaches AWS, and
// the record names the rule: for each kind of limit, by whoever's calls it counts.
func TestRateLimit(t *testing.T) {
	const user, role, device = "role engineer allows each user 1 requests per second and 2 at once",
		"role engineer allows all its users together 1 requests per second and 3 at once", "role engineer allows each user 1 requests per second and 1 at once"
	perUser, perRole := events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 2}, events.RateLimit{Role: "engineer", Per: "role", Rate: 1, Burst: 3}
	// Calls are by session: a and a2 are alice's, b is bob's. "+" lets a second pass.
	type call struct{ by, rule string }
	for _, w := range []struct {
		name   string
		limits []events.RateLimit
		calls  []call
	}{
		{"user", []events.RateLimit{perUser}, []call{{"a", ""}, {"a2", ""}, {"a", user}, {"a2", user}, {"b", ""}, {"b", ""}, {"b", user}, {"+", ""}, {"a2", ""}, {"a", user}, {"b", ""}}},
		{"role", []events.RateLimit{perRole}, []call{{"a", ""}, {"b", ""}, {"a2", ""}, {"b", role}, {"a", role}, {"+", ""}, {"b", ""}, {"a", role}}},
		{"user and role", []events.RateLimit{perUser, perRole}, []call{{"a", ""}, {"a2", ""}, {"a", user}, {"b", ""}, {"b", role}}},
		{"two roles", []events.RateLimit{{Role: "reader", Per: "role", Rate: 1, Burst: 5}, perUser}, []call{{"a", ""}, {"a", ""}, {"a", user}, {"b", ""}}},
		{"a kind of later versions", []events.RateLimit{{Role: "engineer", Per: "device", Rate: 1, Burst: 1}}, []call{{"a", ""}, {"a2", device}, {"b", ""}}},
	} {
		t.Run(w.name, func(t *testing.T) {
			var later atomic.Int64
			began := time.Now()
			r := newRig(t, serveNothing, func(c *proxy.Config, _ *ststest.AWS) {
				c.Now = func() time.Time { return began.Add(time.Duration(later.Load())) }
			})
			clients := map[string]*client{}
			for by, name := range map[string]string{"a": "alice", "a2": "alice", "b": "bob"} {
				clients[by] = r.clientAs(name, r.session(func(s *events.SessionStarted) { s.User, s.RateLimits = name, w.limits }).SessionID)
			}
			var passed int
			var slowed []string
			for i, call := range w.calls {
				if call.by == "+" {
					later.Add(int64(time.Second))
					continue
				}
				c := clients[call.by]
				resp, body := c.do(t, c.request(t, http.MethodGet, "https://b.s3.us-east-1.amazonaws.com/k", nil))
				if call.rule == "" {
					passed++
					if resp.StatusCode != http.StatusOK {
						t.Errorf("call %d: %d %s", i, resp.StatusCode, body)
					}
					continue
				}
				slowed = append(slowed, call.rule)
				if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "<Code>SlowDown</Code>") || !strings.Contains(body, call.rule) {
					t.Errorf("call %d: %d %s, want %s", i, resp.StatusCode, body, call.rule)
				}
			}
			es := r.audit()
			if n := len(payloads[*events.AWSRequestAdmitted](es)); n != passed {
				t.Errorf("%d admitted, %d passed", n, passed)
			}
			var recorded []string
			for _, d := range payloads[*events.AWSRequestDenied](es) {
				recorded = append(recorded, d.Rule)
				if d.Cause != "rate_limit" || d.Code != "SlowDown" {
					t.Errorf("recorded as %+v", d)
				}
			}
			if !slices.Equal(recorded, slowed) {
				t.Errorf("recorded by %q, want %q", recorded, slowed)
			}
			r.clean()
		})
	}
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
