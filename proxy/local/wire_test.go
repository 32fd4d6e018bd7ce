package local_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/posternhq/postern/proxy/local"
)

// wire is a connection through the helper on which a test writes what net/http would not.
func wire(t *testing.T, h *local.Helper, host string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: %[1]s:443\r\n\r\n", host)
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	pem, err := os.ReadFile(value(t, h.Env(), "AWS_CA_BUNDLE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn := tls.Client(c, &tls.Config{ServerName: host, RootCAs: roots})
	return conn, bufio.NewReader(conn)
}

// head is the request as it goes over the wire, without the empty line.
func head(r *http.Request, more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), r.URL.Host)
	_ = r.Header.Write(&b) // a strings.Builder takes everything
	for _, line := range more {
		b.WriteString(line + "\r\n")
	}
	return b.String()
}

// A length of zero that was declared, and may be signed, stays declared, with methods
// too that net/http sends none with, but for OPTIONS, which it would send twice.
func TestDeclaredLengthZero(t *testing.T) {
	lengths := make(chan []string, 1)
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) { lengths <- r.Header["Content-Length"] })
	for _, method := range []string{"DELETE", "POST", "PUT", "OPTIONS"} {
		for _, declared := range []bool{true, false} {
			r := sign(t, request(t, method, "https://bucket.s3.eu-central-1.amazonaws.com/key", nil), h.Env(), "s3", emptyHash)
			conn, in := wire(t, h, r.URL.Host)
			var more []string
			if declared {
				more = []string{"Content-Length: 0"}
			}
			io.WriteString(conn, head(r, more...)+"\r\n")
			resp, err := http.ReadResponse(in, r)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(method, resp, err)
			}
			got := <-lengths
			want := declared && method != http.MethodOptions
			if want && (len(got) != 1 || got[0] != "0") || !want && (method == http.MethodDelete || method == http.MethodOptions) && len(got) > 0 {
				t.Errorf("%s, declared %v: Content-Length %q", method, declared, got)
			}
		}
	}
}

// A body that the client garbles is the client's fault, and no retry mends it: it is not
// said of the proxy that it does not answer.
func TestGarbledBody(t *testing.T) {
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, c := range []struct{ name, payload, body string }{
		{"chunk size", unsigned, "5\r\nhello\r\nnot hexadecimal\r\n"},
		{"line ends", unsigned, "5\nhello\n0\n\n"},
		{"of signed chunks", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "zz\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, "PUT", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
			conn, in := wire(t, h, r.URL.Host)
			io.WriteString(conn, head(sign(t, r, h.Env(), "s3", c.payload), "Transfer-Encoding: chunked")+"\r\n"+c.body)
			resp, err := http.ReadResponse(in, r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(b), "<Code>InvalidRequest</Code>") || !strings.Contains(string(b), "request&#39;s body") {
				t.Errorf("%d %s %v", resp.StatusCode, b, err)
			}
		})
	}
}

// What AWS says nothing about, nobody makes up.
func TestNoContentTypeMadeUp(t *testing.T) {
	long := strings.Repeat("<html>", 1000)
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		if r.URL.Path == "/whole" {
			w.Header().Set("Content-Length", fmt.Sprint(len(long)))
		}
		io.WriteString(w, long)
	})
	cl := client(t, h.Env(), false)
	for _, key := range []string{"whole", "chunked"} {
		r := sign(t, request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/"+key, nil), h.Env(), "s3", emptyHash)
		for range 300 { // it was a race between two goroutines
			if resp, body := do(t, cl, r); body != long || resp.Header["Content-Type"] != nil {
				t.Fatalf("%s: %.20q, Content-Type %q", key, body, resp.Header["Content-Type"])
			}
		}
	}
}

