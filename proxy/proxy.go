// Package proxy stands between people's AWS clients and AWS: it authenticates,
// decides, records, signs, forwards, and records again.
//
// The path of one request: mutual TLS gives the user, the Postern-Session header
// the session; package awsreq tells what is asked of AWS; package grants
// decides; package sts gives credentials of the session's role;
// io.postern.aws.request.admitted.v1 is appended to the journal and acknowledged;
// package sigv4 signs; the request streams to AWS and the answer back;
// io.postern.aws.request.completed.v1 follows.
//
// Invariants:
//
//   - Nothing of a request goes to AWS before its admitted event is durable.
//   - What the proxy does not know, it refuses: an unknown session, a host that
//     may not be AWS's, a view of the ACCESS stream that may be old.
//   - Every admitted request gets one completed, denied or failed event that
//     names it as its cause, retried until the journal has it or the proxy is
//     stopped.
//   - Path, query and body reach AWS byte for byte; what cannot be reproduced is
//     refused. Memory for a request does not grow with its body.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
	"github.com/posternhq/postern/proxy/awslock"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/params"
	"github.com/posternhq/postern/proxy/sigv4"
	"github.com/posternhq/postern/proxy/sts"
)

// InternalHost is the host of the proxy's own endpoints.
const InternalHost = "postern.internal"

const (
	// grace is how long requests may go on when the proxy is stopped.
	grace = 10 * time.Second
	// maxSilence is the default of Config.MaxSilence.
	maxSilence = 10 * time.Second
	// drain is how long the journal has to take the last events.
	drain = 15 * time.Second
)

// Config says how a proxy listens, whom it trusts and how it reaches AWS.
type Config struct {
	// Name of the proxy, as in events and in locks on agents.
	Name string
	// Listen is HOST:PORT; port 0 takes a free one, see [Proxy.Addr].
	Listen string
	// TLS is the server's side, which asks for users' certificates and verifies
	// them. Its ClientCAs vouch for the keys that brokers sign decisions with, too.
	TLS     *tls.Config
	Journal *journal.Journal
	// DataDir takes the mark that has no proxy start once ACCESS went back, see
	// [MarkWentBack]; with "" the next one starts and knows no lock that was lost.
	DataDir string
	AWS     AWS
	// Serves says by an app's labels whether this proxy serves it; nil means all.
	Serves func(appLabels map[string]string) bool
	// MaxSilence is how long after the proxy has last heard from the ACCESS stream
	// it goes on deciding; 0 means 10 s.
	MaxSilence time.Duration
	// BestEffort has it go on for ever by what it knew, which a lock that is placed
	// meanwhile does not reach, but for sessions whose roles are strict.
	BestEffort bool
	// SpillDir takes bodies over 1 MiB that have to be hashed before they can be
	// sent, unlinked; "" means the system's directory for temporary files.
	SpillDir string
	// RecordParameters are actions, as in a role's aws_actions, whose parameters
	// are recorded; others are recorded by what names their resource alone.
	RecordParameters []string
	Log              zerolog.Logger
	// HoldFor is how long a call waits for its approval; 0 means 50 s, which is
	// within the time that AWS's clients wait for an answer.
	HoldFor time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// TicketKeys gives the keys that all proxies of a postern share, 32 bytes each,
	// as they are now: what users are given to hold, and what proxies leave for one
	// another, is sealed under the first and opened under any. nil makes one that
	// ends with this process.
	TicketKeys func() [][]byte
}

// AWS says how AWS is reached.
type AWS struct {
	Link sts.Link
	// Region is where STS is called for apps without a region.
	Region string
	// Base gives the credentials that the proxy runs with; nil means the SDK's
	// default chain.
	Base aws.CredentialsProvider
	// LockPolicy, if set, has locks reach AWS, see package awslock.
	LockPolicy *LockPolicy
}

// LockPolicy says how the inline policies of IAM roles are changed.
type LockPolicy struct {
	// Role is the name of an IAM role in every account, which the proxy assumes for
	// that; "" uses the proxy's own credentials.
	Role string
}

