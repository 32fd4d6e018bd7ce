package proxy_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// intruder may publish to ACCESS and knows all that is on it.
type intruder struct {
	*rig
	nc *nats.Conn
}

// newIntruder starts a proxy with alice's session, which works.
func newIntruder(t *testing.T) (intruder, *events.SessionStarted) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{DuplicateWindow: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	r := newRigOn(t, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), eventstest.Open(t, admin), func(c *proxy.Config, a *ststest.AWS) {
		a.Serve = echo
		c.Log = zerolog.Nop()
	})
	return intruder{r, embeddedtest.Connect(t, server, "intruder", embedded.Broker())}, r.session()
}

// put publishes bytes and waits until the proxy has read them.
func (i intruder) put(channel string, raw []byte) {
	i.t.Helper()
	seq := i.p.Seq() + 1
	if err := i.nc.Publish(channel, raw); err != nil {
		i.t.Fatal(err)
	}
	i.eventually("it is read", func() bool { return i.p.Seq() >= seq })
}

// event encodes a payload as revision seq of its channel.
func (i intruder) event(p events.Payload, seq uint64) []byte {
	i.t.Helper()
	b, err := events.Encode(events.Event{Meta: events.Meta{ID: journal.NewID(), Source: "/postern/broker/x", Time: time.Now(), Sequence: seq}, Data: p})
	if err != nil {
		i.t.Fatal(err)
	}
	return b
}

// raw is what stands on a channel, in order.
func (i intruder) raw(channel string) (out [][]byte) {
	i.t.Helper()
	for e, err := range i.j.Replay(i.t.Context(), events.Access, channel) {
		if err != nil {
			i.t.Fatal(err)
		}
		out = append(out, e.Raw)
	}
	return out
}

func (i intruder) status(c *client) (int, string) {
	i.t.Helper()
	resp, body := c.do(i.t, c.request(i.t, "GET", object, nil))
	return resp.StatusCode, body
}

// Who may publish to ACCESS, and no more, mints no session.
func TestForgedSession(t *testing.T) {
	i, genuine := newIntruder(t)
	own, err := signed.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	unsigned := func(raw []byte) []byte { return raw }
	publish := func(s *signed.Signer, ca *authority, change func(*x509.Certificate)) func([]byte) []byte {
		key := &events.KeyPublished{KeyID: s.ID(), NotAfter: time.Now().Add(time.Hour), Certificate: base64.StdEncoding.EncodeToString(ca.signing(t, s, change))}
		i.put(key.Channel(), s.Sign(key.Channel(), i.event(key, 1)))
		return func(raw []byte) []byte { return s.Sign("access.session.FORGED", raw) }
	}
	fresh := func() *signed.Signer {
		s, err := signed.NewSigner()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	forged := *genuine
	forged.SessionID = "FORGED"
	event := i.event(&forged, 1)
	wrong := i.broker.signer.Sign("access.session.FORGED", event)
	wrong[len(wrong)-5] ^= 1
	for name, sign := range map[string]func([]byte) []byte{
		"unsigned":                    unsigned,
		"a key that nobody published": func(raw []byte) []byte { return own.Sign("access.session.FORGED", raw) },
		"a key of another CA":         publish(fresh(), newAuthority(t), nil),
		"a certificate for other ends": publish(fresh(), i.ca, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}),
		"a key whose time is over":       publish(fresh(), i.ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }),
		"a signature for another place":  func(raw []byte) []byte { return i.broker.signer.Sign("access.session.OTHER", raw) },
		"a signature of another event":   func([]byte) []byte { return i.raw(genuine.Channel())[0] },
		"a signature with one bit wrong": func([]byte) []byte { return wrong },
		"a genuine key's name": func(raw []byte) []byte {
			return bytes.Replace(own.Sign("access.session.FORGED", raw), []byte(own.ID()), []byte(i.broker.signer.ID()), 1)
		},
	} {
		i.put("access.session.FORGED", sign(event))
		i.put("access.signin.alice", sign(event)) // not where such events belong
		if s, body := i.status(i.clientAs("alice", "FORGED")); s != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, s, body)
		}
	}
	i.put("access.session.FORGED", []byte("what?"))
	i.put("access.lock.x", []byte(`{"specversion":"1.0","id":"9","source":"/x","type":"io.postern.lock.frozen.v9","datacontenttype":"application/json","sequence":"1","data":{}}`))
	if s, body := i.status(i.client(genuine)); s != http.StatusOK {
		t.Errorf("the genuine session afterwards: %d %s", s, body)
	}
	// The same event by the broker is a session: the test would notice.
	i.emit(&forged)
	if s, body := i.status(i.clientAs("alice", "FORGED")); s != http.StatusOK {
		t.Errorf("the broker's own: %d %s", s, body)
	}
}

