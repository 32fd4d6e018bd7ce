package local_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A host with the dot of an absolute name is the same host: what is AWS's goes by
// postern, and nowhere else.
func TestAbsoluteHost(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) { s.add(r.Host, r.RequestURI) })
	h.ResolveWith(nothing(t))
	env := h.Env()
	plain := client(t, env, false)
	plain.Transport.(*http.Transport).Proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: h.Addr()}, nil }
	for name, c := range map[string]struct {
		client *http.Client
		url    string
		want   string
	}{
		"HTTP/1.1": {client(t, env, false), "https://bucket.s3.eu-central-1.amazonaws.com./key", "bucket.s3.eu-central-1.amazonaws.com /key"},
		"HTTP/2":   {client(t, env, true), "https://bucket.s3.eu-central-1.amazonaws.com./key", "bucket.s3.eu-central-1.amazonaws.com /key"},
		"port":     {client(t, env, false), "https://Bucket.s3.eu-central-1.amazonaws.com.:443/key", "Bucket.s3.eu-central-1.amazonaws.com /key"},
		"http":     {plain, "http://bucket.s3.eu-central-1.amazonaws.com./key", "bucket.s3.eu-central-1.amazonaws.com /key"},
	} {
		resp, body := do(t, c.client, sign(t, request(t, "GET", c.url, nil), env, "s3", emptyHash))
		if diff := cmp.Diff([]string{c.want}, s.take()); diff != "" || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s%s", name, resp.StatusCode, body, diff)
		}
		changed := sign(t, request(t, "GET", c.url, nil), env, "s3", emptyHash)
		changed.URL.Path = "/another"
		if resp, body := do(t, c.client, changed); resp.StatusCode != http.StatusForbidden || len(s.take()) > 0 {
			t.Errorf("%s, changed: %d %s", name, resp.StatusCode, body)
		}
	}
	// What AWS has no endpoint of is said by that name.
	r := sign(t, request(t, "GET", "https://s3.eu-centrl-1.amazonaws.com./", nil), env, "s3", emptyHash)
	if resp, body := do(t, client(t, env, false), r); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("no such region: %d %s", resp.StatusCode, body)
	}
}
