package local_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// nothing is a resolver that knows no name.
func nothing(t *testing.T) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for b := make([]byte, 1500); ; {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			// RFC 1035, section 4.1.1: QR, and RCODE 3 for "Name Error".
			b[2], b[3] = b[2]|0x80, b[3]&0xf0|3
			_, _ = server.WriteTo(b[:n], from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// A region that is mistyped names no machine: AWS clients are told by an error of
// AWS's, others by the status line.
func TestNoSuchHost(t *testing.T) {
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("sent to the proxy") })
	h.ResolveWith(nothing(t))
	env := h.Env()
	for _, http2 := range []bool{false, true} {
		r := sign(t, request(t, "GET", "https://s3.eu-centrl-1.amazonaws.com/", nil), env, "s3", emptyHash)
		resp, body := do(t, client(t, env, http2), r)
		if resp.StatusCode != 400 || !strings.Contains(body, "no endpoint s3.eu-centrl-1.amazonaws.com") || !strings.Contains(body, "is the region right?") {
			t.Errorf("HTTP/2 %v: %d %s", http2, resp.StatusCode, body)
		}
	}
	for _, target := range []string{"nothing.example:443", "db.rds.amazonaws.com:5432"} {
		conn, err := net.Dial("tcp", h.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadGateway || !strings.Contains(resp.Status, "cannot reach "+target) {
			t.Errorf("%s: %s", target, resp.Status)
		}
	}
}
