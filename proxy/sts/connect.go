package sts

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/posternhq/postern/proxy/through"
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
	by, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: addr}})
	if err != nil {
		return nil, fmt.Errorf("HTTPS_PROXY: %w", err)
	}
	if by == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	return through.Dial(ctx, d, by, addr)
}
