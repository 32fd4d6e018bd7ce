package local_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/posternhq/postern/proxy/local"
)

// A proxy whose machine has vanished holds nobody up, be it that a connection to it was in
// reserve: the call ends, to be tried again, and the next goes by another proxy. One that
// takes nothing for as long is waited for.
func TestProxyVanishes(t *testing.T) {
	const step = 20 * time.Millisecond
	p := newPKI(t)
	var mu sync.Mutex
	var conns []*net.TCPConn
	first := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			time.Sleep(30 * step) // the window is full
			_, _ = io.Copy(io.Discard, r.Body)
		}
		_, _ = io.WriteString(w, "first")
	}))
	first.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.roots}
	first.Config.ErrorLog = log.New(io.Discard, "", 0)
	first.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c.(*tls.Conn).NetConn().(*net.TCPConn))
		}
	}
	first.StartTLS()
	defer first.Close()
	second := standIn(t, p, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "second") })
	h := run(t, local.Config{ProxyAddr: first.Listener.Addr().String(), OtherProxies: []string{second.Listener.Addr().String()},
		ProxyTLS: p.client(), Sessions: []local.Session{{ID: "S"}}})
	h.SetSilenceStep(step)
	c := client(t, h.Env(), false)
	get := func() (int, string) {
		resp, body := do(t, c, sign(t, request(t, "GET", "https://s3.eu-central-1.amazonaws.com/bucket/key", nil), h.Env(), "s3", emptyHash))
		return resp.StatusCode, body
	}
	body := strings.NewReader(strings.Repeat("x", 32<<20))
	if resp, text := do(t, c, sign(t, request(t, "PUT", "https://s3.eu-central-1.amazonaws.com/bucket/key", body), h.Env(), "s3", unsigned)); resp.StatusCode != http.StatusOK {
		t.Errorf("one that is busy: %d %s", resp.StatusCode, text)
	}
	if status, body := get(); status != http.StatusOK || body != "first" {
		t.Errorf("%d %s", status, body)
	}
	_ = first.Listener.Close() // who knocks anew is answered by somebody else
	mu.Lock()
	for _, conn := range conns {
		hearsNothing(t, conn)
	}
	mu.Unlock()
	if status, body := get(); status != http.StatusServiceUnavailable || !strings.Contains(body, "is it running, and reachable from here?") {
		t.Errorf("in reserve: %d %s", status, body)
	}
	if status, body := get(); status != http.StatusOK || body != "second" {
		t.Errorf("afterwards: %d %s", status, body)
	}
}

// hearsNothing has the kernel drop whatever comes to a connection, so that nothing is
// acknowledged either.
func hearsNothing(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	gone := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	})
	if gone == nil && err != nil {
		t.Skipf("no filters on sockets here: %v", err)
	}
}