// Nor is a session prolonged or widened, a lock lifted or placed, a user
// enabled again.
func TestForgedChanges(t *testing.T) {
	i, genuine := newIntruder(t)
	c := i.client(genuine)
	narrow := i.session(func(s *events.SessionStarted) {
		s.Permissions = []events.Permission{{Effect: "Allow", Role: "r", Actions: []string{"s3:Put*"}}}
	})
	wide := *narrow
	wide.Permissions, wide.ExpiresAt = nil, time.Now().Add(12*time.Hour)
	i.put(wide.Channel(), i.event(&wide, 1))
	i.put(wide.Channel(), i.event(&wide, 2))
	raw := i.raw(narrow.Channel())[0]
	i.put(wide.Channel(), bytes.Replace(raw, []byte("s3:Put*"), []byte("s3:Get*"), 1))
	i.put(wide.Channel(), raw) // a copy must not end it, either
	i.put(wide.Channel(), i.event(&events.SessionEnded{SessionID: narrow.SessionID, User: "alice"}, 2))
	if s, body := i.status(i.client(narrow)); s != 403 || !strings.Contains(body, "no role of the session allows s3:GetObject") {
		t.Errorf("the narrow session: %d %s", s, body)
	}

	i.put("access.lock.L0", i.event(&events.LockPlaced{LockID: "L0", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "x"}, 1))
	i.put("access.user.alice", i.event(&events.UserDeleted{Name: "alice", By: "x"}, 1))
	if s, body := i.status(c); s != 200 {
		t.Errorf("after a forged lock and deletion: %d %s", s, body)
	}

	i.emit(&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	i.put("access.lock.L1", i.event(&events.LockLifted{LockID: "L1", By: "x"}, 2))
	if s, body := i.status(c); s != 403 || !strings.Contains(body, "L1") {
		t.Errorf("after a forged lifting: %d %s", s, body)
	}
	i.emit(&events.LockLifted{LockID: "L1", By: "admin"})
	if s, body := i.status(c); s != 200 {
		t.Errorf("after the lifting: %d %s", s, body)
	}
	i.put("access.lock.L1", i.raw("access.lock.L1")[0]) // the genuine lock once more
	if s, body := i.status(c); s != 200 {
		t.Errorf("after a copy of the lock: %d %s", s, body)
	}

	i.emit(&events.UserUpdated{User: events.User{Name: "alice"}, By: "admin"})
	i.emit(&events.UserUpdated{User: events.User{Name: "alice", Disabled: true}, By: "admin"})
	for _, raw := range i.raw("access.user.alice") {
		i.put("access.user.alice", raw)
	}
	if s, body := i.status(c); s != 403 || !strings.Contains(body, "disabled") {
		t.Errorf("after copies of what enabled alice: %d %s", s, body)
	}
}

// A proxy's credentials can have messages of ACCESS copied to any subject, by
// naming it as where the answer goes (deploy/embedded/permissions.go). That
// changes nothing.
func TestForgedByReply(t *testing.T) {
	i, genuine := newIntruder(t)
	i.emit(&events.UserUpdated{User: events.User{Name: "alice"}, By: "admin"})
	i.emit(&events.UserUpdated{User: events.User{Name: "alice", Disabled: true}, By: "admin"})
	for _, to := range []string{"access.user.alice", genuine.Channel(), "access.lock.x"} {
		for seq := i.p.Seq(); seq > 0; seq-- {
			before := i.p.Seq()
			// Until the stream has forgotten the message's id.
			i.eventually("a copy is read: else the hole is closed", func() bool {
				if err := i.rig.nc.PublishRequest("$JS.API.DIRECT.GET.ACCESS", to, fmt.Appendf(nil, `{"seq":%d}`, seq)); err != nil {
					t.Fatal(err)
				}
				return i.p.Seq() > before
			})
		}
	}
	if s, body := i.status(i.client(genuine)); s != 403 || !strings.Contains(body, "disabled") {
		t.Errorf("%d %s", s, body)
	}
	i.emit(&events.UserUpdated{User: events.User{Name: "alice"}, By: "admin"})
	if s, body := i.status(i.client(genuine)); s != 200 {
		t.Errorf("enabled again: %d %s", s, body)
	}
}
