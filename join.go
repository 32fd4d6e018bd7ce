package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/events/trouble"
)

// JoinConfig is how a service becomes part of a postern whose broker runs
// elsewhere.
type JoinConfig struct {
	Broker string `yaml:"broker"` // HOST:PORT; of several brokers, separated by commas, any will do
	// CAPin is what the broker's CA must be at the first contact, as `postern ca
	// show` and `postern tokens add` print it; several are separated by spaces.
	CAPin string `yaml:"ca_pin"`
	// Method is token (default), iam, ec2 or kubernetes.
	Method string `yaml:"method"`
	// Token is the token's name, for all methods but token.
	Token string `yaml:"token"`
	// TokenFile holds what `postern tokens add` printed, or the service account's
	// JWT of method kubernetes.
	TokenFile string `yaml:"token_file"`
}

// check returns the key and what is wrong with it.
func (j *JoinConfig) check() (key, problem string) {
	switch {
	case j.Broker == "":
		return "broker", "missing: the broker's HOST:PORT"
	case slices.ContainsFunc(j.brokers(), func(addr string) bool { return addr == "" || !hostPortAddr(addr) }):
		return "broker", "must be the broker's HOST:PORT; several are separated by commas"
	case j.CAPin == "":
		return "ca_pin", "missing: postern ca show prints it"
	}
	if _, err := client.Pinned(strings.Fields(j.CAPin)...); err != nil {
		return "ca_pin", err.Error()
	}
	switch j.Method {
	case "", "token":
		if j.TokenFile == "" {
			return "token_file", "missing: a file of mode 0600 with what postern tokens add printed"
		}
	case "kubernetes":
		if j.TokenFile == "" {
			return "token_file", "missing: the file of the projected service account token"
		}
		fallthrough
	case "iam", "ec2":
		if j.Token == "" {
			return "token", "missing: the name of the token"
		}
	default:
		return "method", "must be token, iam, ec2 or kubernetes"
	}
	return "", ""
}

