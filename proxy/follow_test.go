package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A proxy that starts on a long history has all of it before it is ready.
func TestReadyAfterHistory(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	j, ca := eventstest.Open(t, admin), newAuthority(t)
	b := newBroker(t, j, ca)
	for _, p := range []events.Payload{
		&events.SessionStarted{SessionID: "01JOLD", User: "alice", App: "prod", AWSRoleARN: "arn:aws:iam::111122223333:role/dev", Account: "111122223333", ExpiresAt: time.Now().Add(time.Hour)},
		&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"},
	} {
		b.append(p)
	}
	r := newRigBy(t, ca, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), j)
	if r.p.Seq() != 4 { // two keys are published, too
		t.Errorf("ready at sequence %d", r.p.Seq())
	}
	c := r.clientAs("alice", "01JOLD")
	if resp, body := c.do(t, c.request(t, "GET", object, nil)); resp.StatusCode != 403 || !strings.Contains(body, "lock-1") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// An event that this version cannot read stops everything.
func TestUnknownEventRefusesAll(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	r := newRigOn(t, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), eventstest.Open(t, admin), func(c *proxy.Config, a *ststest.AWS) {
		a.Serve = echo
		c.Log = zerolog.Nop()
	})
	c := r.client(r.session())
	put := func(aggregate string) {
		t.Helper()
		body := `{"specversion":"1.0","id":"` + journal.NewID() + `","source":"/x","type":"io.postern.` + aggregate + `.frozen.v9","datacontenttype":"application/json","sequence":"1","data":{}}`
		seq := r.p.Seq() + 1
		msg := nats.NewMsg("access." + aggregate + ".x")
		msg.Data = r.broker.signer.Sign(msg.Subject, []byte(body))
		if err := admin.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
		r.eventually("it is read", func() bool { return r.p.Seq() >= seq })
	}
	put("access_list")
	if resp, body := c.do(t, c.request(t, "GET", object, nil)); resp.StatusCode != 200 {
		t.Errorf("after an event that bears on nothing: %d %s", resp.StatusCode, body)
	}
	put("lock")
	if resp, body := c.do(t, c.request(t, "GET", object, nil)); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "cannot be read by this version") {
		t.Errorf("after an unknown kind of lock event: %d %s", resp.StatusCode, body)
	}
	if d := payloads[*events.AWSRequestDenied](r.audit()); len(d) != 1 || d[0].Cause != "stale" {
		t.Errorf("%+v", d)
	}
}

// While the stream cannot be heard, everything is refused; afterwards, what was
// said in the meantime holds.
func TestDeafProxyRefuses(t *testing.T) {
	r, away, back := newRigAway(t, func(c *proxy.Config, a *ststest.AWS) {
		c.MaxSilence = time.Second
		a.Serve = echo
		c.Log = zerolog.Nop()
	})
	c := r.client(r.session())
	status := func() (int, string) {
		resp, body := c.do(t, c.request(t, "GET", object, nil))
		return resp.StatusCode, body
	}
	if s, body := status(); s != 200 {
		t.Fatalf("%d %s", s, body)
	}
	away()
	r.eventually("the proxy notices", func() bool {
		_, body := status()
		return strings.Contains(body, "cannot tell who may do what")
	})
	if s, out := c.ask(t, "GET", "/healthz", ""); s != http.StatusServiceUnavailable {
		t.Errorf("it refuses calls and says that it is well: %d %v", s, out)
	}
	back()
	r.eventually("the proxy recovers", func() bool { s, _ := status(); return s == 200 })
	if s, out := c.ask(t, "GET", "/healthz", ""); s != http.StatusOK {
		t.Errorf("it serves calls and says that it does not: %d %v", s, out)
	}
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	if s, body := status(); s != 403 || !strings.Contains(body, "lock-1") {
		t.Errorf("%d %s", s, body)
	}
}

