// Package through makes connections by HTTP proxies that stand between this machine and
// others, for proxy and helper.
package through

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Dial asks an HTTP proxy for a tunnel to addr, HOST:PORT (RFC 9110, section 9.3.6).
func Dial(ctx context.Context, d *net.Dialer, through *url.URL, addr string) (net.Conn, error) {
	var conn net.Conn
	var err error
	switch through.Scheme {
	case "http":
		conn, err = d.DialContext(ctx, "tcp", withPort(through, "80"))
	case "https":
		conn, err = (&tls.Dialer{NetDialer: d, Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", withPort(through, "443"))
	default:
		err = fmt.Errorf("HTTPS_PROXY is a %q proxy; tunnels can go through http and https proxies", through.Scheme)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := through.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	br := bufio.NewReader(conn)
	resp, err := askTunnel(conn, br, req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the proxy %s answers %q", through.Host, resp.Status)
	}
	if err == nil && br.Buffered() > 0 {
		err = fmt.Errorf("the proxy %s sends before it was sent anything", through.Host)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func askTunnel(conn net.Conn, br *bufio.Reader, req *http.Request) (*http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(br, req)
}

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(strings.Trim(u.Host, "[]"), port)
}
