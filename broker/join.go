package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/joining"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/events"
)

// Joining is how proxies and auditors on other machines become part of this
// postern.
type Joining struct {
	// AgentTTL is how long their certificates live; 0 is identity.DefaultAgentTTL.
	AgentTTL time.Duration
	// STS reaches AWS for method iam; nil refuses it.
	STS *http.Client
	EC2 joining.EC2
	// NATS makes credentials for the streams; nil makes none.
	NATS func(kind, name string, ttl time.Duration) (api.NATSAccess, error)
}

const (
	defaultTokenTTL = time.Hour
	maxTokenTTL     = 90 * 24 * time.Hour
	secretBytes     = 20
	// joinAttempts is what attempts count under, no user's name.
	joinAttempts = "(join)"
)

// postToken makes a token of method token. Its secret is in the answer and
// nowhere else.
func (b *Broker) postToken(c *call) (any, error) {
	var in api.NewToken
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	ttl, err := duration("ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	if ttl == 0 {
		ttl = defaultTokenTTL
	}
	if ttl > maxTokenTTL {
		return nil, invalid("ttl: a token lives %d days at most", maxTokenTTL/(24*time.Hour))
	}
	var kinds []string
	for _, k := range in.Kinds {
		if k = strings.ToLower(strings.TrimSpace(k)); !slices.Contains(access.AgentKinds(), k) {
			return nil, invalid("kinds: %q cannot join: want %s", k, strings.Join(access.AgentKinds(), " or "))
		}
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	in.Kinds = kinds
	raw := make([]byte, secretBytes)
	rand.Read(raw) // never fails: crypto/rand
	secret := strings.ToLower(base32.StdEncoding.EncodeToString(raw))
	out := api.TokenMade{Name: in.Name, Kinds: in.Kinds}
	_, err = b.ledger.do(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "create", "token"); err != nil {
			return nil, err
		}
		if out.Name == "" {
			out.Name = strings.ToLower(env.NewID())
		}
		out.ExpiresAt = env.Now.Add(ttl).UTC().Truncate(time.Second)
		return access.PutToken(s, env, events.JoinToken{
			Name: out.Name, Kinds: in.Kinds, Method: access.MethodToken, SecretSHA256: hashSecret(secret),
			MaxUses: in.MaxUses, ExpiresAt: &out.ExpiresAt,
		}, access.Put{})
	})
	if err != nil {
		return nil, err
	}
	out.Token = out.Name + "." + secret
	for _, a := range b.getAuthorities().Authorities {
		out.CAPins = append(out.CAPins, a.Pin)
	}
	return created{out}, nil
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func (b *Broker) getTokens(c *call) (any, error) {
	if err := b.require(c.who, "list", "token"); err != nil {
		return nil, err
	}
	out := api.Tokens{Tokens: []api.Token{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, name := range slices.Sorted(maps.Keys(s.Tokens)) {
			t := s.Tokens[name]
			out.Tokens = append(out.Tokens, api.Token{
				Name: name, Method: t.Method, Kinds: t.Kinds, ExpiresAt: t.ExpiresAt,
				Uses: t.Uses, MaxUses: t.MaxUses, Over: t.Over(now),
			})
		}
	})
	return out, nil
}

// joinsFrom is what an address counts as for services: one whose token is spent tries for
// ever, and must keep nobody behind the same address from signing in.
func joinsFrom(addr string) string { return "services at " + identity.Network(addr) }

func (b *Broker) postJoinChallenge(*call) (any, error) {
	return api.Challenge{Challenge: b.challenges.New(b.now())}, nil
}

// postJoin lets a service in: what it proves is verified, then the stream
// decides whether the token still allows it, then it gets its certificate.
func (b *Broker) postJoin(c *call) (any, error) {
	var in api.Join
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if err := access.CheckAgent(in.Kind, in.Agent); err != nil {
		return nil, invalid("%v", err)
	}
	key, err := b.checkRequest(in.CSR, in.Names)
	if err != nil {
		return nil, err
	}
	addr := c.clientAddr()
	if d := b.throttle.Wait(joinAttempts, joinsFrom(addr), b.now()); d > 0 {
		wait := int(d/time.Second) + 1
		c.header.Set("Retry-After", strconv.Itoa(wait))
		return nil, &api.Error{Status: http.StatusTooManyRequests, Code: api.CodeThrottled,
			Message: fmt.Sprintf("too many failed attempts to join: try again in %d s", wait)}
	}
	proof, err := b.prove(c.Context(), in)
	if err != nil {
		b.throttle.Failed(joinAttempts, joinsFrom(addr), b.now())
		b.log.Warn().Err(err).Str("token", in.Token).Str("agent", in.Agent).Str("client_addr", addr).Msg("a service could not join")
		return nil, &api.Error{Status: http.StatusForbidden, Code: api.CodeDenied, Message: "join: " + err.Error()}
	}
	signing := b.ca.Signing()
	issued, err := signing.IssueAgent(key, in.Kind, in.Agent, in.Names, b.now(), b.agentTTL())
	if err != nil {
		return nil, err
	}
	// Before it counts: a use of the token is not spent on what cannot be given.
	out, err := b.joined(in.Kind, in.Agent, issued)
	if err != nil {
		return nil, err
	}
	_, err = b.ledger.do(c.Context(), in.Agent, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.JoinBy(s, env, access.Join{
			Token: in.Token, Kind: in.Kind, Agent: in.Agent, Proof: proof,
			ClientAddr: addr, Serial: issued.Serial, ExpiresAt: issued.ExpiresAt,
		})
	})
	if err != nil {
		b.throttle.Failed(joinAttempts, joinsFrom(addr), b.now())
		b.log.Warn().Err(err).Str("token", in.Token).Str("agent", in.Agent).Str("client_addr", addr).Msg("a service could not join")
		return nil, err
	}
	b.throttle.Succeeded(joinAttempts, joinsFrom(addr), b.now())
	return out, nil
}

