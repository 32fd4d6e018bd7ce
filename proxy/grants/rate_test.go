package grants_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

func limitedSession(id, user string, limits ...events.RateLimit) *events.SessionStarted {
	s := session(id, user)
	s.RateLimits = limits
	return s
}

func TestRateLimits(t *testing.T) {
	perUser := events.RateLimit{Role: "engineer", Per: "user", Rate: 10, Burst: 3}
	perRole := events.RateLimit{Role: "engineer", Per: "role", Rate: 10, Burst: 4}
	type call struct {
		session, user string
		at            time.Duration
		want          bool
	}
	for _, c := range []struct {
		name  string
		given []events.Payload
		calls []call
	}{
		{"a burst, and then the rate", []events.Payload{limitedSession("s", "alice", perUser)}, []call{
			{"s", "alice", 0, true}, {"s", "alice", 0, true}, {"s", "alice", 0, true}, {"s", "alice", 0, false},
			{"s", "alice", 99 * time.Millisecond, false}, {"s", "alice", 100 * time.Millisecond, true}, {"s", "alice", 100 * time.Millisecond, false},
			{"s", "alice", time.Minute, true}, {"s", "alice", time.Minute, true}, {"s", "alice", time.Minute, true}, {"s", "alice", time.Minute, false},
		}},
		{"a user's sessions count together, users do not", []events.Payload{limitedSession("s", "alice", perUser), limitedSession("t", "alice", perUser), limitedSession("b", "bob", perUser)}, []call{
			{"s", "alice", 0, true}, {"t", "alice", 0, true}, {"s", "alice", 0, true}, {"t", "alice", 0, false}, {"b", "bob", 0, true},
		}},
		{"all users of a role together", []events.Payload{limitedSession("s", "alice", perUser, perRole), limitedSession("b", "bob", perUser, perRole)}, []call{
			{"s", "alice", 0, true}, {"s", "alice", 0, true}, {"s", "alice", 0, true}, {"s", "alice", 0, false}, // refused by her own limit,
			{"b", "bob", 0, true}, {"b", "bob", 0, false}, // so the role has one left
		}},
		{"a clock that goes back gives nothing away", []events.Payload{limitedSession("s", "alice", perUser)}, []call{
			{"s", "alice", time.Second, true}, {"s", "alice", 0, false}, {"s", "alice", time.Second, true},
		}},
		{"what this version does not know bounds each user", []events.Payload{limitedSession("s", "alice", events.RateLimit{Role: "engineer", Per: "device", Rate: 1, Burst: 1})}, []call{
			{"s", "alice", 0, true}, {"s", "alice", 0, false},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := grants.New("p")
			g.Fresh()
			fold(t, g, c.given...)
			for i, call := range c.calls {
				d := g.Check(call.session, call.user, grants.Call{}, t0.Add(call.at))
				if d.Allowed != call.want || !d.Allowed && (d.Cause() != grants.CauseRate || !strings.HasPrefix(d.Rule(), "role engineer allows ")) {
					t.Errorf("call %d: allowed %v, %s %s", i, d.Allowed, d.Cause(), d.Rule())
				}
			}
		})
	}
}

// What the permissions refuse counts against no limit.
func TestRefusedCallsAreFree(t *testing.T) {
	g := grants.New("p")
	g.Fresh()
	s := limitedSession("s", "alice", events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 1})
	s.Permissions = []events.Permission{{Role: "engineer", Effect: "Allow", Actions: []string{"@Read"}}}
	fold(t, g, s)
	for range 5 {
		if d := g.Check("s", "alice", grants.Call{Action: "s3:PutObject", AccessLevel: "Write"}, t0); d.Cause() != grants.CauseRule {
			t.Fatal(d.Reason())
		}
	}
	if d := g.Check("s", "alice", grants.Call{Action: "s3:GetObject", AccessLevel: "Read"}, t0); !d.Allowed {
		t.Error(d.Reason())
	}
}

// However many come at once, the burst and no more gets through.
func TestRateLimitUnderConcurrency(t *testing.T) {
	g := grants.New("p")
	g.Fresh()
	fold(t, g, limitedSession("s", "alice", events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 100}))
	var through atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if d := g.Check("s", "alice", grants.Call{}, t0); d.Allowed {
					through.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := through.Load(); n != 100 {
		t.Errorf("%d of 800 calls at one instant passed a burst of 100", n)
	}
}

func TestDryRun(t *testing.T) {
	dry := func(p events.Permission) events.Permission { p.DryRun = true; return p }
	reads := events.Permission{Role: "reader", Effect: "Allow", Actions: []string{"@Read"}}
	noDeletes := events.Permission{Role: "guard", Effect: "Deny", Actions: []string{"s3:Delete*"}}
	all := events.Permission{Role: "engineer", Effect: "Allow"}
	del := grants.Call{Action: "s3:DeleteObject", AccessLevel: "Write", Resources: []string{"arn:aws:s3:::b/k"}, Region: "us-east-1"}
	get := grants.Call{Action: "s3:GetObject", AccessLevel: "Read", Resources: []string{"arn:aws:s3:::b/k"}, Region: "us-east-1"}
	for _, c := range []struct {
		name  string
		perms []events.Permission
		call  grants.Call
		cause string // "" allows
		rule  string // that dry run names, "" none
	}{
		{"allowed anyhow", []events.Permission{dry(reads)}, get, "", ""},
		{"would not be allowed", []events.Permission{dry(reads)}, del, "", "no role of the session allows it"},
		{"would be denied", []events.Permission{all, dry(noDeletes)}, del, "", "role guard denies s3:Delete*"},
		{"another role allows it", []events.Permission{dry(reads), {Role: "cleaner", Effect: "Allow", Actions: []string{"s3:Delete*"}}}, del, "", ""},
		{"enforced rules hold", []events.Permission{dry(reads), noDeletes}, del, grants.CauseRule, ""},
		{"nothing in dry run", []events.Permission{all}, del, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := grants.New("p")
			g.Fresh()
			s := session("s", "alice")
			s.Permissions = c.perms
			fold(t, g, s)
			d := g.Check("s", "alice", c.call, t0)
			if d.Cause() != c.cause {
				t.Fatalf("%s: %s", d.Cause(), d.Reason())
			}
			would := d.DryRun(&c.call)
			if would == nil && c.rule != "" || would != nil && (would.Rule != c.rule || would.Reason == "") {
				t.Errorf("dry run says %+v, want rule %q", would, c.rule)
			}
		})
	}
}
