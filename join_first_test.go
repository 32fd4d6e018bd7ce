package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	cas "github.com/posternhq/postern/broker/identity"
)

// lettingIn is a broker that lets whoever asks join and renew.
type lettingIn struct {
	*httptest.Server
	ca    *cas.Authority
	asked atomic.Int32
	says  *api.Error // instead
}

func letIn(t *testing.T, ca *cas.Authority) *lettingIn {
	t.Helper()
	b := &lettingIn{ca: ca}
	cert, err := ca.IssueServer([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked.Add(1)
		if b.says != nil {
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(api.ErrorBody{Error: b.says})
			return
		}
		var in api.Join
		if r.URL.Path == "/v1/ca" {
			_ = json.NewEncoder(w).Encode(api.CA{CA: string(ca.Certificate())})
			return
		}
		err := json.NewDecoder(r.Body).Decode(&in)
		key, keyErr := cas.ParseCSR([]byte(in.CSR))
		if err != nil || keyErr != nil {
			t.Error(err, keyErr)
		}
		issued, err := ca.IssueAgent(key, "proxy", "p1", in.Names, time.Now(), time.Hour)
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(api.Joined{Kind: "proxy", Agent: "p1", Certificate: string(issued.PEM), CA: string(ca.Certificate()), ExpiresAt: issued.ExpiresAt})
	}))
	b.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	b.StartTLS()
	t.Cleanup(b.Close)
	return b
}

func (b *lettingIn) addr() string { return b.Listener.Addr().String() }

// newAuthority is a CA.
func newAuthority(t *testing.T) *cas.Authority {
	t.Helper()
	ca, err := cas.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// wantsIn is a proxy that has not joined yet.
func wantsIn(t *testing.T, pin string, brokers ...string) *membership {
	t.Helper()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := writePrivateBytes(token, []byte("t.secret")); err != nil {
		t.Fatal(err)
	}
	return &membership{
		cfg:  JoinConfig{Broker: strings.Join(brokers, ","), CAPin: pin, TokenFile: token},
		kind: "proxy", name: "p1", names: []string{"127.0.0.1"}, file: filepath.Join(dir, "joined.json"), log: zerolog.Nop(),
	}
}

// A service whose certificate has run out while the CA was rotated joins again, though
// its configuration has the pin of a CA that is gone: it knows the new one. Other pins
// than it joined by count alone.
func TestJoinAgainAfterRotation(t *testing.T) {
	gone, now := newAuthority(t), newAuthority(t)
	b := letIn(t, now)
	for _, c := range []struct {
		name, joinedBy string
		ca             *cas.Authority // given then
		want           bool
	}{
		{"it was given the new CA", gone.Pin(), now, true},
		{"it knows the former CA alone", gone.Pin(), gone, false},
		{"its pins were changed since", now.Pin(), now, false},
	} {
		m := wantsIn(t, gone.Pin(), b.addr())
		former := &given{CAPin: c.joinedBy, Joined: api.Joined{Agent: "p1", CA: string(c.ca.Certificate()), ExpiresAt: time.Now().Add(-time.Hour)}}
		if err := m.first(t.Context(), former); (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := wantsIn(t, gone.Pin(), b.addr()).first(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "does not have the pin") {
		t.Errorf("a service that never joined: %v", err)
	}
}

// Any broker lets a service in and renews: one that is away or can't is passed over, and
// the one that answered is asked from then on. Who refuses has answered.
func TestJoinAtAnyBroker(t *testing.T) {
	ca := newAuthority(t)
	away, unable, good, other := letIn(t, ca), letIn(t, ca), letIn(t, ca), letIn(t, ca)
	away.Close()
	unable.says = &api.Error{Code: api.CodeUnavailable, Message: "not now"}
	m := wantsIn(t, ca.Pin(), away.addr(), unable.addr(), good.addr(), other.addr())
	if key, problem := m.cfg.check(); problem != "" {
		t.Fatalf("%s: %s", key, problem)
	}
	for _, do := range []func(context.Context) error{m.join, m.look, m.renew} {
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if unable.asked.Load() != 1 || good.asked.Load() != 3 || other.asked.Load() != 0 {
		t.Errorf("asked: %d that can't, %d that answered, %d after it", unable.asked.Load(), good.asked.Load(), other.asked.Load())
	}
	good.Close()
	if err := m.renew(t.Context()); err != nil || other.asked.Load() != 1 {
		t.Errorf("once it is gone: %v, %d", err, other.asked.Load())
	}
	other.says = &api.Error{Code: api.CodeDenied, Message: "no"}
	before := unable.asked.Load()
	if err := m.renew(t.Context()); err == nil || err.Error() != "no" || unable.asked.Load() != before {
		t.Errorf("refused: %v, %d asked after that", err, unable.asked.Load()-before)
	}
	other.Close()
	if err := m.renew(t.Context()); err == nil || !passing(err) || !strings.Contains(err.Error(), "not now") || !strings.Contains(err.Error(), other.addr()) {
		t.Errorf("all gone: %v", err)
	}
}

// What was given serves though it cannot be stored, and is stored once there is room: a
// token of one use is spent when it is there, and what was given before runs out.
func TestJoinsWithoutRoom(t *testing.T) {
	ca := newAuthority(t)
	m := wantsIn(t, ca.Pin(), letIn(t, ca).addr())
	file := m.file
	m.file = filepath.Join(m.cfg.TokenFile, "joined.json") // a file is no directory: it stands for a full disk
	if err := m.first(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	joined := m.given.Load()
	if err := m.renew(t.Context()); err != nil || m.given.Load() == joined {
		t.Errorf("renewed: %v", err)
	}
	if at := m.given.Load().IssuedAt; at != at.Round(0) {
		t.Errorf("%s is of the monotonic clock, too, which stands still while the machine sleeps", at)
	}
	m.file = file
	if err := m.look(t.Context()); err != nil {
		t.Error(err)
	}
	if g, err := m.read(); err != nil || g == nil || g.Certificate != m.given.Load().Certificate {
		t.Errorf("once there is room: %v, %v", g, err)
	}
}
