package local

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/datachannel"
	"github.com/posternhq/postern/proxy/sigv4"
)

// Config is what a Helper needs.
type Config struct {
	// Listen is the address for clients; "" means "127.0.0.1:0".
	Listen string
	// AllowRemote permits a Listen address other than loopback and clients
	// from other machines, such as containers.
	AllowRemote bool
	// ProxyAddr is postern's proxy, "host:port"; OtherProxies take over in turn
	// where it does not answer.
	ProxyAddr    string
	OtherProxies []string
	// ProxyTLS holds the user's certificate and the roots for the proxy's.
	// TLS 1.3 is demanded whatever MinVersion says; ServerName is the host of
	// each proxy's address where empty.
	ProxyTLS *tls.Config
	// Sessions to serve, each with credentials of its own.
	Sessions []Session
	// KeySeed, if set, is a secret of the user's from which the sessions' keys are
	// made, so that a URL presigned through one helper is good through the next.
	// Without it each helper makes keys of its own.
	KeySeed []byte
	// Dir is where the CA bundle goes while Run runs, and where large bodies
	// that must be hashed first are spilled (unlinked at once). It is made with
	// mode 0700 when missing, and refused when others may enter it.
	Dir string
	// CABundle is a PEM file that is trusted too: what AWS_CA_BUNDLE was before
	// it was set to ours. "" for none.
	CABundle string
	// NodeCerts is a PEM file that is trusted too if it can be read: what
	// NODE_EXTRA_CA_CERTS was. "" for none.
	NodeCerts string
	// Through tells by which HTTP proxy hosts other than AWS's are reached, as
	// http.ProxyFromEnvironment does; nil: by none.
	Through func(*http.Request) (*url.URL, error)
	// Refused is told what the proxy has refused and a request for access would
	// mend, before the client is; nil: nobody is. It must not block.
	Refused func(Refusal)
	// Successor, where set, is asked when the proxy says that a session is over, and
	// from then on before each request by it: for the session that has taken its
	// place, or the same again where none has. Requests go on under the new one, with
	// the keys that clients have. An error is what clients are told.
	Successor func(over Session) (Session, error)
	// Table knows AWS's hosts; nil: New makes one, in about 20 ms.
	Table *awsreq.Table
	Log   zerolog.Logger
}

// shutdownGrace is how long running requests have when Run is told to end.
const shutdownGrace = 3 * time.Second

// Helper is the local proxy. Its methods may be called from any goroutine.
type Helper struct {
	cfg      Config
	log      zerolog.Logger
	ca       *authority
	keys     keyring
	verifier sigv4.Verifier
	upstream *http.Transport        // to postern's proxy
	duplex   *http.Transport        // to it too, by HTTP/2
	direct   *http.Transport        // plain http:// to other hosts
	toProxy  *httputil.ReverseProxy // over upstream or duplex
	toHost   *httputil.ReverseProxy // over direct
	dialer   net.Dialer
	proxies  []string      // ProxyAddr and the others
	good     atomic.Int32  // the one of them that answered last
	ahead    atomic.Int64  // how far AWS's clock was ahead of ours at its last answer, in ns
	step     time.Duration // silenceStep, but in tests
	began    time.Time
	pulse    pulse

	intercepted *connListener // TLS connections to AWS hosts
	tunnels     sync.WaitGroup
	starts      datachannel.Starts[string, string] // session by region

	ready  chan struct{}
	mu     sync.Mutex
	addr   string   // "" until listening
	bundle string   // path of the CA bundle, "" when there is none
	made   []string // directories that Run made
}

