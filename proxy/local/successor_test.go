package local_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/local"
)

// Once the proxy has said that a session is over, requests go by the one that took
// its place, with the keys that clients have; what can be sent again is.
func TestSuccessor(t *testing.T) {
	var s seen
	var over atomic.Value // one more that is over by now
	over.Store("")
	p := newPKI(t)
	proxy := standIn(t, p, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		id := r.Header.Get("Postern-Session")
		if len(r.TransferEncoding) > 0 {
			b = append(b, " in chunks"...)
		}
		s.add(id, r.Method, string(b))
		if id == "S1" || id == "S2" || id == over.Load() {
			w.Header().Set("Postern-Session-Over", id)
			w.WriteHeader(http.StatusForbidden)
		}
	})
	next := map[string]local.Session{"S1": {ID: "S1", App: "a"}}
	var wrong error
	asked := 0
	h := run(t, local.Config{ProxyAddr: proxy.Listener.Addr().String(), ProxyTLS: p.client(),
		Sessions:  []local.Session{{ID: "S1", App: "a", Region: "eu-central-1"}},
		Successor: func(over local.Session) (local.Session, error) { asked++; return next[over.ID], wrong }})
	env := h.Env()
	c := client(t, env, false)
	get := func() *http.Request {
		return sign(t, request(t, "GET", "https://s3.eu-central-1.amazonaws.com/b/k", nil), env, "s3", emptyHash)
	}
	post := func() *http.Request {
		return sign(t, request(t, "POST", "https://dynamodb.eu-central-1.amazonaws.com/", strings.NewReader("body")), env, "dynamodb", bodyHash)
	}
	empty := func() *http.Request {
		r := sign(t, request(t, "POST", "https://dynamodb.eu-central-1.amazonaws.com/", http.NoBody), env, "dynamodb", emptyHash)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), -1
		return r
	}
	put := func() *http.Request {
		return sign(t, request(t, "PUT", "https://s3.eu-central-1.amazonaws.com/b/k", strings.NewReader("body")), env, "s3", bodyHash)
	}
	is := func(what string, r *http.Request, status int, atProxy ...string) {
		t.Helper()
		resp, body := do(t, c, r)
		if resp.StatusCode != status || resp.Header.Get("Postern-Session-Over") != "" {
			t.Errorf("%s: %d %s %v", what, resp.StatusCode, body, resp.Header)
		}
		if d := cmp.Diff(atProxy, s.take()); d != "" {
			t.Errorf("%s, at the proxy (-want +got):\n%s", what, d)
		}
	}
	is("with none in its place", get(), 403, "S1 GET ")
	wrong = errors.New("the new one is for another role")
	resp, body := do(t, c, get())
	if resp.StatusCode != 403 || !strings.Contains(body, "for another role") || len(s.take()) != 0 {
		t.Errorf("with an error: %d %s", resp.StatusCode, body)
	}
	wrong = nil
	next["S1"], next["S2"] = local.Session{ID: "S2", App: "a"}, local.Session{ID: "S3", App: "a"}
	is("a body that is read to be hashed", post(), 200, "S2 POST body", "S3 POST body")
	next["S3"] = local.Session{ID: "S4", App: "a"}
	over.Store("S3")
	is("an empty body in chunks", empty(), 200, "S3 POST ", "S4 POST ")
	is("by the new one", get(), 200, "S4 GET ")
	if was := asked; was == 0 || h.SessionEnv("S1") == nil {
		t.Errorf("asked %d times", was)
	}

	// A body that went by as it came has gone.
	over.Store("")
	h = run(t, local.Config{ProxyAddr: proxy.Listener.Addr().String(), ProxyTLS: p.client(),
		Sessions:  []local.Session{{ID: "S2", App: "a", Region: "eu-central-1"}},
		Successor: func(over local.Session) (local.Session, error) { return next[over.ID], nil }})
	env = h.Env()
	c = client(t, env, false)
	is("an upload", put(), 403, "S2 PUT body")
	is("the next", put(), 200, "S3 PUT body")
}
