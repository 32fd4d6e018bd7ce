package proxy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

const object = "https://bucket.s3.us-east-1.amazonaws.com/object"

// held is an AWS that answers with the beginning of a long object and then
// waits until the proxy hangs up, which it tells.
func held(begun chan<- struct{}, gone chan<- error) func(*proxy.Config, *ststest.AWS) {
	return func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			if r.Method == "PUT" {
				_, err := io.ReadFull(r.Body, make([]byte, len("beginning")))
				begun <- struct{}{}
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
				}
				gone <- err
				return
			}
			w.Header().Set("X-Amz-Request-Id", "AWSREQUESTID")
			w.Header().Set("Content-Length", "1000000")
			w.Write([]byte("beginning"))
			if err := http.NewResponseController(w).Flush(); err != nil {
				gone <- err
				return
			}
			<-r.Context().Done()
			gone <- r.Context().Err()
		}
	}
}

// cuts are the ways in which access ends, with what is recorded.
var cuts = []struct {
	name, interrupted, detail string
	session                   func(*events.SessionStarted)
	end                       func(*rig, *events.SessionStarted)
}{
	{"lock", "lock", "lock lock-1 on user alice", nil, func(r *rig, _ *events.SessionStarted) {
		r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	}},
	{"end", "session_ended", "was ended by bob", nil, func(r *rig, s *events.SessionStarted) {
		r.emit(&events.SessionEnded{SessionID: s.SessionID, User: "alice", By: "bob"})
	}},
	{"expiry", "session_expired", "expired", func(s *events.SessionStarted) { s.ExpiresAt = time.Now().Add(3 * time.Second) }, func(*rig, *events.SessionStarted) {}},
}

func TestDownloadIsCut(t *testing.T) {
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			gone := make(chan error, 1)
			r := newRig(t, held(nil, gone))
			s := r.session(func(s *events.SessionStarted) {
				if c.session != nil {
					c.session(s)
				}
			})
			cl := r.client(s)
			resp, err := cl.Do(cl.request(t, "GET", object, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadFull(resp.Body, make([]byte, len("beginning"))); err != nil {
				t.Fatal(err) // the answer streams: this came while AWS still holds the rest
			}
			c.end(r, s)
			if n, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Errorf("the client believes that the answer is whole after %d more bytes", n)
			}
			if err := <-gone; err == nil {
				t.Error("AWS was not told")
			}
			done := payloads[*events.AWSRequestCompleted](r.audit())
			if len(done) != 1 || done[0].Interrupted != c.interrupted || !strings.Contains(done[0].InterruptedDetail, c.detail) || done[0].Status != 200 || done[0].ResponseBytes != 9 {
				t.Error(shown(done))
			}
		})
	}
}

func TestUploadIsCut(t *testing.T) {
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			begun, gone := make(chan struct{}, 1), make(chan error, 1)
			r := newRig(t, held(begun, gone))
			s := r.session(func(s *events.SessionStarted) {
				if c.session != nil {
					c.session(s)
				}
			})
			cl := r.client(s)
			pr, pw := io.Pipe()
			defer pw.Close()
			type result struct {
				resp *http.Response
				err  error
			}
			answered := make(chan result, 1)
			req := cl.request(t, "PUT", object, pr)
			go func() {
				resp, err := cl.Do(req)
				answered <- result{resp, err}
			}()
			if _, err := pw.Write([]byte("beginning")); err != nil {
				t.Fatal(err)
			}
			<-begun
			c.end(r, s)
			if err := <-gone; err == nil {
				t.Error("AWS believes that the upload is whole")
			}
			var got result
			select {
			case got = <-answered:
			case <-time.After(5 * time.Second): // Go's client lost its connection, and waits for its body
				pw.CloseWithError(io.ErrClosedPipe)
				got = <-answered
			}
			if got.err == nil {
				defer got.resp.Body.Close()
				next := c.name == "lock" || got.resp.Header.Get("Postern-Session-Over") != ""
				if b, err := io.ReadAll(got.resp.Body); got.resp.StatusCode != http.StatusForbidden || err != nil || !strings.Contains(string(b), c.detail) ||
					strings.Contains(string(b), "Run: postern apps login prod") == next {
					t.Errorf("%d %s %v", got.resp.StatusCode, b, err)
				}
			}
			done := payloads[*events.AWSRequestCompleted](r.audit())
			if len(done) != 1 || done[0].Interrupted != c.interrupted || !strings.Contains(done[0].InterruptedDetail, c.detail) || done[0].Status != 0 {
				t.Error(shown(done))
			}
		})
	}
}

// A client that takes nothing is cut too.
func TestStalledClientIsCut(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			chunk := make([]byte, 1<<20)
			for r.Context().Err() == nil {
				w.Write(chunk)
			}
		}
	})
	s := r.session()
	cl := r.client(s)
	resp, err := cl.Do(cl.request(t, "GET", object, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "session", Name: s.SessionID}, By: "admin"})
	r.eventually("the call ends, though its client is deaf", func() bool { return r.p.Running() == 0 })
	resp.Body.Close()
	if done := payloads[*events.AWSRequestCompleted](r.audit()); len(done) != 1 || done[0].Interrupted != "lock" {
		t.Error(shown(done))
	}
}

