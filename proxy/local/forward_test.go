package local_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/local"
)

const unsigned = "UNSIGNED-PAYLOAD"

// hashes of "" and of "body"
const (
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	bodyHash  = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"
)

func TestForwards(t *testing.T) {
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		s.add(r.Method, r.Host, r.RequestURI, r.Proto, r.TLS.PeerCertificates[0].Subject.CommonName,
			r.Header.Get("Postern-Session"), r.Header.Get("Postern-Payload-Sha256"), r.Header.Get("X-Forwarded-For"),
			string(b), fmt.Sprint(err))
		w.Header().Set("X-Amz-Request-Id", "AWS1")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "answer")
	})
	env := h.Env()
	for _, c := range []struct {
		name, method, url, service, hash, body, target, payload string
		http2                                                   bool
	}{
		{name: "s3 get", method: "GET", url: "https://bucket.s3.eu-central-1.amazonaws.com/a/b%20c%2Bd//e?list-type=2&prefix=x%2Fy", service: "s3", hash: emptyHash,
			target: "/a/b%20c%2Bd//e?list-type=2&prefix=x%2Fy"},
		{name: "s3 key of bytes that url.URL would encode", method: "GET", url: "https://bucket.s3.eu-central-1.amazonaws.com/a%28b%29%21%2A%27c", service: "s3", hash: emptyHash,
			target: "/a%28b%29%21%2A%27c"},
		{name: "s3 put, unsigned", method: "PUT", url: "https://s3.eu-central-1.amazonaws.com/bucket/key", service: "s3", hash: unsigned, body: "body",
			target: "/bucket/key"},
		{name: "declared hash", method: "PUT", url: "https://s3.eu-central-1.amazonaws.com/bucket/key", service: "s3", hash: bodyHash, body: "body",
			target: "/bucket/key"},
		{name: "undeclared hash", method: "POST", url: "https://dynamodb.eu-central-1.amazonaws.com/", service: "dynamodb", hash: bodyHash, body: "body",
			target: "/", payload: bodyHash},
		{name: "undeclared hash, no body, h2", method: "GET", url: "https://lambda.eu-central-1.amazonaws.com/functions?x=1&y=%3B", service: "lambda", hash: emptyHash, http2: true,
			target: "/functions?x=1&y=%3B", payload: emptyHash},
		{name: "h2 upload", method: "PUT", url: "https://s3.eu-central-1.amazonaws.com/bucket/key", service: "s3", hash: unsigned, body: "body", http2: true,
			target: "/bucket/key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, c.method, c.url, nil)
			if c.body != "" {
				r = request(t, c.method, c.url, strings.NewReader(c.body))
			}
			r.Header.Set("X-Forwarded-For", "signed-too")
			r.Header.Set("Postern-Session", "01K0OTHER")
			resp, body := do(t, client(t, env, c.http2), sign(t, r, env, c.service, c.hash))
			if resp.StatusCode != http.StatusTeapot || body != "answer" || resp.Header.Get("X-Amz-Request-Id") != "AWS1" {
				t.Fatalf("answer %d %q %v", resp.StatusCode, body, resp.Header)
			}
			if c.http2 != (resp.ProtoMajor == 2) {
				t.Errorf("spoke %s", resp.Proto)
			}
			want := []string{strings.Join([]string{c.method, r.URL.Host, c.target, "HTTP/1.1", "alice", "01K0SESSION1", c.payload, "signed-too", c.body, "<nil>"}, " ")}
			if diff := cmp.Diff(want, s.take()); diff != "" {
				t.Errorf("at the proxy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPresigned(t *testing.T) {
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) { s.add(r.RequestURI) })
	env := h.Env()
	presign := func(expires string, at time.Time) string {
		r := request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key?X-Amz-Expires="+expires, nil)
		u, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: value(t, env, "AWS_ACCESS_KEY_ID"), SecretAccessKey: value(t, env, "AWS_SECRET_ACCESS_KEY")},
			r, unsigned, "s3", "eu-central-1", at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	c := client(t, env, false)
	good := presign("3600", time.Now().Add(-30*time.Minute))
	if resp, body := do(t, c, request(t, "GET", good, nil)); resp.StatusCode != 200 || len(s.take()) != 1 {
		t.Errorf("presigned: %d %s", resp.StatusCode, body)
	}
	for name, u := range map[string]string{
		"expired":         presign("60", time.Now().Add(-time.Hour)),
		"another key":     strings.Replace(good, "/key?", "/kez?", 1),
		"longer validity": strings.Replace(good, "X-Amz-Expires=3600", "X-Amz-Expires=36000", 1),
	} {
		if resp, body := do(t, c, request(t, "GET", u, nil)); resp.StatusCode != 403 || !strings.Contains(body, "<Error><Code>") || len(s.take()) != 0 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
}

// The proxy hears at once that a client has gone.
func TestClientGone(t *testing.T) {
	gone := make(chan struct{})
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	for _, http2 := range []bool{false, true} {
		gone = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		r := sign(t, request(t, "GET", "https://s3.eu-central-1.amazonaws.com/bucket/key", nil), h.Env(), "s3", emptyHash)
		resp, err := client(t, h.Env(), http2).Do(r.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		<-gone
		resp.Body.Close()
	}
}

// A client that closes its side once it has said all, and still listens, hears of no success
// where its request was given up.
func TestHalfClosed(t *testing.T) {
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	for _, method := range []string{"GET", "PUT"} {
		conn, err := net.Dial("tcp", h.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := sign(t, request(t, method, "https://bucket.s3.eu-central-1.amazonaws.com/key", nil), h.Env(), "s3", emptyHash)
		if _, err := io.WriteString(conn, strings.Replace(head(r), "/key", r.URL.String(), 1)+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(conn); len(b) > 0 {
			t.Errorf("%s: %q", method, b)
		}
	}
}

// An answer that breaks off does so for the client as well: half an object must
// never look whole.
func TestAnswerCut(t *testing.T) {
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", "1000")
		}
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, http2 := range []bool{false, true} {
		for _, path := range []string{"/sized", "/chunked"} {
			r := sign(t, request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com"+path, nil), h.Env(), "s3", emptyHash)
			resp, err := client(t, h.Env(), http2).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err == nil || string(b) != "half" {
				t.Errorf("%s over %s: %q, error %v", path, resp.Proto, b, err)
			}
			resp.Body.Close()
		}
	}
}

// What the proxy sends arrives before it has sent everything, and the other
// way round: an event stream talks in both directions at once.
func TestFullDuplex(t *testing.T) {
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		buf := make([]byte, 5)
		for {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				return
			}
			_, _ = w.Write(append([]byte("re:"), buf...))
			_ = rc.Flush()
		}
	})
	pr, pw := io.Pipe()
	r := sign(t, request(t, "POST", "https://s3.eu-central-1.amazonaws.com/bucket/key", pr), h.Env(), "s3", unsigned)
	got := make(chan *http.Response)
	go func() {
		resp, err := client(t, h.Env(), true).Do(r)
		if err != nil {
			t.Error(err)
		}
		got <- resp
	}()
	var resp *http.Response
	for i := range 3 {
		fmt.Fprintf(pw, "word%d", i)
		if resp == nil {
			if resp = <-got; resp == nil {
				return
			}
			defer resp.Body.Close()
		}
		buf := make([]byte, 8)
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != fmt.Sprintf("re:word%d", i) {
			t.Fatalf("%q %v", buf, err)
		}
	}
	pw.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 0 {
		t.Errorf("%q %v", b, err)
	}
}

// poisoned is a body that must not be asked for.
type poisoned struct{ t *testing.T }

func (p poisoned) Read([]byte) (int, error) {
	p.t.Error("the client uploaded before it was told to continue")
	return 0, errors.New("read")
}

// A denial reaches a client that waits for "100 Continue" before it uploads; an
// admission lets it upload, once.
func TestExpectContinue(t *testing.T) {
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/denied" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		b, err := io.ReadAll(r.Body)
		fmt.Fprint(w, len(b), err)
	})
	put := func(path string, body io.Reader) *http.Request {
		r := request(t, "PUT", "https://bucket.s3.eu-central-1.amazonaws.com"+path, body)
		r.ContentLength = 1 << 20
		r = sign(t, r, h.Env(), "s3", unsigned)
		r.Header.Set("Expect", "100-continue")
		return r
	}
	for _, http2 := range []bool{false, true} {
		c := client(t, h.Env(), http2)
		if resp, body := do(t, c, put("/denied", poisoned{t})); resp.StatusCode != 403 || body != "no\n" || (resp.ProtoMajor == 2) != http2 {
			t.Errorf("%s %d %q", resp.Proto, resp.StatusCode, body)
		}
		if resp, body := do(t, c, put("/admitted", strings.NewReader(strings.Repeat("x", 1<<20)))); resp.StatusCode != 200 || body != "1048576 <nil>" {
			t.Errorf("%s %d %q", resp.Proto, resp.StatusCode, body)
		}
		// A wrong signature is answered by the helper in the same way.
		r := put("/never", poisoned{t})
		r.Header.Set("X-Amz-Content-Sha256", emptyHash)
		if resp, body := do(t, c, r); resp.StatusCode != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
			t.Errorf("%s %d %q", resp.Proto, resp.StatusCode, body)
		}
	}
}

