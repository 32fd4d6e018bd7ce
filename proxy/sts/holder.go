package sts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/sigv4"
)

const (
	// callTimeout bounds one exchange with STS, the SDK's retries included.
	callTimeout = 30 * time.Second
	// spare is how long credentials must last to be handed out: a request must
	// reach AWS with them, over a slow link and two clocks.
	spare = 30 * time.Second
	// ahead is how long before their end credentials are renewed, while the old
	// ones still serve.
	ahead = 5 * time.Minute
	// refused and failed are how long an error is repeated without asking again:
	// a refusal stands until somebody changes a policy, a failure passes.
	refused = 10 * time.Second
	failed  = time.Second
)

// Config says for whom and how credentials are obtained.
type Config struct {
	// Proxy is the name of the proxy, for events.
	Proxy string
	Link  Link
	// Region is where STS is called for sessions that name no region.
	Region string
	// Base gives the credentials that postern itself runs with; nil means the
	// SDK's default chain: environment, shared files, web identity, container,
	// instance.
	Base aws.CredentialsProvider
	// Record appends an event and returns when it is durable.
	Record func(context.Context, events.Event) error
	Log    zerolog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// ChainedEnd says to people when what is Chained ends, and why.
const ChainedEnd = "after 1 hour at most, because postern runs with temporary AWS credentials (role chaining)"

// Credentials of an assumed role.
type Credentials struct {
	sigv4.Credentials
	Expires time.Time
	// AssumedRoleID is AROA…:session-name.
	AssumedRoleID string
	// Chained: postern's own are temporary, so that these last an hour at most.
	Chained bool
}

// Holder obtains credentials and keeps them in memory. It is safe for
// concurrent use.
type Holder struct {
	cfg    Config
	http   aws.HTTPClient
	plain  *http.Client
	flying sync.WaitGroup

	mu      sync.Mutex
	entries map[key]*entry
	// base is the loaded configuration, nil until it was needed.
	base    *aws.Config
	clients map[string]*awssts.Client // by region
	iam     map[string]*iam.Client    // by partition and account
	// longest is the longest session that a role was found to allow.
	longest map[string]time.Duration
	// chained: STS said that our own credentials are of an assumed role.
	chained bool
	// self is who we are, by the access key that was asked about.
	self map[string]string
}

// key is everything that goes into an AssumeRole call, and the session, because
// an access key must lead to one session.
type key struct {
	session, role, name, source, external, tags, region, partition string
}

// entry is the credentials of one key. mu guards all of it.
type entry struct {
	mu       sync.Mutex
	creds    Credentials
	recorded bool
	// err stands until then.
	err   error
	until time.Time
	// flight is closed when the call that is under way has ended; nil if none is.
	flight chan struct{}
	ends   time.Time // the session's end
}

// New checks the configuration. It makes no connection.
func New(cfg Config) (*Holder, error) {
	if cfg.Record == nil {
		return nil, errors.New("sts: no way to record issued credentials")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Holder{
		cfg:     cfg,
		entries: map[key]*entry{},
		clients: map[string]*awssts.Client{},
		iam:     map[string]*iam.Client{},
		longest: map[string]time.Duration{},
		self:    map[string]string{},
	}
	h.http = buildable(cfg.Link)
	t := http.DefaultTransport.(*http.Transport).Clone()
	cfg.Link.Apply(t)
	h.plain = &http.Client{Transport: t, Timeout: callTimeout}
	return h, nil
}

// Get returns credentials for a session's role, from memory or from STS. cause is the id
// of the session.started event. Errors are of type [*Error], or ctx's.
func (h *Holder) Get(ctx context.Context, s *events.SessionStarted, cause string) (Credentials, error) {
	e := h.entry(s)
	for {
		now := h.cfg.Now()
		if !now.Before(s.ExpiresAt) {
			return Credentials{}, &Error{Reason: fmt.Sprintf("session %s is over", s.SessionID)}
		}
		e.mu.Lock()
		usable := e.recorded && now.Add(spare).Before(e.creds.Expires)
		if usable {
			if e.flight == nil && e.renew(s, now) {
				h.fly(e, s, cause)
			}
			creds := e.creds
			e.mu.Unlock()
			return creds, nil
		}
		if e.flight == nil {
			if e.err != nil && now.Before(e.until) {
				err := e.err
				e.mu.Unlock()
				return Credentials{}, err
			}
			h.fly(e, s, cause)
		}
		flight := e.flight
		e.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return Credentials{}, context.Cause(ctx)
		}
	}
}

// renew tells whether to fetch new credentials while these still serve: they end
// before the session does, and soon.
func (e *entry) renew(s *events.SessionStarted, now time.Time) bool {
	return e.creds.Expires.Before(s.ExpiresAt) && now.Add(ahead).After(e.creds.Expires) && !now.Before(e.until)
}

// fly starts the call for e. It outlives the request that asked first: others
// wait for it too. The caller holds e.mu.
func (h *Holder) fly(e *entry, s *events.SessionStarted, cause string) {
	flight := make(chan struct{})
	e.flight = flight
	have := e.creds
	if e.recorded || !h.cfg.Now().Add(spare).Before(have.Expires) {
		have = Credentials{} // not ones that only wait for their event
	}
	h.flying.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		creds, err := have, error(nil)
		if creds.AccessKeyID == "" {
			creds, err = h.assume(ctx, s, s.ExpiresAt.Sub(h.cfg.Now()))
		}
		recorded := false
		if err == nil {
			if err = h.record(ctx, h.issued(s, creds, "proxy"), cause); err == nil {
				recorded = true
			}
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case recorded:
			e.creds, e.recorded, e.err = creds, true, nil
		default:
			if creds.AccessKeyID != "" && !e.recorded {
				e.creds = creds // asked for once: only the event is missing
			}
			e.err, e.until = err, h.cfg.Now().Add(patience(err))
			h.cfg.Log.Warn().Err(err).Str("session", s.SessionID).Str("role", s.AWSRoleARN).Msg("no credentials")
		}
		e.flight = nil
		close(flight)
	})
}

