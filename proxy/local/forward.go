package local

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/proxy/sigv4"
)

// copyBuffer is the size of the pieces in which bodies pass, in bytes.
const copyBuffer = 64 << 10

func (h *Helper) newTransports() {
	h.upstream = &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := h.dialProxy(ctx, h.cfg.ProxyTLS)
			if err != nil {
				return nil, err
			}
			return &link{Conn: c}, nil
		},
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // what AWS compressed stays so
		ReadBufferSize:      copyBuffer,
		WriteBufferSize:     copyBuffer,
		// The proxy says "continue" when the request is admitted; until then
		// the client does not upload. It always answers one or the other.
		ExpectContinueTimeout: time.Minute,
	}
	h.duplex = h.upstream.Clone()
	two := h.cfg.ProxyTLS.Clone()
	two.NextProtos = []string{"h2"}
	h.duplex.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dialProxy(ctx, two) }
	h.duplex.Protocols = new(http.Protocols)
	h.duplex.Protocols.SetHTTP2(true)
	h.direct = &http.Transport{
		DialContext:         h.dialer.DialContext,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
	pool := &bufferPool{}
	h.toProxy = &httputil.ReverseProxy{
		Rewrite:        func(p *httputil.ProxyRequest) { keep(p); told(p) },
		Transport:      links{h},
		ModifyResponse: h.answered,
		FlushInterval:  -1, // as it comes
		BufferPool:     pool,
		ErrorHandler:   h.unreachable,
		ErrorLog:       serverLog(h.log),
	}
	h.toHost = &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { keep(p) },
		Transport:     h.direct,
		FlushInterval: -1,
		BufferPool:    pool,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, "postern: cannot reach "+r.URL.Host+": "+err.Error(), http.StatusBadGateway)
		},
		ErrorLog: serverLog(h.log),
	}
}

// links sends a request to the proxy. Signed events go by HTTP/2: in HTTP/1.1
// net/http keeps what is sent in its buffer, and each event may wait for AWS's
// answer to the one before.
type links struct{ h *Helper }

// Where the proxy says that the session is over and another has taken its place,
// what can be sent again is.
func (l links) RoundTrip(r *http.Request) (*http.Response, error) {
	if now := time.Now(); l.h.pulse.slept(now, now.Sub(l.h.began)) {
		l.h.letGo()
	}
	resp, err := l.send(r)
	if err != nil {
		return nil, err
	}
	v, _ := r.Context().Value(verifiedKey{}).(*verified)
	over := resp.Header.Get("Postern-Session-Over")
	if v == nil || over == "" || over != r.Header.Get("Postern-Session") || resp.StatusCode != http.StatusForbidden {
		return resp, nil
	}
	v.by.ended(over)
	next, err := l.h.session(v.by)
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	if next == over {
		return resp, nil
	}
	if again := v.anew(r); again != nil {
		again.Header["Postern-Session"] = []string{next}
		_ = resp.Body.Close()
		return l.send(again)
	}
	return resp, nil
}

func (l links) send(r *http.Request) (*http.Response, error) {
	if sha := r.Header["X-Amz-Content-Sha256"]; len(sha) == 1 && sha[0] == "STREAMING-AWS4-HMAC-SHA256-EVENTS" {
		// ReverseProxy's own body doesn't close, and the transport, which is done only
		// once it has read or closed it, would wait for the client to say something.
		if v, _ := r.Context().Value(verifiedKey{}).(*verified); v != nil && v.said != nil {
			r = r.WithContext(r.Context())
			r.Body = v.said
		}
		return l.h.duplex.RoundTrip(r)
	}
	return l.sendOnce(r)
}

// answered looks at an answer of the proxy's before the client gets it.
func (h *Helper) answered(resp *http.Response) error {
	// net/http's own answer: AWS's have an id.
	if resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge && resp.Header.Get("X-Amzn-Requestid") == "" && resp.Header.Get("X-Amz-Request-Id") == "" {
		return errHeaders
	}
	h.tells(resp)
	h.refusal(resp)
	return h.begins(resp)
}

// keep undoes what ReverseProxy does to a request that it thinks unsafe to pass
// on: the query that it cleaned, the forwarding headers that it dropped. Both
// may be signed.
func keep(p *httputil.ProxyRequest) {
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	p.Out.Host = p.In.Host
	p.Out.Trailer = p.In.Trailer // which the server fills in once the body was read: a copy stays empty
	if p.Out.Body == nil && len(p.Out.TransferEncoding) > 0 {
		p.Out.Body = http.NoBody // with nil, net/http forgets the encoding, see readdress
	}
	for _, name := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := p.In.Header[name]; ok {
			p.Out.Header[name] = v
		}
	}
}

// told gives back what the helper says to the proxy: ReverseProxy takes out all headers
// that the client names in Connection, and without Postern-Unverified the proxy would
// take for verified what nobody has.
func told(p *httputil.ProxyRequest) {
	for name, v := range p.In.Header {
		if strings.HasPrefix(name, "Postern-") {
			p.Out.Header[name] = v
		}
	}
}

// servePlain passes an http:// request, or an https:// one that a client leaves to the
// helper, to a host other than AWS's.
func (h *Helper) servePlain(w http.ResponseWriter, r *http.Request) {
	u := *r.URL
	if err := sigv4.SetTarget(&u, requestTarget(r)); err != nil {
		http.Error(w, "postern: "+err.Error(), http.StatusBadRequest)
		return
	}
	r.URL = &u
	_ = http.NewResponseController(w).EnableFullDuplex()
	h.toHost.ServeHTTP(answer{w}, r)
}

// answer passes an answer on as clients of AWS want it. It drops the "100
// Continue" that ReverseProxy passes on: our own server sends one when the body is
// first read, which is when the proxy has sent its own, and two would confuse
// clients. It writes the names of S3's metadata as S3 does, and makes up no type.
type answer struct{ http.ResponseWriter }

func (w answer) WriteHeader(code int) {
	if code == http.StatusContinue {
		return
	}
	h := w.Header()
	lowerMetadata(h)
	if _, ok := h["Content-Type"]; !ok && code >= http.StatusOK {
		h["Content-Type"] = nil // or net/http would guess one by the body
	}
	w.ResponseWriter.WriteHeader(code)
}

// lowerMetadata undoes what net/http does to the names of S3's user metadata: S3
// sends them in lower case, and clients take what follows the prefix as it stands
// for a key of their own.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html#UserMetadata
func lowerMetadata(h http.Header) {
	for name, v := range h {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

// Unwrap lets http.ResponseController flush and hijack.
func (w answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bufferPool holds copyBuffer-sized buffers, by pointer so that putting one
// back allocates nothing.
type bufferPool struct{ p sync.Pool }

func (b *bufferPool) Get() []byte {
	if v, ok := b.p.Get().(*[copyBuffer]byte); ok {
		return v[:]
	}
	return make([]byte, copyBuffer)
}

func (b *bufferPool) Put(buf []byte) { b.p.Put((*[copyBuffer]byte)(buf)) }