// prove verifies what a service shows, by the method of its token. For a token
// that does not exist it costs the same and comes to nothing.
func (b *Broker) prove(ctx context.Context, in api.Join) (access.Proof, error) {
	var token events.JoinToken
	b.ledger.read(func(s *access.State, _ time.Time) {
		if t := s.Tokens[in.Token]; t != nil {
			token = t.JoinToken
		}
	})
	switch {
	case in.Secret != "":
		return access.Proof{Method: access.MethodToken, SecretSHA256: hashSecret(in.Secret)}, nil
	case in.IAM != nil && token.Method == access.MethodIAM:
		if b.cfg.Joining.STS == nil {
			return access.Proof{}, errors.New("this broker does not reach AWS's STS")
		}
		if err := b.challenges.Check(in.IAM.Challenge, b.now()); err != nil {
			return access.Proof{}, err
		}
		bound, err := joining.Bind(in.IAM.Challenge, in.CSR)
		if err != nil {
			return access.Proof{}, err
		}
		return joining.IAM{Client: b.cfg.Joining.STS}.Verify(ctx, *in.IAM, bound)
	case in.EC2 != "" && token.Method == access.MethodEC2:
		return b.cfg.Joining.EC2.Verify(in.EC2, b.now())
	case in.JWT != "" && token.Method == access.MethodKubernetes:
		return b.clusters.Verify(ctx, *token.Kubernetes, in.JWT, b.now())
	}
	return access.Proof{}, fmt.Errorf("token %s does not let this %s in", in.Token, in.Kind)
}

// postRenew gives a service that has joined its next certificate.
func (b *Broker) postRenew(c *call) (any, error) {
	var in api.Renew
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	agent, err := b.agent(c)
	if err != nil {
		return nil, err
	}
	key, err := b.checkRequest(in.CSR, in.Names)
	if err != nil {
		return nil, err
	}
	issued, err := b.ca.Signing().IssueAgent(key, agent.Kind, agent.Name, in.Names, b.now(), b.agentTTL())
	if err != nil {
		return nil, err
	}
	_, err = b.ledger.do(c.Context(), agent.Name, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.RenewAgent(s, env, events.AgentRenewed{
			Kind: agent.Kind, Agent: agent.Name, ClientAddr: c.clientAddr(), CertificateSerial: issued.Serial, ExpiresAt: issued.ExpiresAt,
		})
	})
	if err != nil {
		return nil, err
	}
	return b.joined(agent.Kind, agent.Name, issued)
}

// agent reads the service that calls from the certificate that it shows.
func (b *Broker) agent(c *call) (identity.Agent, error) {
	if c.TLS == nil {
		return identity.Agent{}, unauthenticated("the connection is not TLS")
	}
	agent, err := b.ca.VerifyAgent(c.TLS.PeerCertificates, b.now())
	if err != nil {
		e := unauthenticated(err.Error())
		e.Next = "join again with a token"
		return agent, e
	}
	return agent, nil
}

func (b *Broker) joined(kind, agent string, issued identity.Issued) (any, error) {
	out := api.Joined{Kind: kind, Agent: agent, Certificate: string(issued.PEM), CA: string(b.ca.PEM()), ExpiresAt: issued.ExpiresAt}
	if kind == "proxy" {
		out.TicketKeys = b.TicketKeys()
	}
	if b.cfg.Joining.NATS != nil {
		// A name of its own for each, and with it an inbox.
		nats, err := b.cfg.Joining.NATS(kind, kind+"-"+issued.Serial[:16], issued.ExpiresAt.Sub(b.now()))
		if err != nil {
			return nil, fmt.Errorf("credentials for the streams: %w", err)
		}
		out.NATS = &nats
	}
	return out, nil
}

