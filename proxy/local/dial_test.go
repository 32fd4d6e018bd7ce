package local_test

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/posternhq/postern/proxy/local"
)

// Of several proxies one that does not answer, or stops to, or is none, is
// replaced by the next.
func TestProxyTakesOver(t *testing.T) {
	p := newPKI(t)
	named := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	stranger := standIn(t, newPKI(t), named("a stranger"))
	first, second := standIn(t, p, named("first")), standIn(t, p, named("second"))
	h := run(t, local.Config{
		ProxyAddr: gone.Addr().String(), ProxyTLS: p.client(), Sessions: []local.Session{{ID: "S"}},
		OtherProxies: []string{stranger.Listener.Addr().String(), first.Listener.Addr().String(), second.Listener.Addr().String()},
	})
	get := func() string {
		t.Helper()
		r := sign(t, request(t, "GET", "https://s3.eu-central-1.amazonaws.com/bucket/key", nil), h.Env(), "s3", emptyHash)
		resp, body := do(t, client(t, h.Env(), false), r)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		return body
	}
	for range 2 {
		if got := get(); got != "first" {
			t.Errorf("answered by %q", got)
		}
	}
	first.CloseClientConnections()
	first.Close()
	if got := get(); got != "second" {
		t.Errorf("after the first stopped, answered by %q", got)
	}
}