func patience(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok && !e.Temporary {
		return refused
	}
	return failed
}

// issued is the event of an issue.
func (h *Holder) issued(s *events.SessionStarted, c Credentials, use string) *events.AWSCredentialsIssued {
	return &events.AWSCredentialsIssued{
		AccessKeyID: c.AccessKeyID, SessionID: s.SessionID, User: s.User, App: s.App,
		AWSRoleARN: s.AWSRoleARN, Account: s.Account, RoleSessionName: s.RoleSessionName,
		SourceIdentity: s.SourceIdentity, AssumedRoleID: c.AssumedRoleID,
		IssuedAt: h.cfg.Now().UTC(), ExpiresAt: c.Expires.UTC(), Use: use, Proxy: h.cfg.Proxy,
	}
}

// record appends the event of an issue.
func (h *Holder) record(ctx context.Context, e *events.AWSCredentialsIssued, cause string) error {
	err := h.cfg.Record(ctx, events.Event{Meta: events.Meta{CorrelationID: e.SessionID, CausationID: cause}, Data: e})
	if err != nil {
		return &Error{Temporary: true, err: err, Reason: "the issue of credentials could not be recorded, so they are not used: " + err.Error()}
	}
	return nil
}

func (h *Holder) entry(s *events.SessionStarted) *entry {
	k := key{
		session: s.SessionID, role: s.AWSRoleARN, name: s.RoleSessionName, source: s.SourceIdentity,
		external: s.ExternalID, region: s.Region, partition: s.Partition,
	}
	if len(s.SessionTags) > 0 {
		pairs := make([]string, 0, len(s.SessionTags))
		for n, v := range s.SessionTags {
			pairs = append(pairs, fmt.Sprintf("%q=%q", n, v))
		}
		slices.Sort(pairs)
		k.tags = strings.Join(pairs, ",")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entries[k]
	if e == nil {
		e = &entry{ends: s.ExpiresAt}
		h.entries[k] = e
	}
	return e
}

// Sweep forgets the credentials of sessions that are over. Call it now and then.
func (h *Holder) Sweep() {
	now := h.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, e := range h.entries {
		if !now.Before(e.ends) {
			delete(h.entries, k)
		}
	}
}

// Wait returns when no call to STS is under way.
func (h *Holder) Wait() { h.flying.Wait() }
