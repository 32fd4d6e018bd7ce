package main

import (
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
