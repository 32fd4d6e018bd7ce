package local_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A request that may have come to the proxy is not sent again, whatever it is. One of
// which nothing went out, because its connection had ended while nobody used it, goes by
// another, so that nobody notices, if its body is still there.
func TestSentOnce(t *testing.T) {
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.add(r.Method, r.URL.Path, string(b))
		if !strings.HasSuffix(r.URL.Path, "lost") {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	var mu sync.Mutex
	var conns []*tls.Conn
	h.OnDial(func(c *tls.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, c)
	})
	env := h.Env()
	c := client(t, env, false)
	s3 := func(method, path, body, hash string) *http.Request {
		return sign(t, request(t, method, "https://s3.eu-central-1.amazonaws.com"+path, strings.NewReader(body)), env, "s3", hash)
	}
	dynamo := func(path string) *http.Request {
		return sign(t, request(t, "POST", "https://s3.eu-central-1.amazonaws.com"+path, strings.NewReader("body")), env, "dynamodb", bodyHash)
	}
	for _, k := range []struct {
		name  string
		make  func(path string) *http.Request
		again bool // if nothing of it went out
	}{
		{"GET", func(p string) *http.Request { return s3("GET", p, "", emptyHash) }, true},
		{"HEAD", func(p string) *http.Request { return s3("HEAD", p, "", emptyHash) }, true},
		{"OPTIONS", func(p string) *http.Request { return s3("OPTIONS", p, "", emptyHash) }, true},
		{"DELETE", func(p string) *http.Request { return s3("DELETE", p, "", emptyHash) }, true},
		{"PUT", func(p string) *http.Request { return s3("PUT", p, "body", bodyHash) }, false},
		{"POST", dynamo, true}, // its body was read to be hashed
		{"POST with a key", func(p string) *http.Request {
			r := s3("POST", p, "", emptyHash)
			r.Header.Set("Idempotency-Key", "1")
			return r
		}, true},
	} {
		t.Run(k.name, func(t *testing.T) {
			is := func(path string, status int, atProxy int) {
				t.Helper()
				r := k.make(path)
				want := strings.TrimSuffix(r.Method+" "+path+" ", " ") + " "
				if r.ContentLength > 0 {
					want += "body"
				}
				var all []string
				for range atProxy {
					all = append(all, want)
				}
				if resp, body := do(t, c, r); resp.StatusCode != status {
					t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, body, status)
				}
				if d := cmp.Diff(all, s.take()); d != "" {
					t.Errorf("%s, at the proxy (-want +got):\n%s", path, d)
				}
			}
			is("/b/first", http.StatusOK, 1)
			is("/b/lost", http.StatusServiceUnavailable, 1) // on the same connection
			is("/b/next", http.StatusOK, 1)

			// From now on nothing can be written to those that are there.
			mu.Lock()
			for _, conn := range conns {
				_ = conn.SetWriteDeadline(time.Unix(1, 0)) // of some that are closed
			}
			made := len(conns)
			mu.Unlock()
			if k.again {
				is("/b/idle", http.StatusOK, 1)
			} else {
				is("/b/idle", http.StatusServiceUnavailable, 0)
				is("/b/idle", http.StatusOK, 1)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(conns) != made+1 {
				t.Errorf("%d connections were made, want one: else nothing was tried on a dead one", len(conns)-made)
			}
		})
	}
}
