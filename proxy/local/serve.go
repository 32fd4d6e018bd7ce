package local

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/sigv4"
	"github.com/posternhq/postern/proxy/through"
)

// serveProxy answers on the port that HTTPS_PROXY names. run ends when the
// helper is told to stop.
func (h *Helper) serveProxy(run context.Context, w http.ResponseWriter, r *http.Request) {
	if a, err := netip.ParseAddrPort(r.RemoteAddr); !h.cfg.AllowRemote && (err != nil || !a.Addr().Unmap().IsLoopback()) {
		http.Error(w, "postern: this proxy serves its own machine only", http.StatusForbidden)
		return
	}
	switch {
	case r.Method == http.MethodConnect:
		h.serveConnect(run, w, r)
	// https, too: there are clients that have a proxy speak TLS for them (urllib3's
	// use_forwarding_for_https).
	case (r.URL.Scheme == "http" || r.URL.Scheme == "https") && r.URL.Host != "":
		if h.isAWS(relative(bareHost(r.Host))) {
			h.serveAWS(w, r)
			return
		}
		h.servePlain(w, r)
	default:
		http.Error(w, "postern: this is an HTTP proxy for AWS clients, to be named in HTTPS_PROXY", http.StatusBadRequest)
	}
}

func (h *Helper) serveConnect(run context.Context, w http.ResponseWriter, r *http.Request) {
	// Before the connection is taken over: until then the server waits for it.
	h.tunnels.Add(1)
	defer h.tunnels.Done()
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		http.Error(w, "postern: CONNECT wants host:port", http.StatusBadRequest)
		return
	}
	host = relative(strings.ToLower(host))
	if parsed, ok := h.dataChannel(host); ok {
		h.serveTunnel(run, w, r, parsed, port)
		return
	}
	// Other ports of AWS hosts are databases and the like, no API.
	if h.isAWS(net.JoinHostPort(host, port)) {
		if c := h.hijack(w, host); c != nil {
			h.intercepted.add(tls.Server(c, h.clientTLS()))
		}
		return
	}
	upstream, err := h.reach(r.Context(), host, r.Host)
	if err != nil {
		// Clients blame the proxy for what CONNECT is refused. Where only an AWS client
		// could have meant it, it is told in its own tongue.
		if port == "443" && noSuchName(err) && underAWS(host) {
			if c := h.hijack(w, host); c != nil {
				h.intercepted.add(tls.Server(c, h.clientTLS()))
			}
			return
		}
		h.refuseTunnel(w, r, http.StatusBadGateway, fmt.Sprintf("postern: cannot reach %s: %v", r.Host, err))
		return
	}
	c := h.hijack(w, host)
	if c == nil {
		_ = upstream.Close()
		return
	}
	splice(run, c, upstream)
}

// reach connects to a host that is none of AWS's: as the client would have, had
// HTTPS_PROXY not become the helper's address.
func (h *Helper) reach(ctx context.Context, host, addr string) (net.Conn, error) {
	if h.cfg.Through != nil {
		by, err := h.cfg.Through(&http.Request{URL: &url.URL{Scheme: "https", Host: addr}})
		if err == nil && by != nil && (by.Scheme == "http" || by.Scheme == "https") && by.Host != h.Addr() {
			ctx, cancel := context.WithTimeout(ctx, h.dialer.Timeout)
			defer cancel()
			return through.Dial(ctx, &h.dialer, by, addr)
		}
	}
	return h.dialer.DialContext(ctx, "tcp", addr)
}

func noSuchName(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// hijack takes the connection over and tells the client that it is through;
// nil when the client has gone.
func (h *Helper) hijack(w http.ResponseWriter, host string) *clientConn {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.log.Debug().Err(err).Msg("take over CONNECT")
		return nil
	}
	c := &clientConn{Conn: conn, host: host}
	if n := buf.Reader.Buffered(); n > 0 { // sent without waiting for our answer
		c.early, _ = buf.Reader.Peek(n)
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return nil
	}
	return c
}

// clientTLS ends TLS for the host that was named in CONNECT, and no other.
func (h *Helper) clientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		// Each connection has a configuration of its own.
		SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			host := hello.Conn.(*clientConn).host
			if hello.ServerName != "" && !strings.EqualFold(hello.ServerName, host) {
				return nil, fmt.Errorf("CONNECT names %s, TLS names %s", host, hello.ServerName)
			}
			return h.ca.certificate(host)
		},
	}
}

