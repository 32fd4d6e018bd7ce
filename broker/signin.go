package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events"
)

func (b *Broker) getHealth(*call) (any, error) { return struct{}{}, nil }

// postLogin trades a password, and a code where a second factor is asked for, for
// a certificate. Whatever is wrong with user or password, the answer and the time
// it takes are the same.
func (b *Broker) postLogin(c *call) (any, error) {
	var in api.Login
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	f, err := certificateWish(in.CSR, in.TTL, in.Device)
	if err != nil {
		return nil, err
	}
	addr := c.clientAddr()
	if in.User, err = b.typed(c.Context(), in.User); err != nil {
		return nil, err
	}
	since, err := b.checkPassword(c.Context(), in.User, in.Password, addr)
	if err != nil {
		return nil, err
	}
	p := proof{Flow: f, User: in.User, Method: "password", Since: since}
	if have, needed := b.factors(in.User); needed {
		if in.TOTP == "" {
			return nil, asksFactor("a second factor is asked for", in.User, have)
		}
		if p.Factor, p.FactorEvent, err = b.proveFactor(c.Context(), in.User, factorProof{code: in.TOTP}, forSignin, addr); err != nil {
			return nil, err
		}
	}
	return b.certificateFor(c.Context(), p, addr)
}

// checkPassword says whether a password is the user's, who may sign in, and where in the
// stream they were made. Failures are recorded, and slow the next ones down.
func (b *Broker) checkPassword(ctx context.Context, name, password, addr string) (since uint64, err error) {
	if err := access.CheckUserName(name); err != nil {
		return 0, invalid("user: %v", err)
	}
	done, err := b.attempt(ctx, name, addr)
	if err != nil {
		return 0, err
	}
	defer done()
	var refused error
	b.ledger.read(func(s *access.State, now time.Time) {
		if u := s.Users[name]; u != nil && u.Connector == "" {
			since = u.CreatedSeq
		}
		_, refused = access.Admit(s, now, name)
	})
	ok, err := b.passwords.Verify(ctx, name, since, password)
	if err != nil {
		return 0, fmt.Errorf("sign in: %w", err)
	}
	var reason string
	answer := badPassword()
	switch {
	case !ok && since == 0:
		reason = "no such user"
	case !ok:
		reason = "wrong password"
	case refused != nil:
		// The password was right: they may know why.
		answer = asAPI(refused)
		reason = answer.Message
	default:
		return since, nil
	}
	return 0, b.failed(ctx, &events.SigninFailed{User: name, Method: "password", ClientAddr: addr, Reason: reason}, answer)
}

func badPassword() *api.Error {
	return &api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthenticated, Message: "wrong user name or password"}
}

// certificateFor ends a sign-in.
func (b *Broker) certificateFor(ctx context.Context, p proof, addr string) (api.Certificate, error) {
	key, err := identity.ParseCSR([]byte(p.Flow.CSR))
	if err != nil {
		return api.Certificate{}, invalid("%v", err)
	}
	if err := b.admitDevice(ctx, p, addr); err != nil {
		return api.Certificate{}, err
	}
	out := api.Certificate{User: p.User, CA: string(b.ca.PEM()), ProxyAddr: b.cfg.ProxyAddr(), AuditorAddr: b.cfg.AuditorAddr()}
	issued, err := b.issue(ctx, p, addr, func(ttl time.Duration, roles []string) (identity.Issued, error) {
		out.Roles = roles
		return b.ca.Signing().IssueSignin(key, identity.Signin{User: p.User, Roles: roles, Device: p.Flow.Device.ID, Serial: p.ID, TTL: ttl}, b.now())
	})
	if err != nil {
		return api.Certificate{}, err
	}
	out.Certificate, out.ExpiresAt = string(issued.PEM), issued.ExpiresAt
	return out, nil
}

// admitDevice refuses a sign-in from a machine that is locked, and records that.
func (b *Broker) admitDevice(ctx context.Context, p proof, addr string) error {
	var refused error
	b.ledger.read(func(s *access.State, now time.Time) { refused = access.AdmitDevice(s, now, p.Flow.Device.ID) })
	if refused == nil {
		return nil
	}
	answer := asAPI(refused)
	return b.failed(ctx, &events.SigninFailed{User: p.User, Method: p.Method, Connector: p.Connector,
		ClientAddr: addr, Reason: answer.Message, Device: p.Flow.Device.ID}, answer)
}

