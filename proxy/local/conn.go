package local

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

// clientConn is a client's connection after CONNECT.
type clientConn struct {
	net.Conn
	host  string // that CONNECT named
	early []byte // read from Conn before it was taken over
}

func (c *clientConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

type connectHostKey struct{}

// withConnectHost notes, for an intercepted connection, the host that CONNECT
// named.
func withConnectHost(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		if cc, ok := t.NetConn().(*clientConn); ok {
			return context.WithValue(ctx, connectHostKey{}, cc.host)
		}
	}
	return ctx
}

// connectHost is "" for a request that did not come by CONNECT.
func connectHost(ctx context.Context) string {
	host, _ := ctx.Value(connectHostKey{}).(string)
	return host
}

// splice carries bytes both ways until both ends have said that they are done,
// one has failed, or ctx ends; then both are closed.
func splice(ctx context.Context, client *clientConn, upstream net.Conn) {
	closeBoth := func() { _ = client.Close(); _ = upstream.Close() }
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	defer closeBoth()
	one := func(dst, src net.Conn, early []byte) {
		if _, err := dst.Write(early); err != nil {
			closeBoth()
			return
		}
		// On Linux the kernel moves the bytes (splice(2)).
		if _, err := io.Copy(dst, src); err != nil {
			closeBoth()
			return
		}
		if half, ok := dst.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			closeBoth()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { one(upstream, client.Conn, client.early) })
	wg.Go(func() { one(client.Conn, upstream, nil) })
	wg.Wait()
}

// connListener hands connections that were made elsewhere to an http.Server.
type connListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newConnListener() *connListener {
	return &connListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *connListener) add(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		_ = c.Close()
	}
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *connListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// serverLog takes what net/http logs.
func serverLog(l zerolog.Logger) *log.Logger { return log.New(logWriter{l}, "", 0) }

type logWriter struct{ zerolog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	msg := strings.TrimSpace(string(p))
	ev := w.Debug()
	if strings.Contains(msg, "TLS handshake error") && !strings.Contains(msg, "EOF") {
		ev = w.Warn().Str("hint", "does the client use our AWS_CA_BUNDLE?")
	}
	ev.Msg(msg)
	return len(p), nil
}
