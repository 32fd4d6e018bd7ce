package sts

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
	"time"
)

// Connect makes a connection to an AWS host ("name:443") the way that Apply
// makes requests go, without speaking TLS on it: that is for whoever it is made
// for. It waits up to 10 s.
func (l Link) Connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := &net.Dialer{KeepAlive: 30 * time.Second}
	if l.Dial != "" {
		return d.DialContext(ctx, "tcp", l.Dial)
	}
	through, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: addr}})
	if err != nil {
		return nil, fmt.Errorf("HTTPS_PROXY: %w", err)
	}
	if through == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	return connectThrough(ctx, d, through, addr)
}

// connectThrough asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6).
func connectThrough(ctx context.Context, d *net.Dialer, through *url.URL, addr string) (net.Conn, error) {
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