// issue makes a certificate for a user and records it: a certificate that the
// stream does not know is given to nobody.
func (b *Broker) issue(ctx context.Context, p proof, addr string, sign func(time.Duration, []string) (identity.Issued, error)) (identity.Issued, error) {
	var roles []string
	var bound time.Duration
	var err error
	b.ledger.read(func(s *access.State, now time.Time) {
		var u *access.User
		if u, err = access.Admit(s, now, p.User); err != nil {
			return
		}
		if p.Since != 0 && p.Since != u.CreatedSeq {
			err = &access.Error{Code: access.Denied, Message: "this sign-in is of an earlier user of this name", Next: "postern login"}
			return
		}
		if s.Signins[p.ID] != nil {
			err = &access.Error{Code: access.Denied, Message: "the browser's code was used already"}
			return
		}
		roles, bound = u.Roles, s.Subject(u, now).CertificateTTL()
		if u.ExpiresAt != nil && (bound == 0 || u.ExpiresAt.Sub(now) < bound) {
			bound = u.ExpiresAt.Sub(now)
		}
	})
	if err != nil {
		return identity.Issued{}, err
	}
	ttl, err := identity.TTL(p.Flow.TTL, bound)
	if err != nil {
		return identity.Issued{}, invalid("ttl: %v", err)
	}
	issued, err := sign(ttl, roles)
	if err != nil {
		return identity.Issued{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	seq, err := b.cfg.Journal.Append(ctx, events.Event{Meta: events.Meta{Time: b.now(), CausationID: p.FactorEvent}, Data: &events.SigninSucceeded{
		User: p.User, Method: p.Method, Connector: p.Connector, SecondFactor: p.Factor, ClientAddr: addr,
		CertificateSerial: issued.Serial, ExpiresAt: issued.ExpiresAt, Device: p.Flow.Device.ID, DeviceName: p.Flow.Device.Name,
	}})
	if err == nil {
		err = b.ledger.reach(ctx, seq) // so that it can be listed, revoked, and not be made twice
	}
	return issued, err
}

// IssueIdentity makes a key and a certificate for a user who does not sign in:
// for identity files. ttl 0 is the default; roles may shorten it.
func (b *Broker) IssueIdentity(ctx context.Context, user string, ttl time.Duration) (api.Identity, error) {
	if err := b.caughtUp(ctx); err != nil {
		return api.Identity{}, err
	}
	public, key, err := identity.NewKey()
	if err != nil {
		return api.Identity{}, err
	}
	issued, err := b.issue(ctx, proof{User: user, Method: "identity_file", Flow: flow{TTL: ttl}}, "", func(ttl time.Duration, roles []string) (identity.Issued, error) {
		return b.ca.IssueUser(public, user, roles, b.now(), ttl)
	})
	if err != nil {
		return api.Identity{}, fmt.Errorf("identity of %s: %w", user, err)
	}
	return api.Identity{User: user, ExpiresAt: issued.ExpiresAt, KeyPEM: key, CertPEM: issued.PEM, CAPEM: b.ca.PEM()}, nil
}

// SetPassword gives a user a new password. by is who wants it.
func (b *Broker) SetPassword(ctx context.Context, by, user, password string) error {
	if err := identity.CheckPassword(password); err != nil {
		return invalid("password: %v", err)
	}
	if err := b.caughtUp(ctx); err != nil {
		return err
	}
	var since uint64
	b.ledger.read(func(s *access.State, _ time.Time) {
		if u := s.Users[user]; u != nil && u.Connector == "" {
			since = u.CreatedSeq
		}
	})
	if since == 0 {
		return &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "there is no user " + user + " with a password"}
	}
	// The event first: a password that nobody recorded must not work.
	_, err := b.ledger.do(ctx, by, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.ChangePassword(s, env, user)
	})
	if err != nil {
		return err
	}
	return b.passwords.Set(ctx, user, since, password)
}

func (b *Broker) putPassword(c *call) (any, error) {
	var in api.Password
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if err := b.require(c.who, "update", "user"); err != nil {
		return nil, err
	}
	return nil, b.SetPassword(c.Context(), c.who.User, c.PathValue("name"), in.Password)
}

// caughtUp waits until the broker knows its history.
func (b *Broker) caughtUp(ctx context.Context) error {
	select {
	case <-b.ledger.ready:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("the broker is not running or has not read its history yet"), ctx.Err())
	}
}

// require asks for a rule that lets the caller do something to postern's own
// resources.
func (b *Broker) require(who identity.Person, verb, resource string) error {
	var err error
	b.ledger.read(func(s *access.State, now time.Time) { err = mustMay(s, now, who.User, verb, resource) })
	return err
}

func mustMay(s *access.State, now time.Time, user, verb, resource string) error {
	u, err := access.Admit(s, now, user)
	if err != nil {
		return err
	}
	if !s.Subject(u, now).May(verb, resource) {
		return &access.Error{Code: access.Denied,
			Message: fmt.Sprintf("no role of %s has a rule that allows to %s %s", user, verb, several(resource))}
	}
	return nil
}

// several is the plural of a kind of resource, for people.
func several(resource string) string {
	switch resource {
	case "cluster_settings", "audit":
		return resource
	case "ca":
		return "the CA"
	}
	return resource + "s"
}
