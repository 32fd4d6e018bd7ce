package proxy_test

import (
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// A URL of Signature Version 2 on the host without a region is signed for the
// session's, and the error in AWS's answer is recorded by name.
func TestPresignedV2OnGlobalHost(t *testing.T) {
	scope := make(chan string, 1)
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			scope <- r.Header.Get("Authorization")
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>`)
		}
	})
	s := r.session(func(s *events.SessionStarted) { s.Region = "eu-west-1" })
	c := r.client(s)
	q := url.Values{"AWSAccessKeyId": {"AKIDEXAMPLE"}, "Signature": {base64.StdEncoding.EncodeToString(make([]byte, 20))},
		"Expires": {fmt.Sprint(time.Now().Add(time.Minute).Unix())}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://s3.amazonaws.com/bucket/key?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Postern-Session", s.SessionID)
	if resp, body := c.do(t, req); resp.StatusCode != http.StatusNotFound {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if got := <-scope; !strings.Contains(got, "/eu-west-1/s3/aws4_request") {
		t.Errorf("signed %s", got)
	}
	r.clean()
	done := payloads[*events.AWSRequestCompleted](r.audit())
	if len(done) != 1 || done[0].AWSErrorCode != "NoSuchKey" || done[0].Status != http.StatusNotFound {
		t.Errorf("%+v", done)
	}
}

// S3 says by a redirect that a bucket is elsewhere, and CloudTrail takes that for an error.
func TestRedirectIsAnError(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusMovedPermanently)
			io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>PermanentRedirect</Code><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint></Error>`)
		}
	})
	c := r.client(r.session())
	if resp, body := c.do(t, c.request(t, "GET", object, nil)); resp.StatusCode != http.StatusMovedPermanently || !strings.Contains(body, "PermanentRedirect") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if done := payloads[*events.AWSRequestCompleted](r.audit()); len(done) != 1 || done[0].AWSErrorCode != "PermanentRedirect" {
		t.Error(shown(done))
	}
}

// What the proxy says to the helper, nobody else does: whose API is behind a host of AWS's
// has no role asked for by who uses `postern aws --request`, and ends no session.
func TestAnswersSayNothingForPostern(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			for _, name := range []string{"Postern-Requestable-Role", "Postern-Access-Request", "Postern-Session-Over", "Postern-Unheard-Of"} {
				w.Header().Set(name, "x")
			}
			w.Header().Set("X-Theirs", "x")
			w.WriteHeader(http.StatusForbidden)
		}
	})
	c := r.client(r.session())
	resp, _ := c.do(t, c.request(t, "GET", object, nil)) // as if it were of one
	for name := range resp.Header {
		if strings.HasPrefix(name, "Postern-") {
			t.Errorf("the helper gets %s", name)
		}
	}
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get("X-Theirs") != "x" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

// An answer that is none is a failure, and on record.
func TestNoStatus(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, "HTTP/1.1 099 Odd\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			conn.Close()
		}
	})
	c := r.client(r.session())
	if resp, body := c.do(t, c.request(t, "PUT", object, strings.NewReader("x"))); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "status 099") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	es := r.audit()
	if failed := payloads[*events.AWSRequestFailed](es); len(failed) != 1 || len(payloads[*events.AWSRequestAdmitted](es)) != 1 {
		t.Error(shown(failed))
	}
}

