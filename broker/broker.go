// Package broker is the service that decides who may do what. It signs users
// in, keeps users, roles, apps, access requests, sessions and locks, and
// publishes every decision to the ACCESS stream, from which proxies act. It
// never touches AWS and holds no AWS credentials.
//
// Its state is what the stream says: a broker can be killed and started
// anywhere, and several can serve at once. The CA, the hashes of passwords and the seed of other secrets,
// which are in no event, lie in a sealed store that brokers share.
package broker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/identity/oidc"
	"github.com/posternhq/postern/broker/joining"
	"github.com/posternhq/postern/broker/people"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/broker/web"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Config of a broker.
type Config struct {
	// Listen is the address of the HTTPS API, such as "127.0.0.1:3080"; port 0
	// takes a free one.
	Listen string
	// DataDir is where earlier versions kept what is in Secrets now; what is found
	// there moves. It may be empty.
	DataDir string
	Journal *journal.Journal
	// Secrets are what all brokers share and no event may hold.
	Secrets *sealed.Store
	// ProxyAddr and AuditorAddr give what clients are told: HOST:PORT, or "" while
	// it is not known. nil means never known.
	ProxyAddr, AuditorAddr func() string
	// ProxyName is the name of the proxy that runs beside the broker; "" where none does.
	ProxyName string
	// Proxies are those that clients may choose from, in this order, where there
	// are several.
	Proxies []ProxyPlace
	// PublicNames are the DNS names and IP addresses under which clients reach
	// the API, beside localhost and what Listen names.
	PublicNames []string
	// PublicURL is where browsers find the pages, such as
	// "https://postern.example.com:3080"; "" is localhost and the API's port.
	PublicURL string
	Joining   Joining
	Consumers Consumers
	Log       zerolog.Logger
	// Clock gives the time; nil means time.Now.
	Clock func() time.Time
}

// ProxyPlace is where a proxy listens, and whether it serves an app with some
// labels.
type ProxyPlace struct {
	Addr   string
	Serves func(appLabels map[string]string) bool
}

// Broker is the service.
type Broker struct {
	cfg          Config
	log          zerolog.Logger
	now          func() time.Time
	ca           *identity.CA
	passwords    *identity.Passwords
	seed         *identity.Seed
	pages        *web.Pages
	openID       *oidc.Clients
	challenges   *joining.Challenger
	clusters     joining.Clusters
	ticketSecret []byte // see TicketKeys
	throttle     *identity.Throttle
	vault        *push.Vault
	polls        polls
	people       *people.Register
	signing      *signing
	ledger       *ledger
	replays      chan struct{} // has room for as many as may run
	handler      http.Handler

	openAPI []byte

	ready   chan struct{} // closed when the API answers
	closing chan struct{} // closed when it is to end
	addr    net.Addr      // set before ready is closed

	// When the janitor last had the state forget, and last looked what is due.
	forgotten, swept time.Time

	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error) // the API's own
}

// openTimeout bounds the first look at the shared secrets.
const openTimeout = 10 * time.Second

