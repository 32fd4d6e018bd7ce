package local_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/local"
)

// What the proxy offers is for the helper; the client gets the error alone.
func TestRefusalIsTold(t *testing.T) {
	p := newPKI(t)
	answers := map[string]func(http.ResponseWriter){
		"/role": func(w http.ResponseWriter) {
			w.Header().Set("Postern-Requestable-Role", "writer")
			w.WriteHeader(403)
		},
		"/call": func(w http.ResponseWriter) {
			w.Header().Set("Postern-Access-Request", "R1")
			w.WriteHeader(403)
		},
		"/fine": func(w http.ResponseWriter) { w.Header().Set("Postern-Access-Request", "AWS would not say so") },
		"/no":   func(w http.ResponseWriter) { w.WriteHeader(403) },
	}
	s := standIn(t, p, func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w) })
	var told []local.Refusal
	h := run(t, local.Config{ProxyAddr: s.Listener.Addr().String(), ProxyTLS: p.client(),
		Sessions: []local.Session{{ID: "S1", App: "a", Region: "eu-central-1"}},
		Refused:  func(r local.Refusal) { told = append(told, r) }})
	env := h.Env()
	for _, path := range []string{"/role", "/call", "/fine", "/no"} {
		resp, _ := do(t, client(t, env, false), sign(t, request(t, "GET", "https://s3.eu-central-1.amazonaws.com"+path, nil), env, "s3", emptyHash))
		for name := range resp.Header {
			if len(name) > 8 && name[:8] == "Postern-" {
				t.Errorf("%s: the client reads %s", path, name)
			}
		}
	}
	want := []local.Refusal{{SessionID: "S1", Role: "writer"}, {SessionID: "S1", AccessRequest: "R1"}}
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