// Go's clients accept gzip unasked: an error that AWS compressed has a name all the same.
func TestCompressedError(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusBadRequest)
			z := gzip.NewWriter(w)
			fmt.Fprintf(z, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"%x"}`, sha512.Sum512(nil))
			z.Close()
		}
	})
	c := r.client(r.session())
	c.Transport.(*http.Transport).DisableCompression = false
	resp, body := c.do(t, c.call(t, "dynamodb", "POST", "https://dynamodb.us-east-1.amazonaws.com/", `{"TableName":"t"}`, target("DynamoDB_20120810.GetItem", "1.0")))
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "ResourceNotFoundException") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if done := payloads[*events.AWSRequestCompleted](r.audit()); len(done) != 1 || done[0].AWSErrorCode != "ResourceNotFoundException" {
		t.Error(shown(done))
	}
}

// A request that a dying connection may have brought to AWS is not sent again: only the
// client knows whether it wants that, and then there is a record of it.
func TestNothingIsSentAgain(t *testing.T) {
	var served atomic.Int64
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			served.Add(1)
			if !strings.HasPrefix(r.URL.Path, "/lost") {
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}
	})
	c := r.client(r.session())
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPost} {
		for _, path := range []string{"first", "lost"} { // on one connection
			req := c.request(t, method, "https://b.s3.us-east-1.amazonaws.com/"+path, nil)
			if method == http.MethodPost {
				req.Header.Set("Idempotency-Key", "1")
			}
			want := http.StatusOK
			if path == "lost" {
				want = http.StatusServiceUnavailable
			}
			if resp, body := c.do(t, req); resp.StatusCode != want {
				t.Errorf("%s /%s: %d %s", method, path, resp.StatusCode, body)
			}
		}
	}
	es := r.audit()
	if n := len(payloads[*events.AWSRequestAdmitted](es)); n != 10 || served.Load() != 10 {
		t.Errorf("%d admitted, %d came to AWS", n, served.Load())
	}
	failed := payloads[*events.AWSRequestFailed](es)
	if len(failed) != 5 {
		t.Fatalf("%d failed", len(failed))
	}
	for _, f := range failed {
		if f.Stage != "forward" || f.Path != "/lost" {
			t.Errorf("%+v", f)
		}
	}
	r.clean()
}

// wire leads connections to a proxy until they are cut, as when that machine dies.
type wire struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (r *rig) wire() *wire {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	w := &wire{Listener: ln}
	r.t.Cleanup(func() { _ = ln.Close(); w.cut() })
	go func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return // by Cleanup
			}
			to, err := net.Dial("tcp", r.p.Addr())
			if err != nil {
				_ = from.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, from, to)
			w.mu.Unlock()
			go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
			go func() { _, _ = io.Copy(from, to); _ = from.Close() }()
		}
	}()
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close() // some have ended by themselves
	}
	w.conns = nil
}

// A proxy that dies once it has admitted a request has admitted it once: the helper
// does not go to another with it. Only the client knows whether it wants that.
func TestHelperSendsNothingAgain(t *testing.T) {
	var w *wire
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(_ http.ResponseWriter, r *http.Request, _ ststest.Key) {
			if strings.HasPrefix(r.URL.Path, "/lost") {
				w.cut()
			}
		}
	})
	w = r.wire()
	s := r.session()
	helped, creds := r.helpedBy(s, w.Addr().String())
	c := r.client(s)
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPost}
	for _, method := range methods {
		for _, path := range []string{"first", "lost"} { // on one connection
			req, err := http.NewRequestWithContext(t.Context(), method, "https://b.s3.us-east-1.amazonaws.com/"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			if err := c.signer.SignHTTP(t.Context(), creds, req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
				t.Fatal(err)
			}
			if method == http.MethodPost {
				req.Header.Set("Idempotency-Key", "1")
			}
			want := http.StatusOK
			if path == "lost" {
				want = http.StatusServiceUnavailable
			}
			resp, err := helped.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.Body.Close(); resp.StatusCode != want {
				t.Errorf("%s /%s: %d %s", method, path, resp.StatusCode, body)
			}
		}
	}
	admitted := map[string]int{}
	for _, a := range payloads[*events.AWSRequestAdmitted](r.audit()) {
		admitted[a.Method+" "+a.Path]++
	}
	for _, method := range methods {
		for _, path := range []string{"/first", "/lost"} {
			if n := admitted[method+" "+path]; n != 1 {
				t.Errorf("%s %s was admitted %d times", method, path, n)
			}
		}
	}
}
