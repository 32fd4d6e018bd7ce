package local

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/datachannel"
)

// askTimeout bounds the wait for the proxy's answer, which comes after a record
// was made and AWS was reached.
const askTimeout = 30 * time.Second

// dataChannel tells the hosts whose TLS is left to the client. They are never
// reached but through postern's proxy.
func (h *Helper) dataChannel(host string) (awsreq.Host, bool) {
	parsed, err := h.cfg.Table.ParseHost(host)
	return parsed, err == nil && datachannel.Is(&parsed)
}

// begins remembers, when AWS has answered a call with a data channel, which
// session it was of: the CONNECT that follows names nobody.
func (h *Helper) begins(resp *http.Response) error {
	r := resp.Request
	if resp.StatusCode != http.StatusOK || r.Method != http.MethodPost {
		return nil
	}
	host, err := h.cfg.Table.ParseHost(r.Host)
	if err != nil || host.Endpoint != "ssm" && host.Endpoint != "ecs" {
		return nil
	}
	what := h.cfg.Table.Recognize(&awsreq.Input{Method: r.Method, Host: &host, Path: r.URL.Path, Header: r.Header, SigningName: host.SigningName})
	if datachannel.Begins(what.Service, what.Operation) {
		h.starts.Add(host.Region, r.Header.Get("Postern-Session"), time.Now())
	}
	return nil
}

// serveTunnel asks the proxy for a tunnel on behalf of the session that last
// began a data channel in that region, and carries it. Which client process it
// is for cannot be told; without the token of the data channel, that only the
// answer to the session's call holds, a tunnel is of no use.
func (h *Helper) serveTunnel(run context.Context, w http.ResponseWriter, r *http.Request, host awsreq.Host, port string) {
	if port != "443" {
		h.refuseTunnel(w, r, http.StatusForbidden, fmt.Sprintf("postern: %s is served on port 443 only", host.Name))
		return
	}
	session, ok := h.starts.Take(host.Region, time.Now())
	if !ok || h.keys.session(session) == nil {
		h.refuseTunnel(w, r, http.StatusForbidden, fmt.Sprintf(
			"postern: no session of this helper has called ssm:StartSession or ecs:ExecuteCommand in %s in the last %v; start it with `postern aws ssm start-session --region %s`",
			host.Region, datachannel.Window, host.Region))
		return
	}
	upstream, status, err := h.askTunnel(r.Context(), host.Name+":443", session, r.UserAgent())
	if err != nil {
		h.refuseTunnel(w, r, status, err.Error())
		return
	}
	c := h.hijack(w, host.Name)
	if c == nil {
		_ = upstream.Close()
		return
	}
	splice(run, c, upstream)
}

// askTunnel sends CONNECT to the proxy, over a connection of its own. The error
// is for the user, status for the client.
func (h *Helper) askTunnel(ctx context.Context, target, session, agent string) (conn *tunnelConn, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	unreachable := func(err error) (*tunnelConn, int, error) {
		return nil, http.StatusBadGateway, fmt.Errorf("postern: no answer from the postern proxy at %s: %w; is it running, and are you signed in (postern login)?", h.cfg.ProxyAddr, err)
	}
	raw, err := h.dialProxy(ctx, h.cfg.ProxyTLS)
	if err != nil {
		return unreachable(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	keep := false
	defer func() {
		if !keep {
			_ = raw.Close()
		}
	}()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"Postern-Session": {session}, "User-Agent": {agent}}}
	if err := req.Write(raw); err != nil {
		return unreachable(err)
	}
	br := bufio.NewReader(raw)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // what came is said
		return nil, resp.StatusCode, fmt.Errorf("%s", strings.TrimSpace(string(why)))
	}
	if !stop() {
		return unreachable(ctx.Err())
	}
	keep = true
	conn = &tunnelConn{Conn: raw}
	if n := br.Buffered(); n > 0 {
		conn.early, _ = br.Peek(n)
	}
	return conn, http.StatusOK, nil
}

// tunnelConn is a connection to the proxy after CONNECT.
type tunnelConn struct {
	*tls.Conn
	early []byte // read from Conn along with the answer
}

func (c *tunnelConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// refuseTunnel puts the reason into the status line too: of an answer to
// CONNECT, clients show nothing else.
func (h *Helper) refuseTunnel(w http.ResponseWriter, r *http.Request, status int, reason string) {
	h.log.Warn().Str("host", r.Host).Int("status", status).Str("reason", reason).Msg("tunnel refused")
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, reason, status)
		return
	}
	defer conn.Close()
	line := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return ' '
		}
		return c
	}, reason)
	// Nobody is told of an error: the client has gone.
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, line, len(reason)+1, reason)
}
