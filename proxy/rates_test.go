package proxy_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// pair is two proxies on one NATS server, whose clocks stand until they are moved on,
// and do not agree.
type pair struct {
	*rig
	t      *testing.T
	server *embedded.NATS
	admin  *nats.Conn
	both   [2]*proxy.Proxy
	later  atomic.Int64
}

// newPair starts them, the second with a key and permissions that may be others.
func newPair(t *testing.T, keys [2][]byte, second embedded.Permissions) *pair {
	t.Helper()
	p := &pair{t: t, server: embeddedtest.StartNATS(t)}
	p.admin = embeddedtest.Connect(t, p.server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), p.admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	with := func(i int) func(*proxy.Config) {
		return func(c *proxy.Config) {
			c.Name = fmt.Sprintf("p%d", i)
			c.TicketKeys = func() [][]byte { return [][]byte{keys[i]} }
			c.Now = func() time.Time { return began.Add(time.Duration(i)*time.Minute + time.Duration(p.later.Load())) }
			c.MaxSilence = time.Hour // their clocks leap
			c.Log = zerolog.Nop()
		}
	}
	p.rig = newRigOn(t, embeddedtest.Connect(t, p.server, "p0", embedded.Proxy()), eventstest.Open(t, p.admin), serveNothing,
		func(c *proxy.Config, _ *ststest.AWS) { with(0)(c) })
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	j, err := journal.New(embeddedtest.Connect(t, p.server, "p1", second, quiet), "/postern/proxy/p1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := proxy.New(p.config(func(c *proxy.Config) { with(1)(c); c.Journal = j }))
	if err != nil {
		t.Fatal(err)
	}
	other.SetPatience(time.Minute)
	embeddedtest.Run(t, other)
	p.both = [2]*proxy.Proxy{p.p, other}
	return p
}

func oneKey() (keys [2][]byte) {
	keys[0] = make([]byte, 32)
	rand.Read(keys[0])
	keys[1] = keys[0]
	return keys
}

// limited starts a session, which both proxies know.
func (p *pair) limited(user string, limits ...events.RateLimit) string {
	s := p.session(func(s *events.SessionStarted) { s.User, s.RateLimits = user, limits })
	p.eventually("both know it", func() bool { return p.both[1].Seq() >= p.both[0].Seq() })
	return s.SessionID
}

// caller asks one of the proxies, and tells whether it let the call through.
func (p *pair) caller(at int, user, session string) func() bool {
	c := p.clientAs(user, session)
	c.Client = &http.Client{Transport: p.transportTo(user, p.both[at].Addr)}
	return func() bool {
		resp, body := c.do(p.t, c.request(p.t, http.MethodGet, "https://b.s3.us-east-1.amazonaws.com/k", nil))
		if resp.StatusCode != http.StatusOK && !strings.Contains(body, "<Code>SlowDown</Code>") {
			p.t.Errorf("%d %s", resp.StatusCode, body)
		}
		return resp.StatusCode == http.StatusOK
	}
}

// passes counts which of so many calls one after the other pass.
func passes(call func() bool, of int) (n int) {
	for range of {
		if call() {
			n++
		}
	}
	return n
}

// told waits until each proxy has heard of so many calls of the other.
func (p *pair) told(first, second int) {
	p.t.Helper()
	p.eventually("the proxies are told", func() bool {
		byFirst, _ := p.both[0].RateCalls()
		bySecond, _ := p.both[1].RateCalls()
		return bySecond >= first && byFirst >= second
	})
}

// A limit is one for both proxies: for each user, wherever the user asks, and for all
// users of a role. That their clocks do not agree is nothing to them.
func TestRateLimitOfSeveralProxies(t *testing.T) {
	perUser, perRole := events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 3}, events.RateLimit{Role: "engineer", Per: "role", Rate: 1, Burst: 3}
	for _, w := range []struct {
		name   string
		limit  events.RateLimit
		second string
	}{{"user", perUser, "alice"}, {"role", perRole, "bob"}} {
		t.Run(w.name, func(t *testing.T) {
			p := newPair(t, oneKey(), embedded.Proxy())
			calls := [2]func() bool{p.caller(0, "alice", p.limited("alice", w.limit)), p.caller(1, w.second, p.limited(w.second, w.limit))}
			var passed [2]int
			for i, step := range []struct {
				at   int
				want bool
			}{
				{0, true}, {1, true}, {1, true}, {0, false}, {1, false}, // the burst is three, wherever
				{-1, false}, {0, true}, {1, false}, {0, false},
				{-1, false}, {1, true}, {0, false}, {1, false},
			} {
				if step.at < 0 {
					p.later.Add(int64(time.Second))
					continue
				}
				got := calls[step.at]()
				if got != step.want {
					t.Fatalf("step %d, at proxy %d: let through %v, want %v", i, step.at, got, step.want)
				}
				if got {
					passed[step.at]++
					p.told(passed[0], passed[1])
				}
			}
			// Who is bounded by nothing that is shared is as before.
			if other := p.caller(1, "carol", p.limited("carol", events.RateLimit{Role: "reader", Per: "user", Rate: 1, Burst: 1})); !other() || other() {
				t.Error("another role's limit is its own")
			}
			p.clean()
		})
	}
}

