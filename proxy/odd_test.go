package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sigv4"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// rawly is a connection to an AWS host through a helper, for what net/http would not write.
func (r *rig) rawly(helped *http.Client, host string) net.Conn {
	r.t.Helper()
	transport := helped.Transport.(*http.Transport)
	helper, err := transport.Proxy(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := net.Dial("tcp", helper.Host)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: %[1]s:443\r\n\r\n", host)
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatal(resp, err)
	}
	return tls.Client(c, &tls.Config{ServerName: host, RootCAs: transport.TLSClientConfig.RootCAs})
}

// Whatever a client writes between a helper, a proxy and AWS, all three take it for the same
// requests, or it is refused: nothing comes to AWS that was not admitted, and nothing that
// was not signed.
func TestOddHTTP(t *testing.T) {
	var mu sync.Mutex
	var arrived []string
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, req *http.Request, _ ststest.Key) {
			b, err := io.ReadAll(req.Body)
			said := strings.TrimSpace(fmt.Sprint(req.Method, " ", req.RequestURI, " ", string(b)))
			if err != nil {
				said += " " + err.Error()
			}
			mu.Lock()
			arrived = append(arrived, said)
			mu.Unlock()
			io.WriteString(w, said)
		}
	})
	helped, creds := r.helped(r.session())
	const host = "bucket.s3.us-east-1.amazonaws.com"
	signer := r.client(&events.SessionStarted{}).signer
	// head is that of a signed request, with some more lines.
	head := func(method, target string, lines ...string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Method = method
		req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		if err := signer.SignHTTP(t.Context(), creds, req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, target)
		hosted := false
		for _, line := range lines {
			hosted = hosted || strings.HasPrefix(line, "Host:")
		}
		if !hosted {
			b.WriteString("Host: " + host + "\r\n")
		}
		_ = req.Header.Write(&b) // a strings.Builder takes everything
		for _, line := range lines {
			b.WriteString(line + "\r\n")
		}
		return b.String() + "\r\n"
	}
	auth := func(text string) string {
		_, rest, _ := strings.Cut(text, "Authorization: ")
		line, _, _ := strings.Cut(rest, "\r\n")
		return line
	}
	hidden := head("DELETE", "/hidden")
	get := head("GET", "/k")
	for _, c := range []struct {
		name, text string
		want       string // what comes to AWS, and status where nothing does
	}{
		{"plain", get, "GET /k"},
		{"method in lower case", head("get", "/k"), "get /k"}, // no operation has it: roles that narrow refuse
		{"method of no name", head("FROB", "/k"), "FROB /k"},
		{"absolute form", strings.Replace(get, "GET /k", "GET https://"+host+"/k", 1), "GET /k"},
		{"absolute form, another host", strings.Replace(get, "GET /k", "GET https://other.s3.us-east-1.amazonaws.com/k", 1), ""},
		{"HTTP/1.0", strings.Replace(get, "HTTP/1.1", "HTTP/1.0", 1), "GET /k"},
		{"no host", strings.Replace(get, "Host: "+host+"\r\n", "", 1), ""},
		{"empty host", head("GET", "/k", "Host:"), ""},
		{"two hosts", head("GET", "/k", "Host: "+host, "Host: "+host), ""},
		{"two other hosts", head("GET", "/k", "Host: "+host, "Host: other.s3.us-east-1.amazonaws.com"), ""},
		{"host and user", head("GET", "/k", "Host: x@"+host), ""},
		{"host and another port", head("GET", "/k", "Host: "+host+":80"), ""},
		{"folded line", head("GET", "/k", "X-Folded: a", " b"), "GET /k"},
		{"space before the colon", head("GET", "/k", "X-Odd : a"), ""},
		{"bare CR", head("GET", "/k", "X-Odd: a\rX-Amz-Acl: public-read"), ""},
		{"NUL", head("GET", "/k", "X-Odd: a\x00"), ""},
		{"two Authorization", head("GET", "/k", "Authorization: "+auth(get)), ""},
		{"Connection names Authorization", head("GET", "/k", "Connection: authorization"), ""},
		{"Connection names the date", head("GET", "/k", "Connection: X-Amz-Date"), ""},
		{"Connection names the host", head("GET", "/k", "Connection: host"), "GET /k"},
		{"Connection names the length", head("PUT", "/k", "Connection: content-length", "Content-Length: 4") + "body", "PUT /k body"},
		{"one length twice", head("PUT", "/k", "Content-Length: 4", "Content-Length: 4") + "body", "PUT /k body"},
		{"two lengths", head("PUT", "/k", "Content-Length: 4", "Content-Length: 5") + "body" + hidden, ""},
		{"signed length", head("PUT", "/k", "Content-Length: +4") + "body" + hidden, ""},
		{"list of lengths", head("PUT", "/k", "Content-Length: 4, 4") + "body" + hidden, ""},
		{"length and chunks", head("PUT", "/k", "Content-Length: 5", "Transfer-Encoding: chunked") + "4\r\nbody\r\n0\r\n\r\n", "PUT /k body"},
		{"chunked twice", head("PUT", "/k", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n" + hidden, ""},
		{"chunked in a list", head("PUT", "/k", "Transfer-Encoding: chunked, chunked") + "0\r\n\r\n" + hidden, ""},
		{"compressed and chunked", head("PUT", "/k", "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n" + hidden, ""},
		{"identity", head("PUT", "/k", "Transfer-Encoding: identity", "Content-Length: 4") + "body", ""},
		{"chunked, misspelt", head("PUT", "/k", "Transfer-Encoding: \x0bchunked", "Content-Length: 4") + "body", ""},
		{"extension of a chunk", head("PUT", "/k", "Transfer-Encoding: chunked") + "4;a=b\r\nbody\r\n0;c\r\n\r\n", "PUT /k body"},
		{"trailer that frames", head("PUT", "/k", "Transfer-Encoding: chunked", "Trailer: Content-Length") + "4\r\nbody\r\n0\r\nContent-Length: 9\r\n\r\n", ""},
		{"trailer that was not announced", head("PUT", "/k", "Transfer-Encoding: chunked") + "4\r\nbody\r\n0\r\nX-Amz-Acl: public-read\r\n\r\n", "PUT /k body"},
		{"GET with a body", head("GET", "/k", "Content-Length: 4") + "body", "GET /k body"},
		{"DELETE in chunks", head("DELETE", "/k", "Transfer-Encoding: chunked") + "4\r\nbody\r\n0\r\n\r\n", "DELETE /k body"},
		{"expects what nobody knows", head("PUT", "/k", "Expect: wonders", "Content-Length: 4") + "body", ""},
		{"does not wait to continue", head("PUT", "/k", "Expect: 100-continue", "Content-Length: 4") + "body", "PUT /k body"},
		{"encoded line end", head("GET", "/k%0D%0AX-Amz-Acl%3A%20public-read"), "GET /k%0D%0AX-Amz-Acl%3A%20public-read"},
		{"asks for another protocol", head("POST", "/k", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 4") + "body", ""},
		{"long target", head("GET", "/"+strings.Repeat("k", 100<<10)), ""},
		{"a thousand headers", head("GET", "/k", strings.Split(strings.Repeat("X-Many: 1,", 1000)+"X-Last: 1", ",")...), "GET /k"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := r.rawly(helped, host)
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			go io.WriteString(conn, c.text) // it may not be read to its end
			method, _, _ := strings.Cut(c.text, " ")
			resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
			for err == nil && resp.StatusCode == http.StatusContinue {
				resp, err = http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			mu.Lock()
			got := arrived
			arrived = nil
			mu.Unlock()
			if err != nil || c.want == "" && (len(got) > 0 || resp.StatusCode < 400 || resp.StatusCode == http.StatusTooManyRequests) ||
				c.want != "" && (len(got) != 1 || got[0] != c.want || resp.StatusCode != http.StatusOK) {
				t.Errorf("%d %s %v; at AWS %q, want %q", resp.StatusCode, b, err, got, c.want)
			}
		})
	}
	// What HTTP/2 has room for, and a line of HTTP/1.1 has not.
	t.Run("space in the target", func(t *testing.T) {
		for _, target := range []string{"/k /hidden", "/k?a= HTTP/1.1"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			path, query, _ := strings.Cut(target, "?")
			req.URL.Opaque, req.URL.RawQuery = path, query
			req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			in := &sigv4.Authorization{Scope: sigv4.Scope{Region: "us-east-1", Service: "s3"}, Payload: sigv4.PayloadUnsigned, PayloadHash: "UNSIGNED-PAYLOAD"}
			// An error is about sending it by HTTP/1.1.
			_, _ = new(sigv4.Signer).Sign(req, sigv4.Credentials{AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey}, in, "", time.Now())
			req.URL.Opaque, req.URL.RawQuery = path, query
			resp, err := helped.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(b), "has a space in it") {
				t.Errorf("%s: %s %d %s", target, resp.Proto, resp.StatusCode, b)
			}
		}
	})
	// What is sent without waiting for answers is answered in its order.
	t.Run("in a row", func(t *testing.T) {
		conn := r.rawly(helped, host)
		go io.WriteString(conn, head("PUT", "/1", "Content-Length: 4")+"body"+head("GET", "/2")+head("PUT", "/3", "Transfer-Encoding: chunked")+"4\r\nbody\r\n0\r\n\r\n"+head("GET", "/4"))
		in := bufio.NewReader(conn)
		for _, want := range []string{"PUT /1 body", "GET /2", "PUT /3 body", "GET /4"} {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != want {
				t.Errorf("%q %v, want %q", b, err, want)
			}
		}
	})
	r.clean()
	es := r.audit()
	if a, c := payloads[*events.AWSRequestAdmitted](es), payloads[*events.AWSRequestCompleted](es); len(a) != len(c) {
		t.Errorf("%d admitted, %d completed", len(a), len(c))
	}
	for _, a := range payloads[*events.AWSRequestAdmitted](es) {
		if a.Path == "/hidden" {
			t.Errorf("admitted: %+v", a)
		}
	}
}

// An upload in signed chunks that ends before its last one, wherever, is never whole at AWS,
// and what became of it is on record, once.
func TestSignedChunksCut(t *testing.T) {
	whole := make(chan bool, 8)
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(_ http.ResponseWriter, req *http.Request, k ststest.Key) {
			_, err := unchunk(req, k.Secret)
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			whole <- err == nil
		}
	})
	helped, creds := r.helped(r.session())
	const host = "bucket.s3.us-east-1.amazonaws.com"
	signer := r.client(&events.SessionStarted{}).signer
	big := strings.Repeat("x", 70_000)
	// framed are the parts of a signed body: two chunks and the last one.
	framed := func(req *http.Request) []string {
		chain, parts := chunksOf(req, creds.SecretAccessKey), []string{}
		for _, data := range []string{big, "hello", ""} {
			parts = append(parts, fmt.Sprintf("%x;chunk-signature=%s\r\n%s\r\n", len(data), chain.next([]byte(data)), data))
		}
		return parts
	}
	length := 0
	request := func(h1chunks bool) (*http.Request, []string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+host+"/k", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
		req.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(big)+5))
		if !h1chunks {
			req.ContentLength = int64(length)
		}
		if err := signer.SignHTTP(t.Context(), creds, req, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		return req, framed(req)
	}
	_, parts := request(true)
	length = len(strings.Join(parts, ""))
	cuts := 0
	for _, chunked := range []bool{false, true} {
		wrap := func(s string) string { return s }
		if chunked {
			wrap = func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
		}
		for name, cut := range map[string]func(parts []string) string{
			"whole":               func(p []string) string { return wrap(p[0]) + wrap(p[1]) + wrap(p[2]) },
			"within a chunk":      func(p []string) string { return wrap(p[0][:40_000]) },
			"between chunks":      func(p []string) string { return wrap(p[0]) + wrap(p[1]) },
			"within the last one": func(p []string) string { return wrap(p[0]) + wrap(p[1]) + wrap(p[2][:20]) },
			"more than there is":  func(p []string) string { return wrap(p[0]) + wrap(p[1]) + wrap(p[2]) + wrap("5;") },
		} {
			for _, said := range []bool{false, true} { // the end of the body, though it is none
				if said && !chunked || name == "whole" && !said || name == "more than there is" && !chunked {
					continue
				}
				t.Run(fmt.Sprintf("%s, chunked %v, end said %v", name, chunked, said), func(t *testing.T) {
					req, parts := request(chunked)
					conn := r.rawly(helped, host)
					var b strings.Builder
					fmt.Fprintf(&b, "PUT /k HTTP/1.1\r\nHost: %s\r\n", host)
					_ = req.Header.Write(&b) // a strings.Builder takes everything
					if chunked {
						b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
					} else {
						fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", length)
					}
					b.WriteString(cut(parts))
					if said {
						b.WriteString("0\r\n\r\n")
					}
					if _, err := io.WriteString(conn, b.String()); err != nil {
						t.Fatal(err)
					}
					status := 0
					if said || name == "whole" {
						resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
						if err != nil {
							t.Fatal(err)
						}
						status = resp.StatusCode
					}
					conn.Close()
					if got := <-whole; got != (name == "whole") {
						t.Errorf("whole at AWS: %v", got)
					}
					if (status == http.StatusOK) != (name == "whole") || status >= 500 {
						t.Errorf("status %d", status)
					}
					cuts++
				})
			}
		}
	}
	r.clean()
	es := r.audit()
	ends := len(payloads[*events.AWSRequestCompleted](es)) + len(payloads[*events.AWSRequestFailed](es))
	if n := len(payloads[*events.AWSRequestAdmitted](es)); n != cuts || ends != cuts {
		t.Errorf("%d admitted, %d ended, of %d", n, ends, cuts)
	}
	for _, c := range payloads[*events.AWSRequestCompleted](es) {
		if c.Status == 0 && c.Interrupted != "client_gone" {
			t.Errorf("%+v", c)
		}
	}
}

