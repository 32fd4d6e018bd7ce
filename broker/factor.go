package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/identity/mfa"
	"github.com/posternhq/postern/events"
)

// factorProof is what somebody sent to prove a second factor: a code, or what a
// security key answered to a ceremony.
type factorProof struct{ code, ceremony, answer string }

func (p factorProof) method() string {
	if p.code != "" {
		return access.TOTP
	}
	return access.WebAuthn
}

// factors are a user's second factors.
func (b *Broker) factors(user string) (out []events.Factor, needed bool) {
	b.ledger.read(func(s *access.State, _ time.Time) {
		out, needed = s.Factors(user)
	})
	return out, needed
}

func (b *Broker) totpSecret(user, factorID string) []byte {
	return b.seed.Derive("totp\x00"+user+"\x00"+factorID, mfa.SecretSize)
}

// asksFactor is the answer to whoever proved everything but a second factor. Who signs in,
// "" for who has, cannot add one.
func asksFactor(message, signsIn string, factors []events.Factor) *api.Error {
	e := &api.Error{Status: http.StatusUnauthorized, Code: api.CodeNoFactor, Message: message}
	for _, f := range factors {
		if !slices.Contains(e.Details, f.Kind) {
			e.Details = append(e.Details, f.Kind)
		}
	}
	if len(factors) == 0 {
		e.Message += ", and you have none"
		e.Next = "postern mfa add"
		if signsIn != "" {
			e.Next = "ask whoever runs postern for a new link (postern users reset " + signsIn + ")"
		}
	}
	return e
}

// proveFactor checks a proof and records its use, once. Wrong ones slow further
// ones down, wherever they come from: whoever gets here knows the password.
func (b *Broker) proveFactor(ctx context.Context, user string, p factorProof, purpose, addr string) (factorID, eventID string, err error) {
	done, err := b.attempt(ctx, factorsOf(user), factorsOf(user))
	if err != nil {
		return "", "", err
	}
	defer done()
	use := access.UseFactor{User: user, Purpose: purpose, ClientAddr: addr}
	have, _ := b.factors(user)
	if err = b.check(&use, have, p); err == nil {
		var es []events.Event
		if es, err = b.ledger.do(ctx, user, func(s *access.State, env access.Env) ([]events.Event, error) { return access.Use(s, env, use) }); err == nil {
			return use.FactorID, es[0].ID, nil
		}
	}
	var refusal *access.Error
	if !errors.As(err, &refusal) {
		return "", "", err
	}
	return "", "", b.failed(ctx, &events.SigninFailed{User: user, Method: p.method(), ClientAddr: addr, Reason: refusal.Message},
		&api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthenticated, Message: refusal.Message})
}

// check finds the factor that a proof is of.
func (b *Broker) check(use *access.UseFactor, have []events.Factor, p factorProof) error {
	if p.code != "" {
		for _, f := range have {
			if f.Kind != access.TOTP {
				continue
			}
			if step, ok := mfa.Match(b.totpSecret(use.User, f.ID), p.code, b.now()); ok {
				use.FactorID, use.Counter = f.ID, step
				return nil
			}
		}
		return &access.Error{Code: access.Denied, Message: "the code is wrong, or too old"}
	}
	var c mfa.Ceremony
	if err := b.seed.Open(sealCeremony+use.User, p.ceremony, b.now(), &c); err != nil {
		return &access.Error{Code: access.Denied, Message: fmt.Sprintf("the security key: %v", err)}
	}
	keys, err := b.keys()
	if err != nil {
		return err
	}
	use.FactorID, use.Counter, err = keys.Answered(use.User, have, c, []byte(p.answer))
	if err != nil {
		return &access.Error{Code: access.Denied, Message: err.Error()}
	}
	use.ChallengeID = "webauthn/" + c.Challenge
	return nil
}

func (b *Broker) keys() (*mfa.Keys, error) { return mfa.NewKeys(b.origin()) }