// What both let through before they hear of one another is made up for: after a time
// no more has passed than the limit allows for that time.
func TestRateLimitAtOnce(t *testing.T) {
	const burst = 20
	p := newPair(t, oneKey(), embedded.Proxy())
	id := p.limited("alice", events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: burst})
	var passed [2]atomic.Int64
	var wg sync.WaitGroup
	for at := range passed {
		for range 4 {
			call := p.caller(at, "alice", id)
			wg.Go(func() {
				for range burst {
					if call() {
						passed[at].Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	first, second := int(passed[0].Load()), int(passed[1].Load())
	p.told(first, second)
	sum := first + second
	t.Logf("%d and %d passed at once, of %d that the limit allows", first, second, burst)
	if sum < burst || sum > 2*burst {
		t.Fatalf("%d passed, want %d and at most as many again before the proxies hear of one another", sum, burst)
	}
	calls := [2]func() bool{p.caller(0, "alice", id), p.caller(1, "alice", id)}
	p.later.Add(int64(sum-burst) * int64(time.Second))
	if calls[0]() || calls[1]() {
		t.Errorf("a call passes before the limit allows the %d that did", sum)
	}
	p.later.Add(int64(time.Second))
	if !calls[1]() {
		t.Error("then one is due")
	}
	p.told(first, second+1)
	if calls[0]() || calls[1]() {
		t.Error("and no more")
	}
	p.clean()
}

// A proxy that the others can't tell anything keeps the limit by itself and refuses
// nothing else.
func TestRateLimitAlone(t *testing.T) {
	others := oneKey()
	others[1] = make([]byte, 32)
	mute := embedded.Proxy()
	mute.Sub = nil
	for n, i := len(mute.Pub), 0; i < n; i++ {
		if mute.Pub[i] == "postern.rates" {
			mute.Pub = append(mute.Pub[:i:i], mute.Pub[i+1:]...)
			break
		}
	}
	for _, w := range []struct {
		name    string
		keys    [2][]byte
		perms   embedded.Permissions
		ignores bool
	}{
		{"another key", others, embedded.Proxy(), true},
		{"without the permission", oneKey(), mute, false},
	} {
		t.Run(w.name, func(t *testing.T) {
			p := newPair(t, w.keys, w.perms)
			id := p.limited("alice", events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 2})
			heard, err := p.admin.SubscribeSync("postern.rates")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.admin.Flush(); err != nil {
				t.Fatal(err)
			}
			first := p.caller(0, "alice", id)
			if n := passes(first, 3); n != 2 {
				t.Errorf("the first let %d of 3 through, want 2", n)
			}
			if m, err := heard.NextMsg(time.Minute); err != nil || strings.Contains(string(m.Data), "alice") || len(m.Data) > 512 {
				t.Fatalf("%v, %v", m, err)
			}
			if w.ignores {
				p.eventually("the second ignores what it is told", func() bool { _, n := p.both[1].RateCalls(); return n > 0 })
			}
			second := p.caller(1, "alice", id)
			if n := passes(second, 3); n != 2 {
				t.Errorf("the second let %d of 3 through, want 2", n)
			}
			if n, _ := p.both[1].RateCalls(); n != 0 {
				t.Errorf("it counted %d calls of others", n)
			}
			p.clean()
		})
	}
}

// Whoever has NATS write to the proxies' subject, by credentials that reach it or by a
// server's answer, takes nothing from anybody.
func TestForgedRates(t *testing.T) {
	p := newPair(t, oneKey(), embedded.Proxy())
	id := p.limited("alice", events.RateLimit{Role: "engineer", Per: "user", Rate: 1, Burst: 5})
	heard, err := p.admin.SubscribeSync("postern.rates")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.admin.Flush(); err != nil {
		t.Fatal(err)
	}
	if !p.caller(0, "alice", id)() {
		t.Fatal("refused")
	}
	p.told(1, 0)
	genuine, err := heard.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte{}, genuine.Data...)
	changed[len(changed)-1] ^= 1
	ignored := func() int { _, n := p.both[1].RateCalls(); return n }
	for name, body := range map[string][]byte{
		"nothing": nil, "text": []byte("what?"), "a copy": genuine.Data, "one bit changed": changed, "cut short": genuine.Data[:len(genuine.Data)-8],
		"another purpose": []byte(strings.Replace(string(genuine.Data), "rates1.", "postern1.", 1)), "a large one": make([]byte, 1<<20-1),
	} {
		before := ignored()
		if err := p.admin.Publish("postern.rates", body); err != nil {
			t.Fatal(err)
		}
		p.eventually("it is ignored: "+name, func() bool { return ignored() > before })
	}
	// The auditor may not publish there, but can have the server answer there.
	auditor := embeddedtest.Connect(t, p.server, "auditor", embedded.Auditor())
	before := ignored()
	if err := auditor.PublishRequest("$JS.API.DIRECT.GET.ACCESS", "postern.rates", []byte(`{"seq":1}`)); err != nil {
		t.Fatal(err)
	}
	p.eventually("an answer is ignored: else the hole is closed", func() bool { return ignored() > before })

	if n := passes(p.caller(1, "alice", id), 6); n != 4 {
		t.Errorf("the second let %d through, want the 4 that are left", n)
	}
	if n, _ := p.both[1].RateCalls(); n != 1 {
		t.Errorf("%d calls of the first were counted, want 1", n)
	}
	p.clean()
}