// New makes a Helper. Nothing listens and no file is written before Run.
func New(c Config) (*Helper, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if err := checkListen(c.Listen); err != nil && !c.AllowRemote {
		return nil, err
	}
	proxies := append([]string{c.ProxyAddr}, c.OtherProxies...)
	for _, addr := range proxies {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("address of the postern proxy: %w", err)
		}
	}
	if c.ProxyTLS == nil {
		return nil, errors.New("local proxy: no TLS configuration with the user's certificate; sign in first: postern login")
	}
	if c.Dir == "" {
		return nil, errors.New("local proxy: no directory for its files")
	}
	c.ProxyTLS = c.ProxyTLS.Clone()
	c.ProxyTLS.MinVersion = tls.VersionTLS13
	c.ProxyTLS.NextProtos = []string{"http/1.1"}
	if c.Table == nil {
		var err error
		if c.Table, err = awsreq.New(); err != nil {
			return nil, fmt.Errorf("local proxy: %w", err)
		}
	}
	ca, err := newAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	h := &Helper{cfg: c, proxies: proxies, log: c.Log, ca: ca, began: time.Now(), ready: make(chan struct{}), intercepted: newConnListener()}
	h.dialer.Timeout, h.dialer.KeepAliveConfig, h.step = 30*time.Second, keepAlive, silenceStep
	h.newTransports()
	if h.keys, err = h.newKeyring(c.Sessions); err != nil {
		return nil, err
	}
	return h, nil
}

func checkListen(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("local proxy: address to listen on: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("local proxy: %s is not a loopback address: everyone who reaches it could use this machine as a proxy; use 127.0.0.1:PORT", addr)
	}
	return nil
}

// Run writes the CA bundle, listens and serves until ctx ends, which is no
// error. Every file is gone when it returns.
func (h *Helper) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, h.Cleanup()) }()
	if err := h.writeBundle(); err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", h.cfg.Listen)
	if err != nil {
		return fmt.Errorf("local proxy: %w", err)
	}
	if !h.cfg.AllowRemote {
		ln = Own(ln, h.log)
	}
	h.mu.Lock()
	h.addr = ln.Addr().String()
	h.mu.Unlock()
	close(h.ready)
	h.log.Info().Str("addr", h.addr).Str("proxy", h.cfg.ProxyAddr).Msg("local AWS proxy ready")

	g, ctx := errgroup.WithContext(ctx)
	outer := h.server(func(w http.ResponseWriter, r *http.Request) { h.serveProxy(ctx, w, r) })
	inner := h.server(h.serveAWS)
	inner.ConnContext = withConnectHost
	g.Go(func() error { return served(outer.Serve(ln)) })
	g.Go(func() error { return served(inner.Serve(h.intercepted)) })
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		for _, s := range []*http.Server{outer, inner} {
			if s.Shutdown(grace) != nil {
				_ = s.Close() // cuts what did not end in time
			}
		}
		return nil
	})
	err = g.Wait()
	h.tunnels.Wait()
	h.letGo()
	h.direct.CloseIdleConnections()
	return err
}

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("local proxy: %w", err)
}

func (h *Helper) server(handler http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          serverLog(h.log),
		// What is sent of a body that nobody takes for now counts for its connection, too, which
		// has room for that of all its streams: none holds up the others.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 250, MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 250 * 256 << 10},
	}
}

// Ready is closed when the proxy listens and its files are written.
func (h *Helper) Ready() <-chan struct{} { return h.ready }

// Addr is the address that it listens on, "" before Ready.
func (h *Helper) Addr() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

// Cleanup removes every file and directory that Run made. It may be called
// again, and before Run.
func (h *Helper) Cleanup() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	if h.bundle != "" {
		if err := os.Remove(h.bundle); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		h.bundle = ""
	}
	for _, d := range h.made {
		// Not ours to remove when somebody else has put a file there.
		_ = os.Remove(d)
	}
	h.made = nil
	return errors.Join(errs...)
}

// writeBundle writes the certificates that clients are to trust.
func (h *Helper) writeBundle() error {
	pem, err := h.ca.bundle(h.cfg.CABundle, h.cfg.NodeCerts)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.makeDir(); err != nil {
		return err
	}
	f, err := os.CreateTemp(h.cfg.Dir, "aws-ca-*.pem") // mode 0600
	if err != nil {
		return fmt.Errorf("CA bundle: %w", err)
	}
	h.bundle = f.Name()
	_, err = f.Write(pem)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("CA bundle: %w", err)
	}
	return nil
}

func (h *Helper) makeDir() error {
	dir, err := filepath.Abs(h.cfg.Dir)
	if err != nil {
		return fmt.Errorf("directory of the local proxy: %w", err)
	}
	h.cfg.Dir = dir
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
			break
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of the local proxy: %w", err)
	}
	h.made = missing
	return checkPrivate(dir)
}
