package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// A session that runs goes on without the broker where that is away, which is said once, by
// the proxies that it named last; what the broker refuses is refused.
func TestBrokerAway(t *testing.T) {
	var status atomic.Int32
	session := api.Session{ID: "S", App: "a", State: "running"}
	var proxies atomic.Pointer[[]string]
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any = api.Status{ProxyAddr: "named:1"}
		if strings.Contains(r.URL.Path, "/sessions/") {
			session := session
			session.ProxyAddrs = *proxies.Load()
			answer = session
		}
		if s := int(status.Load()); s != http.StatusOK {
			w.WriteHeader(s)
			answer = api.ErrorBody{Error: &api.Error{Code: api.CodeUnavailable, Message: "no"}}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	b, err := client.New(server.URL, server.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// command is what one that finds the session in its file learns.
	command := func() (addrs []string, said string, err error) {
		t.Helper()
		p := &profile{dir: dir, absent: &absence{say: func(format string, args ...any) { said += fmt.Sprintf(format, args...) + "\n" }}}
		s, err := p.session(t.Context(), b, "a")
		if err == nil {
			addrs, err = p.reachable(t.Context(), b, []*appSession{s})
		}
		return addrs, said, err
	}
	is := func(when string, proxy string, away bool) {
		t.Helper()
		addrs, said, err := command()
		if lines := strings.Count(said, "\n"); err != nil || !slices.Equal(addrs, []string{proxy}) || away != (lines == 1) || lines > 1 {
			t.Errorf("%s: %v, %v; said %q", when, addrs, err, said)
		}
	}
	if err := (&profile{dir: dir}).saveApp(&appSession{SessionID: "S", App: "a", ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	status.Store(http.StatusServiceUnavailable)
	if addrs, _, err := command(); err == nil {
		t.Errorf("by proxies that nobody named: %v", addrs)
	}
	proxies.Store(&[]string{})
	status.Store(http.StatusOK)
	is("there", "named:1", false)
	status.Store(http.StatusServiceUnavailable)
	is("reading its history", "named:1", true)
	proxies.Store(&[]string{"serves:1"})
	status.Store(http.StatusOK)
	starts, err := lockDir(t.Context(), filepath.Join(dir, "apps"))
	if err != nil {
		t.Fatal(err)
	}
	is("while another session is started", "serves:1", false)
	starts.Close()
	is("there again", "serves:1", false)
	for _, refuses := range []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusTooManyRequests} {
		status.Store(int32(refuses))
		if addrs, said, err := command(); err == nil || said != "" {
			t.Errorf("it refuses, %d: %v, said %q", refuses, addrs, said)
		}
	}
	server.Close()
	is("gone", "serves:1", true)

	// Of a certificate that it does not take, it tells by an alert of TLS.
	strict := httptest.NewUnstartedServer(nil)
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	strict.StartTLS()
	defer strict.Close()
	if b, err = client.New(strict.URL, strict.Client().Transport.(*http.Transport).TLSClientConfig); err != nil {
		t.Fatal(err)
	}
	if addrs, said, err := command(); err == nil || said != "" {
		t.Errorf("it refuses the certificate: %v, said %q", addrs, said)
	}
}