// serveAWS handles one request to an AWS host: verified, then forwarded.
func (h *Helper) serveAWS(w http.ResponseWriter, r *http.Request) {
	host := relative(bareHost(r.Host))
	named, aws := connectHost(r.Context()), h.isAWS(host)
	if named == host && !aws {
		h.refuse(w, r, fmt.Errorf("%w %s, and no other machine has that name; is the region right?", errNoEndpoint, host))
		return
	}
	if named != "" && named != host || !aws {
		h.refuse(w, r, fmt.Errorf("%w: CONNECT names %s, the request's Host names %s", errMisdirected, named, host))
		return
	}
	v, err := h.verify(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	defer v.close()
	if err := h.readdress(r, v); err != nil {
		h.refuse(w, r, err)
		return
	}
	// Without it, an answer that comes early would make the server swallow the
	// rest of the upload first. HTTP/2 needs it not and says so by an error.
	_ = http.NewResponseController(w).EnableFullDuplex()
	// The server's own request keeps its body, by whose type it knows of a client that was
	// not told to continue, and may take its next request for the body.
	out := v.with(r)
	switch {
	case v.stream != nil:
		out.Body = v.stream // length and framing stay
	case v.body == nil && r.ContentLength != 0:
		v.heard = &heard{ReadCloser: r.Body}
		out.Body = v.heard
	}
	if r.ProtoMajor == 2 {
		v.said = out.Body
	}
	h.toProxy.ServeHTTP(answer{w}, out)
}

// readdress turns the verified request into the one for the proxy. The server's
// own request is changed in place: nobody looks at it again.
func (h *Helper) readdress(r *http.Request, v *verified) error {
	session, err := h.session(v.by)
	if err != nil {
		return err
	}
	target := requestTarget(r)
	if target[0] != '/' { // "*" asks the server itself
		return fmt.Errorf("%w: %q", errTarget, target)
	}
	if name, _, _ := strings.Cut(r.Host, ":"); strings.HasSuffix(name, ".") {
		r.Host = relative(name) + r.Host[len(name):] // the proxy takes one spelling of a name
	}
	u := *r.URL
	u.Scheme, u.Host, u.User = "https", h.cfg.ProxyAddr, nil
	if err := sigv4.SetTarget(&u, target); err != nil {
		return fmt.Errorf("%w: %w", errTarget, err)
	}
	r.URL = &u
	for name := range r.Header {
		if strings.HasPrefix(name, "Postern-") {
			delete(r.Header, name)
		}
	}
	// A server may leave an offer of another protocol alone, as AWS does with "h2c", which
	// curl and others make at every http:// address (RFC 9110, section 7.8).
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		delete(r.Header, "Upgrade")
	}
	r.Header["Postern-Session"] = []string{session}
	if v.unknown {
		r.Header["Postern-Unverified"] = []string{"1"}
	}
	if v.unsigned {
		r.Header["Postern-Unsigned"] = []string{"1"}
	}
	if v.hash != "" {
		r.Header["Postern-Payload-Sha256"] = []string{v.hash}
	}
	if _, ok := r.Header["Content-Length"]; ok && r.ContentLength == 0 {
		r.TransferEncoding = []string{"identity"} // net/http's way to send it with any method
	}
	if r.ProtoMajor == 2 && h.waits(r) {
		r.Header["Expect"] = []string{"100-continue"}
	}
	if v.body != nil {
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(v.body.Reader()), v.body.Size, nil
		delete(r.Header, "Expect") // the body is here already
	}
	if v.declared {
		r.Header["Postern-Chunk-Sha256"] = []string{"1"}
	}
	return nil
}

// longUpload is the length from which on AWS's clients may wait for leave to upload, in bytes.
const longUpload = 1 << 20

// waits says whether a request over HTTP/2 may be one that waits for leave to upload. That it
// said so net/http keeps to itself: it gives leave once the body is read, which is not to be
// before the proxy gives it. AWS's clients wait for S3 alone, and others are not kept waiting.
func (h *Helper) waits(r *http.Request) bool {
	if r.ContentLength >= 0 && r.ContentLength < longUpload {
		return false
	}
	host, err := h.cfg.Table.ParseHost(relative(bareHost(r.Host)))
	return err == nil && host.S3 != awsreq.NotS3
}

// requestTarget is path and query as the client sent them, without the scheme
// and host of the absolute form.
func requestTarget(r *http.Request) string {
	t := r.RequestURI
	if i := strings.Index(t, "://"); i > 0 && !strings.HasPrefix(t, "/") {
		t = t[i+3:]
		if j := strings.IndexAny(t, "/?"); j >= 0 {
			t = t[j:]
		} else {
			t = ""
		}
	}
	if t == "" || t[0] == '?' {
		t = "/" + t
	}
	return t
}
