package push

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// answerTimeout bounds one request; dialTimeout the way to the endpoint.
	answerTimeout = 15 * time.Second
	dialTimeout   = 5 * time.Second
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
	// maxRetryAfter is the longest that an endpoint can have us wait.
	maxRetryAfter = 24 * time.Hour
)

// CheckURL refuses what nothing is sent to: whatever would go unencrypted over a
// network, and addresses that hold secrets, because they are in events.
func CheckURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("url: it is not one") // its error would repeat it
	case u.Hostname() == "":
		return nil, errors.New("url: want https://HOST/PATH")
	case u.User != nil:
		return nil, errors.New("url: no user or password in it: events show it; take --authorization-file")
	case u.Fragment != "":
		return nil, errors.New("url: no fragment (#…) in it")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	switch {
	case literal && !ofEndpoints(ip.Unmap()):
		return nil, fmt.Errorf("url: %s is no address of an endpoint", ip)
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http":
		if u.Hostname() == "localhost" || literal && ip.IsLoopback() {
			return u, nil
		}
		return nil, errors.New("url: want https; http is for this machine (127.0.0.1, ::1, localhost) only")
	}
	return nil, fmt.Errorf("url: want https, not %s", u.Scheme)
}

// CheckAuthorization refuses what can't be the value of a header: no request would ever be
// made with it. The error does not repeat it.
func CheckAuthorization(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("authorization: no header can have it: want one line of text")
	}
	return nil
}

// endpoint is where a consumer's events are sent.
type endpoint struct {
	url           string
	authorization string
	client        *http.Client
	transport     *http.Transport
}

// newEndpoint returns an endpoint whose certificate is judged by caPEM, or by the
// system's CAs.
func newEndpoint(text, caPEM, authorization string) (*endpoint, error) {
	u, err := CheckURL(text)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caPEM != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(caPEM)) {
			return nil, errors.New("ca: there is no certificate in PEM in it")
		}
	}
	local := u.Scheme == "http"
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, addr string, _ syscall.RawConn) error { return mayDial(addr, local) }}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: conf, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxAnswer,
	}
	return &endpoint{url: u.String(), authorization: authorization, transport: transport, client: &http.Client{
		Transport: transport, Timeout: answerTimeout,
		// Whoever may redirect could have events sent anywhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (e *endpoint) close() { e.transport.CloseIdleConnections() }

var (
	// ofAWS are the addresses of AWS's services on a machine by IPv6: fd00:ec2::254 tells
	// instances their credentials, fd00:ec2::23 the pods of EKS.
	ofAWS = netip.MustParsePrefix("fd00:ec2::/32")
	// translated are addresses of IPv4 behind NAT64 (RFC 6052).
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

// ofEndpoints is false for addresses that no endpoint has, above all those at which
// clouds tell machines their credentials
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html).
func ofEndpoints(ip netip.Addr) bool {
	if ip = ip.WithZone(""); translated.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	return !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLinkLocalUnicast() && !ofAWS.Contains(ip)
}

// mayDial refuses what is not [ofEndpoints], whatever name it was found by.
func mayDial(addr string, local bool) error {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	ip := a.Addr().Unmap()
	switch {
	case local && !ip.IsLoopback():
		return fmt.Errorf("%s is not of this machine", ip)
	case !ofEndpoints(ip):
		return fmt.Errorf("%s is no address of an endpoint", ip)
	}
	return nil
}

// outcome is what became of a request.
type outcome int

const (
	taken   outcome = iota
	away            // nobody is there at the moment: it does not count
	refused         // it counts
	gone            // for ever
)

// answer is what an endpoint said, or why it said nothing.
type answer struct {
	outcome outcome
	// empty says that there was nothing to send.
	empty  bool
	reason string
	// retryAfter is the least wait that it asked for.
	retryAfter time.Duration
	header     http.Header
}

// do posts a parcel.
func (e *endpoint) do(ctx context.Context, p parcel) answer {
	return e.request(ctx, http.MethodPost, p.header, p.body)
}

// request sends a request.
func (e *endpoint) request(ctx context.Context, method string, header http.Header, body []byte) answer {
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) { written.Store(i.Err == nil) }})
	req, err := http.NewRequestWithContext(ctx, method, e.url, bytes.NewReader(body))
	if err != nil {
		return answer{outcome: refused, reason: err.Error()}
	}
	req.Header = header
	req.Header.Set("User-Agent", "postern")
	if e.authorization != "" {
		req.Header.Set("Authorization", e.authorization)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the address is known
		}
		a := answer{outcome: away, reason: err.Error()}
		if written.Load() { // it may be the event that it does not stand
			a.outcome, a.reason = refused, "no answer: "+a.reason
		}
		return a
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return judge(resp, said, time.Now())
}

var setErrorCode = regexp.MustCompile(`^[A-Za-z_]{1,40}$`)

// setError is the form of an error code of RFC 8935, section 2.4.
var setError = regexp.MustCompile(`"err"\s*:\s*"([a-z_]{1,40})"`)

// SetError is a receiver's error code, if it is one.
func SetError(code string) string {
	if setErrorCode.MatchString(code) {
		return code
	}
	return "an error"
}

// judge tells what an answer means.
func judge(resp *http.Response, said []byte, now time.Time) answer {
	a := answer{header: resp.Header, reason: "answered " + strconv.Itoa(resp.StatusCode)}
	if text := http.StatusText(resp.StatusCode); text != "" {
		a.reason += " " + text
	}
	// Nothing else of the body: it may hold what was sent, secrets included.
	if m := setError.FindSubmatch(said); m != nil {
		a.reason += ": " + string(m[1])
	}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		a.outcome = taken
	case code == http.StatusGone:
		a.outcome = gone
	case code == http.StatusTooManyRequests, code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		a.outcome = away
	case code >= 300 && code < 400:
		a.outcome, a.reason = refused, a.reason+": redirects are not followed, set the final address"
	default:
		a.outcome = refused
	}
	if a.outcome != taken {
		a.retryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	}
	return a
}

// retryAfter reads the header of RFC 9110, section 10.2.3.
func retryAfter(text string, now time.Time) time.Duration {
	d := time.Duration(0)
	if n, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return max(0, min(d, maxRetryAfter))
}
