package local

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// proxyPatience is how long one of several proxies may take to answer.
const proxyPatience = 5 * time.Second

// DialProxy connects to the first of several proxies that answers and proves to
// be one, by the name it is called by unless conf names another. It returns
// which one, and the first one's error where none does.
func DialProxy(ctx context.Context, d *net.Dialer, addrs []string, conf *tls.Config) (*tls.Conn, int, error) {
	var first error
	for i, addr := range addrs {
		c, err := dialOne(ctx, d, addr, conf, len(addrs) > 1)
		if err == nil {
			return c, i, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if first == nil {
		first = errors.New("no proxy is known")
	}
	return nil, 0, first
}

func dialOne(ctx context.Context, d *net.Dialer, addr string, conf *tls.Config, others bool) (*tls.Conn, error) {
	if others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, proxyPatience)
		defer cancel()
	}
	if conf.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		conf = conf.Clone()
		conf.ServerName = host
	}
	c, err := (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil // what a tls.Dialer returns
}

// dialProxy connects to a proxy, beginning with the one that answered last.
func (h *Helper) dialProxy(ctx context.Context, conf *tls.Config) (*tls.Conn, error) {
	good := int(h.good.Load())
	addrs := append(append([]string{}, h.proxies[good:]...), h.proxies[:good]...)
	c, i, err := DialProxy(ctx, &h.dialer, addrs, conf)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.NetConn().(*net.TCPConn); ok {
		h.attend(tcp)
	}
	if i > 0 {
		h.log.Warn().Str("proxy", addrs[i]).Str("instead_of", addrs[0]).Msg("another postern proxy takes over")
		h.good.Store(int32((good + i) % len(h.proxies)))
	}
	return c, nil
}