// Proxy is the service. Make it with New, run it with Run.
type Proxy struct {
	cfg      Config
	log      zerolog.Logger
	now      func() time.Time
	journal  *journal.Journal
	grants   *grants.Grants
	table    *awsreq.Table
	params   *params.Table
	openAPI  []byte
	holder   *sts.Holder
	signer   sigv4.Signer
	verifier sigv4.Verifier
	issued   keyring
	tickets  *tickets
	shared   *shared
	rates    *rates
	upstream *http.Transport
	// duplex speaks HTTP/2, which streams of events both ways need.
	duplex   *http.Transport
	recorder *recorder
	tunnels  *tunnels
	handlers gate
	// revisions are the last genuine ones of the channels that follow looks at.
	revisions map[string]uint64
	// past is the last event that is older than any session may be, pastRead whether
	// what lasts of those before was read.
	past     uint64
	pastRead bool
	buffers  sync.Pool
	holds    holds

	read     chan struct{} // closed once all of ACCESS was read
	readied  sync.Once
	ready    chan struct{}
	mu       sync.Mutex
	listener net.Listener
	full     trouble.Said // of the directory for bodies
	lost     trouble.Said // of the ACCESS stream, by who follows it
}

// Account returns the id of the AWS account that the proxy's own credentials
// are of.
func (p *Proxy) Account(ctx context.Context) (string, error) { return p.holder.Account(ctx) }

// New checks the configuration and builds a proxy. It starts nothing.
func New(cfg Config) (*Proxy, error) {
	switch {
	case cfg.Name == "":
		return nil, errors.New("proxy: no name")
	case cfg.Journal == nil:
		return nil, errors.New("proxy: no journal")
	case cfg.TLS == nil || cfg.TLS.ClientAuth != tls.RequireAndVerifyClientCert || cfg.TLS.MinVersion < tls.VersionTLS13:
		return nil, errors.New("proxy: it needs TLS 1.3 that requires and verifies users' certificates")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HoldFor == 0 {
		cfg.HoldFor = holdFor
	}
	if cfg.MaxSilence == 0 {
		cfg.MaxSilence = maxSilence
	}
	table, err := awsreq.New()
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	secrets, err := params.New()
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	described, err := openAPI()
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{
		cfg:       cfg,
		log:       cfg.Log,
		now:       cfg.Now,
		journal:   cfg.Journal,
		grants:    grants.New(cfg.Name),
		table:     table,
		params:    secrets,
		openAPI:   described,
		upstream:  newUpstream(cfg.AWS.Link),
		duplex:    newUpstream(cfg.AWS.Link),
		recorder:  newRecorder(cfg.Journal, cfg.Log),
		tunnels:   &tunnels{halfOpen: halfOpen},
		revisions: map[string]uint64{},
		buffers:   sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }},
		read:      make(chan struct{}),
		ready:     make(chan struct{}),
	}
	if p.tickets, err = newTickets(cfg.TicketKeys); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.shared = &shared{journal: cfg.Journal, tickets: p.tickets, now: cfg.Now, log: cfg.Log}
	p.rates = newRates(p)
	p.grants.Serve(cfg.Serves)
	p.grants.Silence(cfg.MaxSilence, !cfg.BestEffort)
	p.duplex.Protocols.SetHTTP2(true)
	p.holder, err = sts.New(sts.Config{
		Proxy: cfg.Name, Link: cfg.AWS.Link, Region: cfg.AWS.Region, Base: cfg.AWS.Base,
		Record: func(ctx context.Context, e events.Event) error {
			_, err := cfg.Journal.Append(ctx, e)
			return err
		},
		Log: cfg.Log, Now: cfg.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return p, nil
}

// newUpstream makes the pool of connections to AWS. HTTP/1.1 only: AWS's
// endpoints gain nothing by HTTP/2 for requests that have one body and one
// answer, and a lost connection takes one request with it.
func newUpstream(link sts.Link) *http.Transport {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(256)},
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		// The client's Accept-Encoding is its own affair.
		DisableCompression:  true,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 256,
		// AWS closes what is idle after 20 s or later.
		IdleConnTimeout: 15 * time.Second,
		ReadBufferSize:  32 << 10,
		WriteBufferSize: 32 << 10,
		Protocols:       new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	link.Apply(t)
	return t
}

// upstreamFor chooses the connections that a call needs.
func (p *Proxy) upstreamFor(c *call) *http.Transport {
	if c.auth.Payload == sigv4.PayloadEvents {
		return p.duplex
	}
	return p.upstream
}

// Ready is closed once the proxy listens and knows all of the ACCESS stream.
func (p *Proxy) Ready() <-chan struct{} { return p.ready }

// Addr is where the proxy listens, "" before it does.
func (p *Proxy) Addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return ""
	}
	return p.listener.Addr().String()
}