// Without a certificate of ours there is no connection.
func TestMutualTLS(t *testing.T) {
	r := newRig(t, withEcho)
	other := newAuthority(t)
	for name, c := range map[string]struct {
		certs []tls.Certificate
		max   uint16
	}{
		"no certificate":     {nil, tls.VersionTLS13},
		"foreign":            {[]tls.Certificate{other.issue(t, "alice", nil)}, tls.VersionTLS13},
		"expired":            {[]tls.Certificate{r.ca.issue(t, "alice", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })}, tls.VersionTLS13},
		"for servers only":   {[]tls.Certificate{r.ca.issue(t, "alice", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, tls.VersionTLS13},
		"an older protocol":  {[]tls.Certificate{r.ca.issue(t, "alice", nil)}, tls.VersionTLS12},
		"no name of a user ": {[]tls.Certificate{r.ca.issue(t, "", func(c *x509.Certificate) { c.DNSNames = nil })}, tls.VersionTLS13},
	} {
		t.Run(name, func(t *testing.T) {
			tr := r.transport("alice")
			tr.DialTLSContext = nil
			tr.DialContext = r.dial
			tr.TLSClientConfig = &tls.Config{ServerName: "proxy.test", RootCAs: r.ca.pool, Certificates: c.certs, MaxVersion: c.max}
			cl := r.clientAs("alice", "")
			cl.Transport = tr
			resp, err := cl.Do(cl.request(t, "GET", object, nil))
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode != 403 {
					t.Errorf("%d", resp.StatusCode)
				}
			}
		})
	}
	for _, d := range payloads[*events.AWSRequestDenied](r.audit()) {
		if d.Cause != "unauthenticated" || d.User != "" {
			t.Errorf("%+v", d)
		}
	}
}

