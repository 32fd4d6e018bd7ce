package local_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
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

// A client may have its proxy speak TLS for it, as botocore does by
// proxy_use_forwarding_for_https.
func TestForwardedTLS(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) { s.add(r.Host, r.RequestURI) })
	conn, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := sign(t, request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key?x=1", nil), h.Env(), "s3", emptyHash)
	for _, changed := range []string{"", "2"} {
		io.WriteString(conn, strings.Replace(head(r), "/key?x=1", r.URL.String()+changed, 1)+"\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"": http.StatusOK, "2": http.StatusForbidden}[changed]; resp.StatusCode != want {
			t.Errorf("%d, want %d", resp.StatusCode, want)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"bucket.s3.eu-central-1.amazonaws.com /key?x=1"}, s.take()); diff != "" {
		t.Error(diff)
	}
}