// throttled says that it is too early to try again.
func (b *Broker) throttled(user, addr string) error {
	d := b.throttle.Wait(user, addr, b.now())
	if d <= 0 {
		return nil
	}
	return &api.Error{Status: http.StatusTooManyRequests, Code: api.CodeThrottled, RetryAfter: int(d/time.Second) + 1,
		Message: "too many failed sign-ins: try again in " + strconv.Itoa(int(d/time.Second)+1) + " s"}
}

// attempt is throttled for what is about to be tried, and may fail: until done, nothing
// else is tried from the address.
func (b *Broker) attempt(ctx context.Context, user, addr string) (done func(), err error) {
	if err := b.throttled(user, addr); err != nil { // nobody queues up to hear that
		return nil, err
	}
	if done, err = b.throttle.Turn(ctx, addr); err != nil {
		return nil, err
	}
	if err := b.throttled(user, addr); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// failed records a failed sign-in before anybody is told. It counts here before
// the next one comes, and at all brokers as soon as they have read it.
func (b *Broker) failed(ctx context.Context, e *events.SigninFailed, answer error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	seq, err := b.cfg.Journal.Append(ctx, events.Event{Meta: events.Meta{Time: b.now()}, Data: e})
	if err == nil {
		err = b.ledger.reach(ctx, seq)
	}
	if err != nil {
		return err
	}
	return answer
}

// attempted slows guessing down: brokers learn from the stream of what failed and
// what succeeded at any of them.
func (b *Broker) attempted(e events.Event) {
	if b.now().Sub(e.Time) > identity.ThrottleMemory {
		return
	}
	switch d := e.Data.(type) {
	case *events.SigninFailed:
		switch {
		case d.Connector != "", d.Method == access.OIDC, d.Method == access.SAML: // or at none that is known
			b.throttle.Failed(signinsBy(d.Connector, d.User), d.ClientAddr, e.Time)
		case d.Method == "password":
			b.throttle.Failed(d.User, d.ClientAddr, e.Time)
		default: // wherever it came from: whoever got there knows the password
			b.throttle.Failed(factorsOf(d.User), factorsOf(d.User), e.Time)
		}
	case *events.SigninSucceeded:
		if d.Method == "password" {
			b.throttle.Succeeded(d.User, d.ClientAddr, e.Time)
		}
	case *events.CredentialFactorUsed:
		b.throttle.Succeeded(factorsOf(d.User), factorsOf(d.User), e.Time)
	}
}

// What attempts count under, beside user names; none is one.
func factorsOf(user string) string { return "second factor of " + user }

// signinsBy are those at a connector that say of nobody who they are or, where the provider
// said it, a user's own: whoever is refused time and again keeps no colleague out.
func signinsBy(connector, user string) string {
	if user == "" || user == unknownUser {
		return "connector " + connector
	}
	return "connector " + connector + " " + user
}

// unknownUser stands in the record for who was not told, or has a name that none can have.
const unknownUser = "(unknown)"

func (b *Broker) getFactors(c *call) (any, error) {
	out := api.Factors{Factors: []api.Factor{}}
	have, _ := b.factors(c.who.User)
	for _, f := range have {
		out.Factors = append(out.Factors, api.Factor{ID: f.ID, Kind: f.Kind, Name: f.Name, AddedAt: f.AddedAt})
	}
	return out, nil
}

// postFactorBrowser begins in a browser: a proof of a second factor for a session,
// or a new one, or the end of one.
func (b *Broker) postFactorBrowser(c *call) (any, error) {
	var in api.BrowserProof
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if in.Purpose != forSession && in.Purpose != forFactor {
		return nil, invalid("purpose: want session or factor")
	}
	if in.Remove != "" {
		have, _ := b.factors(c.who.User)
		if !slices.ContainsFunc(have, func(f events.Factor) bool { return f.ID == in.Remove }) {
			return nil, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "you have no second factor " + in.Remove, Next: "postern mfa ls"}
		}
	}
	return b.begin(flow{Purpose: in.Purpose, Port: in.Port, Challenge: in.Challenge, User: c.who.User, App: in.App, Remove: in.Remove, By: &c.who})
}
