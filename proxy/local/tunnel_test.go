package local_test

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/posternhq/postern/proxy/local"
)

// connect opens a tunnel through the helper, sending early along with CONNECT.
func connect(t *testing.T, helper, target, early string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", helper)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n%s", target, target, early)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("CONNECT: %v %v", resp, err)
	}
	return conn.(*net.TCPConn), br
}

// Bytes of no protocol pass a tunnel unchanged, those sent before the answer to
// CONNECT too, and each direction ends by itself.
func TestTunnel(t *testing.T) {
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("sent to the proxy") })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // reads to the end, then answers with what it read
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c)
			slices.Reverse(b)
			_, _ = c.Write(b)
			c.Close()
		}
	}()
	sent := make([]byte, 3<<20)
	rand.Read(sent)
	early := string(sent[:100])
	conn, br := connect(t, h.Addr(), ln.Addr().String(), early)
	if _, err := conn.Write(sent[100:]); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(br)
	slices.Reverse(got)
	if err != nil || !slices.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, error %v", len(got), len(sent), err)
	}
}

func TestTunnelToNobody(t *testing.T) {
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("sent to the proxy") })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	conn, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", ln.Addr(), ln.Addr())
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("%v %v", resp, err)
	}
}

// TLS of other hosts is theirs: the client sees their certificate.
func TestTunnelTLS(t *testing.T) {
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("sent to the proxy") })
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "theirs") }))
	defer other.Close()
	proxy := &url.URL{Scheme: "http", Host: h.Addr()}
	c := other.Client()
	c.Transport.(*http.Transport).Proxy = func(*http.Request) (*url.URL, error) { return proxy, nil }
	if resp, body := do(t, c, request(t, "GET", other.URL, nil)); resp.StatusCode != 200 || body != "theirs" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// Plain HTTP of other hosts passes with its target as it came; that of AWS's is
// verified and goes to the proxy.
func TestPlainHTTP(t *testing.T) {
	var s seen
	h := pair(t, func(w http.ResponseWriter, r *http.Request) { s.add(r.Host, r.RequestURI) })
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RequestURI, r.Header.Get("X-Forwarded-For"))
	}))
	defer other.Close()
	proxy := &url.URL{Scheme: "http", Host: h.Addr()}
	tr := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return proxy, nil }}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	if resp, body := do(t, c, request(t, "GET", other.URL+"/a%28b?x=;&%zz", nil)); resp.StatusCode != 200 || body != "/a%28b?x=;&%zz" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	aws := func() *http.Request {
		return sign(t, request(t, "GET", "http://bucket.s3.eu-central-1.amazonaws.com/k%28?y=1", nil), h.Env(), "s3", emptyHash)
	}
	if resp, _ := do(t, c, aws()); resp.StatusCode != 200 || !slices.Equal(s.take(), []string{"bucket.s3.eu-central-1.amazonaws.com /k%28?y=1"}) {
		t.Errorf("AWS over http: %d", resp.StatusCode)
	}
	r := aws()
	r.URL.RawQuery = "y=2"
	if resp, _ := do(t, c, r); resp.StatusCode != 403 || len(s.take()) != 0 {
		t.Errorf("AWS over http, changed: %d", resp.StatusCode)
	}
}

// Where the user's own HTTPS_PROXY leads by a proxy, other hosts are reached by it, with
// its password, and the hosts that it leaves out are not.
func TestTunnelThroughTheUsersProxy(t *testing.T) {
	asked := make(chan *http.Request, 1)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		c, br, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
		if line, err := br.ReadString('\n'); err != nil || line != "hello\n" {
			t.Errorf("%q, %v", line, err)
		}
		fmt.Fprint(c, "the other side")
	}))
	defer between.Close()
	u, err := url.Parse(between.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("u", "p")
	direct, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("sent to the proxy") }, func(c *local.Config) {
		c.Through = func(r *http.Request) (*url.URL, error) {
			if r.URL.Host == direct.Addr().String() {
				return nil, nil
			}
			return u, nil
		}
	})
	for _, host := range []string{"registry.example.com:443", "111122223333.dkr.ecr.us-east-1.amazonaws.com:443"} {
		_, br := connect(t, h.Addr(), host, "hello\n")
		if b, err := io.ReadAll(br); err != nil || string(b) != "the other side" {
			t.Errorf("%q, %v", b, err)
		}
		if r := <-asked; r.Method != http.MethodConnect || r.RequestURI != host || r.Header.Get("Proxy-Authorization") != "Basic dTpw" {
			t.Errorf("%s %s %v", r.Method, r.RequestURI, r.Header)
		}
	}
	connect(t, h.Addr(), direct.Addr().String(), "")
	c, err := direct.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