// Calls that share a connection, by HTTP/2, are not held up by one to whose body AWS does
// not listen for now.
func TestStalledStreamHoldsUpNone(t *testing.T) {
	stalled, over := make(chan struct{}, 3), make(chan struct{})
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, req *http.Request, _ ststest.Key) {
			if req.URL.Path == "/stalled" {
				stalled <- struct{}{}
				<-over
			}
			n, err := io.Copy(io.Discard, req.Body)
			fmt.Fprint(w, n, err)
		}
	})
	cl := r.client(r.session())
	tr := r.transport("alice")
	tr.TLSClientConfig, tr.DialTLSContext, tr.DialContext = r.tls("alice"), nil, r.dial
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP2(true)
	cl.Transport = tr
	put := func(key string) *http.Request {
		return cl.request(t, "PUT", "https://bucket.s3.us-east-1.amazonaws.com/"+key, strings.NewReader(strings.Repeat("x", 16<<20)))
	}
	var all sync.WaitGroup
	for range 3 {
		req := put("stalled")
		all.Go(func() { cl.do(t, req) })
		<-stalled
	}
	if resp, body := cl.do(t, put("key")); resp.ProtoMajor != 2 || body != "16777216 <nil>" {
		t.Errorf("%s %s", resp.Proto, body)
	}
	close(over)
	all.Wait()
	r.clean()
}