func TestTwoSessions(t *testing.T) {
	var s seen
	other := local.Session{ID: "01K0SESSION2", App: "other"}
	h := pair(t, func(w http.ResponseWriter, r *http.Request) { s.add(r.Header.Get("Postern-Session")) }, func(c *local.Config) {
		c.Sessions = append(c.Sessions, other)
		twice := *c
		twice.Dir, twice.Sessions = t.TempDir(), append(c.Sessions, other)
		if _, err := local.New(twice); err == nil {
			t.Error("the same session twice")
		}
	})
	second := h.SessionEnv("01K0SESSION2")
	for _, v := range second {
		if v.Name == "AWS_REGION" {
			t.Error("AWS_REGION for a session that has none")
		}
	}
	for _, env := range [][]local.Var{h.Env(), second} {
		do(t, client(t, env, false), sign(t, request(t, "GET", "https://s3.eu-central-1.amazonaws.com/bucket/key", nil), env, "s3", emptyHash))
	}
	if diff := cmp.Diff([]string{"01K0SESSION1", "01K0SESSION2"}, s.take()); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

// Calls of one client over HTTP/2 share a connection. One whose body is not taken for now,
// as while it is held, holds up no other.
func TestStalledUploadHoldsUpNone(t *testing.T) {
	stalled, over := make(chan struct{}, 3), make(chan struct{})
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "stalled") {
			stalled <- struct{}{}
			<-over
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	c := client(t, h.Env(), true)
	put := func(key string) *http.Request {
		return sign(t, request(t, "PUT", "https://s3.eu-central-1.amazonaws.com/bucket/"+key, strings.NewReader(strings.Repeat("x", 32<<20))), h.Env(), "s3", unsigned)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { do(t, c, put("stalled")) })
		<-stalled
	}
	if resp, body := do(t, c, put("key")); resp.ProtoMajor != 2 || body != "33554432 <nil>" {
		t.Errorf("%s %s", resp.Proto, body)
	}
	close(over)
	all.Wait()
}