// What is older than any session may be is left out, but for users and locks: of
// those all counts, and what is forged counts for nothing.
func TestPastOfUsersAndLocks(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	j, ca := eventstest.Open(t, admin), newAuthority(t)
	b := newBroker(t, j, ca)
	on := func(user string) events.LockTarget { return events.LockTarget{Kind: "user", Name: user} }
	var later atomic.Int64 // how far the proxy's clock is ahead
	later.Store(int64(40 * time.Hour))
	session := func(id, user string) *events.SessionStarted {
		return &events.SessionStarted{SessionID: id, User: user, App: "prod", AWSRoleARN: "arn:aws:iam::111122223333:role/dev", Account: "111122223333", StartedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	}
	b.append(&events.LockPlaced{LockID: "L1", Target: on("alice"), By: "admin"})
	b.append(&events.LockPlaced{LockID: "L2", Target: on("bob"), By: "admin"})
	b.append(session("PAST", "bob"))
	b.append(&events.LockLifted{LockID: "L2", By: "admin"})
	b.append(&events.UserCreated{User: events.User{Name: "dave", Disabled: true}, By: "admin"})
	for _, p := range []events.Payload{
		&events.LockPlaced{LockID: "L3", Target: on("bob"), By: "x"}, &events.LockLifted{LockID: "L1", By: "x"}, &events.UserUpdated{User: events.User{Name: "dave"}, By: "x"},
	} {
		raw, err := events.Encode(events.Event{Meta: events.Meta{ID: journal.NewID(), Source: "/x", Time: time.Now(), Sequence: 2}, Data: p})
		if err != nil {
			t.Fatal(err)
		}
		if err := admin.Publish(p.Channel(), raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.Flush(); err != nil {
		t.Fatal(err)
	}
	r := newRigBy(t, ca, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), j, func(c *proxy.Config, a *ststest.AWS) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		c.Log, a.Serve = zerolog.Nop(), echo
	})
	later.Store(0) // what it has read, it has read
	for id, user := range map[string]string{"S1": "alice", "S2": "bob", "S3": "dave"} {
		r.emit(session(id, user))
	}
	for id, want := range map[string]struct{ user, says string }{
		"S1": {"alice", "L1"}, "S2": {"bob", ""}, "S3": {"dave", "disabled"}, "PAST": {"bob", "session"},
	} {
		c := r.clientAs(want.user, id)
		resp, body := c.do(t, c.request(t, "GET", object, nil))
		if ok := resp.StatusCode == 200; ok != (want.says == "") || !strings.Contains(body, want.says) {
			t.Errorf("%s of %s: %d %s", id, want.user, resp.StatusCode, body)
		}
	}
	// A lock of then can be lifted now, and copies of what was are none.
	for e, err := range j.Replay(t.Context(), events.Access, "access.lock.L2", "access.user.dave") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq < 9 {
			if err := admin.Publish(e.Channel, e.Raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.append(&events.LockLifted{LockID: "L1", By: "admin"})
	last, err := j.Last(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("it is read", func() bool { return r.p.Seq() >= last })
	for id, user := range map[string]string{"S1": "alice", "S2": "bob"} {
		c := r.clientAs(user, id)
		if resp, body := c.do(t, c.request(t, "GET", object, nil)); resp.StatusCode != 200 {
			t.Errorf("%s of %s: %d %s", id, user, resp.StatusCode, body)
		}
	}
}

// A call whose body comes slowly is decided by what is known when it is all there: while the
// proxy hears nothing, it is not sent on.
func TestDeafProxyRefusesWhatItHasRead(t *testing.T) {
	r, away, back := newRigAway(t, func(c *proxy.Config, a *ststest.AWS) {
		c.MaxSilence = time.Second
		a.Serve = echo
		c.Log = zerolog.Nop()
	})
	c := r.client(r.session())
	// More than connections hold: once it is written, the call is decided.
	body := strings.Repeat("x", 32<<20)
	req := c.call(t, "dynamodb", "POST", "https://dynamodb.us-east-1.amazonaws.com/", body, target("DynamoDB_20120810.GetItem", "1.0"))
	written, rest := io.Pipe()
	req.Body, req.GetBody = written, nil
	type answer struct {
		status int
		body   string
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := c.Do(req)
		if err != nil {
			answered <- answer{0, err.Error()}
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answered <- answer{resp.StatusCode, string(b)}
	}()
	if _, err := io.WriteString(rest, body[:len(body)-1]); err != nil {
		t.Fatal(err)
	}
	away()
	other := r.client(&events.SessionStarted{SessionID: c.session})
	r.eventually("the proxy notices", func() bool {
		_, body := other.do(t, other.request(t, "GET", object, nil))
		return strings.Contains(body, "cannot tell who may do what")
	})
	if _, err := io.WriteString(rest, body[len(body)-1:]); err != nil {
		t.Fatal(err)
	}
	rest.Close()
	if a := <-answered; a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "cannot tell who may do what") {
		t.Errorf("%d %s", a.status, a.body)
	}
	back()
	if d := payloads[*events.AWSRequestDenied](r.audit()); !slices.ContainsFunc(d, func(d *events.AWSRequestDenied) bool { return d.Operation == "GetItem" && d.Cause == "stale" }) {
		t.Errorf("%s", shown(d))
	}
}

// A proxy lets nobody in before it knows who may do what: who looks for one, a load balancer,
// say, takes another meanwhile.
func TestListensOnceItKnows(t *testing.T) {
	server := embeddedtest.StartNATS(t) // without streams
	j, err := journal.New(embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), "/postern/proxy/test")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ca: newAuthority(t), aws: ststest.Start(t)}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(embeddedtest.Port(t)))
	tried := make(chan struct{}, 1)
	p, err := proxy.New(r.config(func(c *proxy.Config) {
		c.Journal, c.Listen, c.Log = j, addr, zerolog.New(tells{tried, "following the ACCESS stream"})
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-tried
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("it listens")
	}
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(ctx, admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	newBroker(t, eventstest.Open(t, admin), r.ca)
	<-p.Ready()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// tells is a log that tells when something is said.
type tells struct {
	heard chan<- struct{}
	what  string
}

func (l tells) Write(b []byte) (int, error) {
	if strings.Contains(string(b), l.what) {
		select {
		case l.heard <- struct{}{}:
		default:
		}
	}
	return len(b), nil
}