// Run serves until ctx ends, and listens once it knows all of the ACCESS stream: until then
// whoever can choose takes another proxy. In the end it lets running requests finish for up to 10 s,
// cuts the others and all tunnels, and waits up to 15 s until their events are recorded.
// So it does, with an error that wraps [journal.ErrWentBack], once ACCESS is not the
// stream that it decides by any more: another has to read it from the beginning, once
// the locks that it lost are placed again. Until then, while the mark of [MarkWentBack]
// is there, Run ends at once.
func (p *Proxy) Run(ctx context.Context) error {
	if err := CheckWentBack(p.cfg.DataDir); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	// An address that can't be had is said before a long history is read.
	ln, err := p.listen(ctx)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	_ = ln.Close()

	requests, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	srv := &http.Server{
		Handler:           p,
		TLSConfig:         p.cfg.TLS.Clone(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          serverLog(p.log),
		Protocols:         new(http.Protocols),
		// So much that a conversation to which AWS does not listen for now holds up no other.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 250, MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 250 * 256 << 10},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	var fresh freshConns
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		p.recorder.meters.connection(c, s)
		fresh.track(c, s)
	}

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	lost := make(chan error, 1)
	wg.Go(func() {
		if err := p.follow(background); err != nil {
			lost <- err
		}
	})
	wg.Go(func() { p.tidy(background) })
	wg.Go(func() { p.rates.run(background) })
	if p.cfg.AWS.LockPolicy != nil {
		wg.Go(func() { p.keepLocks(background) })
	}
	served := make(chan error, 1)
	select {
	case <-p.read:
		if ln, err = p.listen(ctx); err != nil {
			served <- err
			break
		}
		p.mu.Lock()
		p.listener = ln
		p.mu.Unlock()
		go func() { served <- srv.ServeTLS(ln, "", "") }()
		p.log.Info().Str("addr", ln.Addr().String()).Uint64("sequence", p.grants.Seq()).Msg("proxy listens")
		close(p.ready)
	case err = <-lost:
		lost <- err
	case <-ctx.Done():
	}

	select {
	case err = <-served:
	case err = <-lost:
		p.log.Error().Err(err).Msg("nothing is decided any more by what was read of it")
		if p.cfg.DataDir != "" {
			err = errors.Join(err, MarkWentBack(p.cfg.DataDir, p.grants.Seq(), err, p.now()))
		}
	case <-ctx.Done():
		err = nil
	}
	last, done := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer done()
	_ = ln.Close() // Shutdown closes it again
	fresh.close()
	if srv.Shutdown(last) != nil {
		cut(errShutdown)
		// Handlers that were cut end by themselves; this closes who never will.
		last, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		if srv.Shutdown(last) != nil {
			_ = srv.Close() // there is nothing left to save
		}
	}
	// Shutdown waits neither for tunnels nor for handlers whose HTTP/2 stream was reset.
	cut(errShutdown)
	p.handlers.close()
	p.holder.Wait()
	p.recorder.drain(drain)
	stop()
	wg.Wait()
	p.upstream.CloseIdleConnections()
	p.duplex.CloseIdleConnections()
	switch {
	case errors.Is(err, journal.ErrWentBack):
		return fmt.Errorf("proxy: %w; it ends: locks may be lost, see docs/operations.md, \"Streams that went back\"", err)
	case err != nil && !errors.Is(err, http.ErrServerClosed):
		return fmt.Errorf("proxy: serve: %w", err)
	}
	return nil
}

func (p *Proxy) listen(ctx context.Context) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", p.cfg.Listen)
}

// keepLocks takes locks to AWS, once all of them are known.
func (p *Proxy) keepLocks(ctx context.Context) {
	select {
	case <-p.ready:
	case <-ctx.Done():
		return
	}
	awslock.New(awslock.Config{
		Proxy: p.cfg.Name, Grants: p.grants, Log: p.log, Now: p.now,
		Client: func(ctx context.Context, partition, account string) (*iam.Client, error) {
			return p.holder.IAM(ctx, partition, account, p.cfg.AWS.LockPolicy.Role)
		},
		Record: func(ctx context.Context, e events.Event) error {
			_, err := p.journal.Append(ctx, e)
			return err
		},
	}).Run(ctx)
}

// tidy forgets what is over.
func (p *Proxy) tidy(ctx context.Context) {
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.grants.Forget(p.now())
			p.holder.Sweep()
			p.issued.sweep(p.now())
		case <-ctx.Done():
			return
		}
	}
}

// freshConns are connections that have not carried a request yet. Clients open
// them in reserve, and http.Server.Shutdown waits five seconds for each.
type freshConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (f *freshConns) track(c net.Conn, s http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s != http.StateNew {
		delete(f.conns, c)
		return
	}
	if f.conns == nil {
		f.conns = map[net.Conn]struct{}{}
	}
	f.conns[c] = struct{}{}
}

func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.Close() // nothing was asked on it
	}
}