// New checks the configuration and opens (or makes) the shared secrets. Nothing
// runs yet.
func New(cfg Config) (*Broker, error) {
	switch {
	case cfg.Journal == nil:
		return nil, errors.New("broker: no journal")
	case cfg.Secrets == nil:
		return nil, errors.New("broker: no store of shared secrets")
	case cfg.Listen == "":
		return nil, errors.New("broker: no address to listen on")
	}
	if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
		return nil, fmt.Errorf("broker: listen: %w", err)
	}
	b := &Broker{cfg: cfg, log: cfg.Log, now: cfg.Clock, throttle: identity.NewThrottle(), replays: make(chan struct{}, maxReplays), ready: make(chan struct{}), closing: make(chan struct{})}
	if b.now == nil {
		b.now = time.Now
	}
	for _, j := range []**journal.Journal{&b.cfg.Consumers.Journal, &b.cfg.Consumers.Reader} {
		if *j == nil {
			*j = cfg.Journal
		}
	}
	if b.cfg.Consumers.Backoff == (push.Backoff{}) {
		b.cfg.Consumers.Backoff = push.DefaultBackoff()
	}
	b.vault = push.NewVault(cfg.Secrets)
	for _, addr := range []*func() string{&b.cfg.ProxyAddr, &b.cfg.AuditorAddr} {
		if *addr == nil {
			*addr = func() string { return "" }
		}
	}
	var err error
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	if b.ca, err = identity.OpenCA(ctx, cfg.Secrets, cfg.DataDir, b.now()); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if b.passwords, err = identity.OpenPasswords(ctx, cfg.Secrets, cfg.DataDir); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if b.seed, err = identity.OpenSeed(ctx, cfg.Secrets); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.people = people.NewRegister(cfg.Secrets, b.seed.Derive(registerPurpose, 32))
	if b.pages, err = web.New(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if b.ticketSecret, err = keepKey(ctx, cfg.Secrets, "proxy/tickets"); err != nil {
		return nil, err
	}
	if b.challenges, err = openChallenges(ctx, cfg.Secrets); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	names := append([]string{"localhost", "127.0.0.1", "::1"}, cfg.PublicNames...)
	if host, _, err := net.SplitHostPort(cfg.Listen); err == nil && host != "" && !slices.Contains(names, host) {
		names = append(names, host)
	}
	own := b.Server(names)
	b.certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, _, err := own()
		return cert, err
	}
	b.openID = oidc.New()
	b.signing = newSigning(b.ca, cfg.Journal)
	b.ledger = newLedger(cfg.Journal, b.ca.Pool(), filepath.Join(cfg.DataDir, "access.snapshot"), b.now, cfg.Log)
	b.ledger.snapshotKey = b.seed.Derive("access snapshot", sha256.Size)
	b.ledger.observe = b.attempted
	if b.handler, err = b.routes(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

// Run serves until ctx ends, then lets running answers finish and returns nil.
func (b *Broker) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.cfg.Listen)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	defer listener.Close()
	b.addr = listener.Addr()
	if err := b.signing.rotate(ctx); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	srv := b.server()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.keepSigning(ctx) })
	group.Go(func() error { return b.ledger.follow(ctx) })
	group.Go(func() error { return b.ledger.keepSnapshots(ctx) })
	group.Go(func() error { return b.ledger.keepAttesting(ctx) })
	group.Go(func() error { return b.ca.Follow(ctx, b.log) })
	group.Go(func() error {
		select {
		case <-b.ledger.ready:
			close(b.ready)
		case <-ctx.Done():
			return nil
		}
		group.Go(func() error { b.followHolds(ctx); return nil })
		group.Go(func() error { return b.keepPushing(ctx) })
		return b.janitor(ctx)
	})
	group.Go(func() error {
		if err := srv.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("broker: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		close(b.closing)
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return srv.Shutdown(stop)
	})
	return group.Wait()
}

// Ready is closed when the broker has caught up with the stream and answers.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is the address of the API. It is empty before Ready.
func (b *Broker) Addr() string {
	select {
	case <-b.ready:
		return b.addr.String()
	default:
		return ""
	}
}

// HasUser says whether there is a user of that name.
func (b *Broker) HasUser(ctx context.Context, name string) (there bool, err error) {
	if err := b.caughtUp(ctx); err != nil {
		return false, err
	}
	b.ledger.read(func(s *access.State, _ time.Time) { there = s.Users[name] != nil })
	return there, nil
}

// Reinstate sees to it that a user may change users and lift locks. Where one is gone,
// disabled, locked or without the rules, the locks on them and on their roles are lifted
// and, where that is not enough, resources are written that make them what they were. Each
// of these is an event. done is whether anything had to be; by is who wants it.
func (b *Broker) Reinstate(ctx context.Context, by, user string, resources []byte) (done bool, err error) {
	if err := b.caughtUp(ctx); err != nil {
		return false, err
	}
	able := func() (err error) {
		b.ledger.read(func(s *access.State, now time.Time) {
			if err = mustMay(s, now, user, "delete", "lock"); err == nil {
				err = mustMay(s, now, user, "update", "user")
			}
		})
		return err
	}
	unlock := func() error {
		var locks []*access.Lock
		b.ledger.read(func(s *access.State, now time.Time) { locks = s.UserLocks(user, now) })
		for _, l := range locks {
			if _, err := b.ledger.do(ctx, by, func(s *access.State, env access.Env) ([]events.Event, error) {
				if l := s.Locks[l.LockID]; l == nil || !l.Active(env.Now) {
					return nil, nil // it ended, or another broker was faster
				}
				return access.Lift(s, env, l.LockID)
			}); err != nil {
				return fmt.Errorf("lift lock %s on %s %s: %w", l.LockID, l.Target.Kind, l.Target.Name, err)
			}
		}
		return nil
	}
	if able() == nil {
		return false, nil
	}
	if err := unlock(); err != nil || able() == nil {
		return true, err
	}
	if _, err := b.Apply(ctx, by, resources); err != nil {
		return true, err
	}
	if err := unlock(); err != nil { // the role may have been locked before it was theirs
		return true, err
	}
	return true, able()
}

// CAPEM are the certificates of the CA that clients and services trust.
func (b *Broker) CAPEM() []byte { return b.ca.PEM() }

// Server returns what a server of this process shows and trusts under names, at
// the moment of each call: for the proxy and the auditor.
func (b *Broker) Server(names []string) func() (*tls.Certificate, *x509.CertPool, error) {
	return b.ca.Server(names, b.now)
}