// Headers that are too long for the proxy are refused in AWS's form.
func TestLongHeaders(t *testing.T) {
	h := pair(t, func(w http.ResponseWriter, r *http.Request) {
		// As net/http does by itself, see http.Server.MaxHeaderBytes.
		w.Header().Set("Connection", "close")
		http.Error(w, "431 Request Header Fields Too Large", http.StatusRequestHeaderFieldsTooLarge)
	})
	r := request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	r.Header.Set("X-Amz-Meta-Long", strings.Repeat("x", 100<<10))
	resp, body := do(t, client(t, h.Env(), false), sign(t, r, h.Env(), "s3", emptyHash))
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "<Code>RequestHeaderSectionTooLarge</Code>") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// A client that was not told to continue may send its next request rather than the body,
// which must not be taken for the body: the connection ends, whatever the body was to be.
func TestNotToldToContinue(t *testing.T) {
	h := pair(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	for _, payload := range []string{unsigned, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"} {
		r := request(t, "PUT", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
		conn, in := wire(t, h, r.URL.Host)
		io.WriteString(conn, head(sign(t, r, h.Env(), "s3", payload), "Content-Length: 100000", "Expect: 100-continue")+"\r\n")
		resp, err := http.ReadResponse(in, r)
		if err != nil || resp.StatusCode != http.StatusForbidden || !resp.Close {
			t.Errorf("%s: %+v %v", payload, resp, err)
		}
	}
}

// What the helper says of a request arrives, whatever headers the client calls its
// connection's own: the proxy would take for verified what nobody has verified.
func TestConnectionNamesOurHeaders(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) {
		s.add(r.Header.Get("Postern-Session"), r.Header.Get("Postern-Unverified"), r.Header.Get("X-Hop"))
	})
	r := request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	r.Header.Set("X-Amz-Security-Token", "somebody's")
	guessed := []local.Var{{Name: "AWS_ACCESS_KEY_ID", Value: "ASIASOMEBODYSOWN0001"}, {Name: "AWS_SECRET_ACCESS_KEY", Value: "guessed"}}
	conn, in := wire(t, h, r.URL.Host)
	io.WriteString(conn, head(sign(t, r, guessed, "s3", emptyHash), "X-Hop: 1", "Connection: postern-unverified, Postern-Session, x-hop")+"\r\n")
	if resp, err := http.ReadResponse(in, r); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	if got := s.take(); len(got) != 1 || got[0] != "01K0SESSION1 1 " {
		t.Errorf("at the proxy: %q", got)
	}
}

// What a client sends after its body arrives as well.
func TestTrailers(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		s.add(string(b), r.Trailer.Get("X-Late"), fmt.Sprint(err))
	})
	r := request(t, "PUT", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	conn, in := wire(t, h, r.URL.Host)
	io.WriteString(conn, head(sign(t, r, h.Env(), "s3", unsigned), "Transfer-Encoding: chunked", "Trailer: X-Late")+"\r\n4\r\nbody\r\n0\r\nX-Late: yes\r\n\r\n")
	if resp, err := http.ReadResponse(in, r); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	r = request(t, "PUT", "https://bucket.s3.eu-central-1.amazonaws.com/key", struct{ io.Reader }{strings.NewReader("body")})
	r.Trailer = http.Header{"X-Late": {"yes"}}
	if resp, body := do(t, client(t, h.Env(), true), sign(t, r, h.Env(), "s3", unsigned)); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.StatusCode, body)
	}
	if got := s.take(); len(got) != 2 || got[0] != "body yes <nil>" || got[1] != got[0] {
		t.Errorf("at the proxy: %q", got)
	}
}

// An offer to go on in HTTP/2 is left alone: the call is made all the same.
func TestUpgradeLeftAlone(t *testing.T) {
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) {
		s.add(r.Method, r.Header.Get("Upgrade"), r.Header.Get("Connection"), r.Header.Get("Http2-Settings"))
	})
	r := request(t, "GET", "https://bucket.s3.eu-central-1.amazonaws.com/key", nil)
	conn, in := wire(t, h, r.URL.Host)
	io.WriteString(conn, head(sign(t, r, h.Env(), "s3", emptyHash), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")+"\r\n")
	if resp, err := http.ReadResponse(in, r); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	if got := s.take(); len(got) != 1 || got[0] != "GET   " {
		t.Errorf("at the proxy: %q", got)
	}
}