func (b *Broker) checkRequest(csr string, names []string) (*ecdsa.PublicKey, error) {
	key, err := identity.ParseCSR([]byte(csr))
	if err != nil {
		return nil, invalid("%v", err)
	}
	own := slices.Clone(b.cfg.PublicNames)
	if host, _, err := net.SplitHostPort(b.cfg.Listen); err == nil {
		own = append(own, host)
	}
	if err := identity.CheckNames(names, own); err != nil {
		return nil, invalid("names: %v", err)
	}
	return key, nil
}

func (b *Broker) agentTTL() time.Duration {
	if ttl := b.cfg.Joining.AgentTTL; ttl != 0 {
		return ttl
	}
	return identity.DefaultAgentTTL
}

// TicketKeys are what the proxies of this postern share, and nobody else knows: 32
// bytes each, with which they seal what they give their users to hold, under the
// first. There is one for each authority of the CA, made of a secret that only brokers
// have: they change as the CA is rotated, and proxies know the next as soon as they
// trust it.
func (b *Broker) TicketKeys() [][]byte {
	st := b.ca.Status()
	var keys [][]byte
	for _, a := range []*identity.Authority{st.Signing, st.Other} {
		if a != nil {
			key, err := hkdf.Key(sha256.New, b.ticketSecret, nil, "session tokens of proxies "+a.SHA256(), 32)
			if err != nil {
				panic("broker: " + err.Error()) // 32 bytes are not too many
			}
			keys = append(keys, key)
		}
	}
	return keys
}

// openChallenges returns a Challenger whose key all brokers share.
func openChallenges(ctx context.Context, secrets *sealed.Store) (*joining.Challenger, error) {
	key, err := keepKey(ctx, secrets, "join/challenges")
	return joining.NewChallenger(key), err
}

// keepKey returns 32 random bytes that all brokers share, made by the first to ask.
func keepKey(ctx context.Context, secrets *sealed.Store, name string) ([]byte, error) {
	key, err := secrets.Keep(ctx, name, func() ([]byte, error) {
		key := make([]byte, 32)
		rand.Read(key) // never fails: crypto/rand
		return key, nil
	})
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return key, nil
}

func (b *Broker) getAuthorities() api.CA {
	st := b.ca.Status()
	out := api.CA{CA: string(b.ca.PEM()), SHA256: st.Signing.SHA256(), Phase: string(st.Phase), Since: st.Since}
	for _, a := range []*identity.Authority{st.Signing, st.Other} {
		if a != nil {
			out.Authorities = append(out.Authorities, api.Authority{SHA256: a.SHA256(), Pin: a.Pin(), Signing: a == st.Signing})
		}
	}
	return out
}

func (b *Broker) getCA(*call) (any, error) { return b.getAuthorities(), nil }

// postRotate takes the CA one phase further, or back.
func (b *Broker) postRotate(c *call) (any, error) {
	var in api.RotateCA
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if err := b.require(c.who, "update", "ca"); err != nil {
		return nil, err
	}
	switch from := identity.Phase(in.From); from {
	case "", identity.Steady, identity.Introduced, identity.Switched:
	default:
		return nil, invalid("from: %q is no phase: want steady, introduced or switched", in.From)
	}
	var head access.Head
	b.ledger.read(func(s *access.State, _ time.Time) { head = access.CAHead(s) })
	_, err := b.ca.Rotate(c.Context(), identity.Step{From: identity.Phase(in.From), Back: in.Back, Force: in.Force}, b.now(), func(st identity.Status) error {
		if st.Phase == identity.Steady { // who reads from then on knows no other CA
			if err := b.renewKeys(c.Context()); err != nil {
				return err
			}
		}
		certs := string(st.Signing.Certificate())
		if st.Other != nil {
			certs += string(st.Other.Certificate())
		}
		_, err := b.ledger.do(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
			return access.RotateCA(s, env, head, events.CARotated{
				Phase: string(st.Phase), SigningSHA256: st.Signing.SHA256(), Certificates: certs,
			})
		})
		return err
	})
	switch {
	case errors.As(err, new(*identity.TooEarly)):
		return nil, &api.Error{Status: http.StatusConflict, Code: api.CodeConflict, Message: err.Error() + ". Wait until then, then: postern ca rotate"}
	case errors.As(err, new(*identity.NotFrom)):
		return nil, &api.Error{Status: http.StatusConflict, Code: api.CodeConflict, Message: err.Error(), Next: "postern ca show"}
	case errors.Is(err, sealed.ErrConflict):
		return nil, &api.Error{Status: http.StatusConflict, Code: api.CodeConflict, Message: "somebody else rotates the CA at the same time", Next: "postern ca show"}
	case errors.Is(err, identity.ErrNotRotating):
		return nil, &api.Error{Status: http.StatusConflict, Code: api.CodeConflict, Message: err.Error()}
	case err != nil:
		return nil, err
	}
	return b.getAuthorities(), nil
}