func TestClientGoesAway(t *testing.T) {
	gone := make(chan error, 1)
	r := newRig(t, held(nil, gone))
	cl := r.client(r.session())
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := cl.Do(cl.request(t, "GET", object, nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	if err := <-gone; err == nil {
		t.Error("AWS was not told")
	}
	if done := payloads[*events.AWSRequestCompleted](r.audit()); len(done) != 1 || done[0].Interrupted != "client_gone" {
		t.Error(shown(done))
	}
}

func TestAWSBreaksOff(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			w.Header().Set("Content-Length", "1000000")
			w.Write([]byte("beginning"))
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		}
	})
	cl := r.client(r.session())
	resp, err := cl.Do(cl.request(t, "GET", object, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("the client believes that %d bytes are the whole answer", n)
	}
	if done := payloads[*events.AWSRequestCompleted](r.audit()); len(done) != 1 || done[0].Interrupted != "upstream" || done[0].ResponseBytes != 9 {
		t.Error(shown(done))
	}
}

// The client's Expect is AWS's to answer: what AWS refuses is never sent.
func TestExpectContinue(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, k ststest.Key) {
			if r.URL.Path == "/refused" {
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusForbidden)
				return
			}
			echo(w, r, k)
		}
	})
	cl := r.client(r.session())
	for path, want := range map[string]int{"/refused": 403, "/taken": 200} {
		read := false
		req := cl.request(t, "PUT", "https://bucket.s3.us-east-1.amazonaws.com"+path, readerFunc(func(p []byte) (int, error) {
			read = true
			return 0, io.EOF
		}))
		req.ContentLength = -1
		req.Header.Set("Expect", "100-continue")
		resp, body := cl.do(t, req)
		if resp.StatusCode != want || read != (want == 200) {
			t.Errorf("%s: %d %s, body read: %v", path, resp.StatusCode, body, read)
		}
	}
	r.clean()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Framing and headers arrive as they left, both ways.
func TestHeadersAndFraming(t *testing.T) {
	type seen struct {
		te      []string
		length  int64
		header  http.Header
		trailer http.Header
	}
	var got seen
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
			got = seen{r.TransferEncoding, r.ContentLength, r.Header, r.Trailer}
			w.Header().Set("Trailer", "X-Amz-Checksum")
			w.Header()["Content-Type"] = nil
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusPartialContent)
			w.Write([]byte("not really gzip"))
			w.Header().Set("X-Amz-Checksum", "abc")
		}
	})
	cl := r.client(r.session())
	req := cl.request(t, "PUT", object, readerFunc(func([]byte) (int, error) { return 0, io.EOF }))
	req.ContentLength = -1
	req.Trailer = http.Header{"X-Late": {"yes"}}
	req.Header["User-Agent"] = nil
	req.Header.Set("Connection", "X-Hop")
	req.Header.Set("X-Hop", "1")
	req.Header.Set("X-Forwarded-For", "") // the stand-in refuses one
	req.Header.Del("X-Forwarded-For")
	req.Header.Set("X-Amzn-Trace-Id", "Root=1")
	resp, body := cl.do(t, req)
	if len(got.te) != 1 || got.te[0] != "chunked" || got.length != -1 {
		t.Errorf("framing %v %d", got.te, got.length)
	}
	for name, want := range map[string]string{"User-Agent": "", "Accept-Encoding": "", "X-Hop": "", "X-Amzn-Trace-Id": "Root=1"} {
		if v := got.header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if got.trailer.Get("X-Late") != "yes" {
		t.Errorf("trailer %v", got.trailer)
	}
	if _, ok := resp.Header["Content-Type"]; ok || resp.StatusCode != 206 || body != "not really gzip" || resp.Header.Get("Content-Encoding") != "gzip" || resp.Trailer.Get("X-Amz-Checksum") != "abc" {
		t.Errorf("%d %q %v %v", resp.StatusCode, body, resp.Header, resp.Trailer)
	}
	// A length that was declared stays declared, zero included.
	for _, method := range []string{"POST", "DELETE"} {
		req := cl.request(t, method, object, http.NoBody)
		req.TransferEncoding = []string{"identity"}
		cl.do(t, req)
		if got.header.Get("Content-Length") != "0" {
			t.Errorf("%s: Content-Length %q", method, got.header.Get("Content-Length"))
		}
	}
	r.clean()
}

// A length that the client signed and that does not come over the wire is not signed
// for AWS, which would miss it.
func TestSignedLengthZero(t *testing.T) {
	r := newRig(t, withEcho)
	cl := r.client(r.session())
	for _, method := range []string{"DELETE", "OPTIONS", "GET"} {
		req := cl.request(t, method, object, nil)
		if method == "OPTIONS" {
			req.Body, req.TransferEncoding = http.NoBody, []string{"identity"} // declared as well
		}
		req.Header.Set("Authorization", strings.Replace(req.Header.Get("Authorization"), "SignedHeaders=", "SignedHeaders=content-length;", 1))
		if resp, body := cl.do(t, req); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", method, resp.StatusCode, body)
		}
	}
	r.clean()
}