// brokers are the brokers' addresses.
func (j *JoinConfig) brokers() []string {
	all := strings.Split(j.Broker, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// membership keeps a service that has joined supplied with a certificate, the
// CA to trust and credentials for the streams, all of them short-lived.
type membership struct {
	cfg        JoinConfig
	kind, name string
	names      []string // to serve under
	file       string   // of mode 0600: what it was given last
	region     string   // where STS is asked, for method iam
	log        zerolog.Logger
	// renewed is called with what it was given; it is called again until it
	// returns nil.
	renewed func(*given) error

	given    atomic.Pointer[given]
	answered atomic.Int64 // which of the brokers did last
	ready    chan struct{}
	said     trouble.Said // of join, then of Run
	// unkept: what was given last is not in the file, as unkeptSaid says.
	unkept     bool
	unkeptSaid trouble.Said
}

// given is what the broker gave, in one file, so that key and certificate are
// replaced together.
type given struct {
	Key      string    `json:"key"`
	IssuedAt time.Time `json:"issued_at"`
	// What it was asked of and for, so that a start sees what has changed; an earlier
	// version kept neither.
	CAPin string   `json:"ca_pin,omitempty"`
	Names []string `json:"names,omitempty"`
	api.Joined
	cert *tls.Certificate
	pool *x509.CertPool
}

const (
	// lookEvery is how often a service looks whether the CA is being rotated.
	lookEvery = 10 * time.Second
	retryJoin = 5 * time.Second
	// longestRetry is the longest pause between tries while the broker is away, and
	// longestRefused while it answers and refuses.
	longestRetry   = 30 * time.Second
	longestRefused = 5 * time.Minute
)

// join takes up a membership: it goes on with what an earlier start was given,
// or joins as soon as the broker is there.
func (m *membership) join(ctx context.Context) error {
	m.ready = make(chan struct{})
	close(m.ready)
	g, err := m.read()
	if err != nil {
		return err
	}
	switch {
	case g == nil || g.Agent != m.name || !time.Now().Before(g.ExpiresAt):
	case !m.same(g):
		m.log.Warn().Str("file", m.file).Msg("what this service was given is of another postern, by join.ca_pin: joining anew")
	default:
		m.given.Store(g)
		return m.refresh(ctx)
	}
	for failed := 0; ; failed++ {
		err := m.first(ctx, g)
		if err == nil || !passing(err) {
			m.said = trouble.Said{}
			return err
		}
		if m.said.News(err) {
			m.log.Warn().Err(err).Msg("cannot join yet; trying again")
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(grow(retryJoin, failed, longestRetry)):
		}
	}
}

// passing tells what time may mend: a broker that is not there yet, or has enough for
// now.
func passing(err error) bool {
	var no *api.Error
	return errors.As(err, new(*net.OpError)) || errors.As(err, &no) && (no.Code == api.CodeUnavailable || no.Code == api.CodeThrottled)
}

// grow is a pause that doubles with each failure.
func grow(first time.Duration, failed int, most time.Duration) time.Duration {
	return min(first<<min(failed, 20), most)
}

// read reads what an earlier start was given, nil for nothing.
func (m *membership) read() (*given, error) {
	text, err := sealed.ReadPrivate(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var g given
	if err = json.Unmarshal(text, &g); err == nil {
		err = g.parse()
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not what the broker gave (%w): remove it and start again, to join anew; that needs a token that still counts", m.file, err)
	}
	return &g, nil
}

// same tells whether what was given is of the postern that the configuration names. Its
// broker may have another address, and its CA another pin by now.
func (m *membership) same(g *given) bool {
	return g.CAPin == "" || g.CAPin == m.cfg.CAPin || client.HasPin(g.CA, strings.Fields(m.cfg.CAPin)...)
}

// refresh renews at a start what was given for other names than are asked for by now.
// While the broker is away it is done later: see look.
func (m *membership) refresh(ctx context.Context) error {
	if slices.Equal(m.given.Load().Names, m.names) {
		return nil
	}
	if err := m.renew(ctx); err != nil {
		err = fmt.Errorf("a certificate for %s: %w", strings.Join(m.names, ", "), err)
		var no *api.Error
		if errors.As(err, &no) && no.Code == api.CodeInvalid {
			return err
		}
		m.log.Warn().Err(err).Msg("going on with the certificate for the former names; trying again")
	}
	return nil
}

// first joins with the proof of the token's method. former is what was given before, or
// nil: where the same pins were asked for, its CA is trusted still, for meanwhile the
// pinned one may have been rotated away. Other pins are there to be heeded.
func (m *membership) first(ctx context.Context, former *given) error {
	var known []byte
	if former != nil && former.CAPin == m.cfg.CAPin {
		known = []byte(former.CA)
	}
	cfg, err := client.PinnedOr(known, strings.Fields(m.cfg.CAPin)...)
	if err != nil {
		return err
	}
	key, csr, err := newRequest()
	if err != nil {
		return err
	}
	var out api.Joined
	err = m.some(ctx, cfg, func(addr string, b *client.Client) (err error) {
		in := api.Join{Token: m.cfg.Token, Kind: m.kind, Agent: m.name, CSR: csr, Names: m.names}
		if err := m.prove(ctx, b, &in); err != nil {
			return fmt.Errorf("join %s: %w", addr, err)
		}
		if out, err = b.Join(ctx, in); err != nil {
			return fmt.Errorf("join %s as %s %s: %w", addr, m.kind, m.name, err)
		}
		m.log.Info().Str("broker", addr).Time("expires_at", out.ExpiresAt).Msg("joined")
		return nil
	})
	if err != nil {
		return err
	}
	return m.keep(key, out)
}

// some has one of the brokers do what is asked: the one that answered last, else the
// next. One that refuses has answered. An error names what each said.
func (m *membership) some(ctx context.Context, cfg *tls.Config, do func(addr string, b *client.Client) error) error {
	all := m.cfg.brokers()
	first := int(m.answered.Load())
	var failed error
	for i := range all {
		at := (first + i) % len(all)
		b, err := client.New("https://"+all[at], cfg)
		if err != nil {
			return err
		}
		err = do(all[at], b)
		b.Close()
		if no, answered := errors.AsType[*api.Error](err); err == nil || answered && no.Code != api.CodeUnavailable {
			m.answered.Store(int64(at))
			return err
		}
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		if failed = err; ctx.Err() != nil {
			break
		}
	}
	return failed
}

// renew gets the next certificate with the last one.
func (m *membership) renew(ctx context.Context) error {
	key, csr, err := newRequest()
	if err != nil {
		return err
	}
	var out api.Joined
	err = m.broker(ctx, func(b *client.Client) (err error) {
		out, err = b.Renew(ctx, api.Renew{CSR: csr, Names: m.names})
		return err
	})
	if err != nil {
		return err
	}
	m.log.Debug().Time("expires_at", out.ExpiresAt).Msg("certificate renewed")
	return m.keep(key, out)
}

// broker is some, by a client that shows the certificate of the moment.
func (m *membership) broker(ctx context.Context, do func(b *client.Client) error) error {
	g := m.given.Load()
	cfg := &tls.Config{RootCAs: g.pool, Certificates: []tls.Certificate{*g.cert}}
	return m.some(ctx, cfg, func(_ string, b *client.Client) error { return do(b) })
}

// Announce says where users reach the service, which is a proxy.
func (m *membership) Announce(ctx context.Context, in api.Announcement) (out api.Announced, err error) {
	err = m.broker(ctx, func(b *client.Client) (err error) {
		out, err = b.Announce(ctx, in)
		return err
	})
	return out, err
}

// Withdraw says that the proxy, which announced addr, stops.
func (m *membership) Withdraw(ctx context.Context, addr string) error {
	return m.broker(ctx, func(b *client.Client) error { return b.Withdraw(ctx, addr) })
}

// keep takes what the broker gave. Its time is the wall clock's, which certificates go by:
// the monotonic one stands still while the machine sleeps, and would have it renewed too late.
func (m *membership) keep(key string, out api.Joined) error {
	g := &given{Key: key, IssuedAt: time.Now().UTC().Round(0), CAPin: m.cfg.CAPin, Names: m.names, Joined: out}
	if err := g.parse(); err != nil {
		return fmt.Errorf("what the broker gave: %w", err)
	}
	m.given.Store(g)
	m.save()
	return nil
}

// save stores what was given last. Where that fails, as on a full disk, the service goes on
// with it all the same, or a token of one use would be spent in vain, and a certificate run
// out that the broker would renew; look tries again.
func (m *membership) save() {
	err := writePrivate(m.file, m.given.Load())
	m.unkept = err != nil
	if err == nil {
		m.unkeptSaid = trouble.Said{}
		return
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err // the file has another name each time
	}
	if m.unkeptSaid.News(err) {
		m.log.Error().Err(err).Str("file", m.file).Msg("what the broker gave is used, but not kept: make room (df); this service, started again before that, goes on with what it was given before, or joins anew")
	}
}

func (g *given) parse() error {
	cert, err := tls.X509KeyPair([]byte(g.Certificate), []byte(g.Key))
	if err != nil {
		return err
	}
	g.cert, g.pool = &cert, x509.NewCertPool()
	if !g.pool.AppendCertsFromPEM([]byte(g.CA)) {
		return errors.New("no certificate of the CA")
	}
	return nil
}

// server is what the service shows and whom it trusts, at the moment.
func (m *membership) server() (*tls.Certificate, *x509.CertPool, error) {
	g := m.given.Load()
	return g.cert, g.pool, nil
}

// Ready is closed from the start: join has been called before.
func (m *membership) Ready() <-chan struct{} { return m.ready }

// Run renews after a third of the certificate's life and when the CA has
// changed, until ctx ends.
func (m *membership) Run(ctx context.Context) error {
	used := m.given.Load()
	pause := m.pause(false, 0, nil)
	var unusable trouble.Said
	for failed := 0; ; {
		if g := m.given.Load(); g != used && m.renewed != nil {
			if err := m.renewed(g); err != nil {
				if unusable.News(err) {
					m.log.Warn().Err(err).Msg("cannot use the new credentials yet; going on with the former ones")
				}
				pause = min(pause, time.Second)
			} else {
				used, unusable = g, trouble.Said{}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		err := m.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			if failed = 0; m.said.Over() {
				m.log.Info().Msg("the certificate can be renewed again")
			}
		} else if m.said.News(err) {
			msg := "cannot renew the certificate; trying again"
			if time.Now().After(m.given.Load().ExpiresAt) {
				msg = "the certificate has expired and this service is cut off: it cannot join anew (a token of one use needs another: postern tokens add)"
			}
			m.log.Warn().Err(err).Time("expires_at", m.given.Load().ExpiresAt).Msg(msg)
		}
		pause = m.pause(used != m.given.Load(), failed, err)
		if err != nil {
			failed++
		}
	}
}

// pause is how long to wait until the next look. It grows with the failures so far, up
// to a part of the certificate's life; a broker that refuses is asked less often still.
func (m *membership) pause(soon bool, failed int, err error) time.Duration {
	g := m.given.Load()
	switch {
	case soon:
		return time.Second
	case err == nil:
		return min(lookEvery, max(time.Until(g.renewAt()), time.Second))
	}
	most := longestRetry
	if !passing(err) {
		most = longestRefused
	}
	if time.Now().Before(g.ExpiresAt) {
		most = max(min(most, g.ExpiresAt.Sub(g.IssuedAt)/30), time.Second)
	}
	return grow(time.Second, failed, most)
}

// renewAt is when a third of the certificate's life is over.
func (g *given) renewAt() time.Time { return g.IssuedAt.Add(g.ExpiresAt.Sub(g.IssuedAt) / 3) }

// look renews what is due.
func (m *membership) look(ctx context.Context) error {
	if m.unkept {
		m.save()
	}
	g := m.given.Load()
	now := time.Now()
	switch {
	case now.After(g.ExpiresAt):
		return m.first(ctx, g)
	case now.After(g.renewAt()) || !slices.Equal(g.Names, m.names):
		return m.renew(ctx)
	}
	var ca api.CA
	err := m.broker(ctx, func(b *client.Client) (err error) {
		ca, err = b.CA(ctx)
		return err
	})
	if err != nil || ca.CA == g.CA {
		return err
	}
	m.log.Info().Str("phase", ca.Phase).Msg("the CA is being rotated")
	return m.renew(ctx)
}

// newRequest makes a key and asks for a certificate for it, both in PEM.
func newRequest() (key, csr string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", err
	}
	csrDER, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csrDER})), nil
}

// membership makes a service's place in a postern elsewhere.
func (s *services) membership(kind, name string, cfg *JoinConfig, names []string) *membership {
	m := &membership{
		cfg: *cfg, kind: kind, name: name, names: names,
		file: filepath.Join(s.cfg.DataDir, kind, "joined.json"),
		log:  s.log.With().Str("service", kind).Logger(),
	}
	if s.cfg.Proxy != nil {
		m.region = s.cfg.Proxy.AWS.Region
	}
	return m
}
