package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events"
)

func (b *Broker) getHealth(*call) (any, error) { return struct{}{}, nil }

func (b *Broker) getCA(*call) (any, error) {
	return api.CA{CA: string(b.ca.PEM()), SHA256: b.ca.SHA256()}, nil
}

// postLogin trades a password for a certificate. Whatever is wrong with user
// or password, the answer and the time it takes are the same.
func (b *Broker) postLogin(c *call) (any, error) {
	var in api.Login
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if err := access.CheckUserName(in.User); err != nil {
		return nil, invalid("user: %v", err)
	}
	asked, err := duration("ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	key, err := identity.ParseCSR([]byte(in.CSR))
	if err != nil {
		return nil, invalid("%v", err)
	}
	addr := c.clientAddr()
	if d := b.throttle.Wait(in.User, addr, b.now()); d > 0 {
		wait := int(d/time.Second) + 1
		c.header.Set("Retry-After", strconv.Itoa(wait))
		return nil, &api.Error{Status: http.StatusTooManyRequests, Code: api.CodeThrottled,
			Message: fmt.Sprintf("too many failed sign-ins: try again in %d s", wait)}
	}
	var user *access.User
	var refused error
	b.ledger.read(func(s *access.State, now time.Time) {
		user = s.Users[in.User]
		_, refused = access.Admit(s, now, in.User)
	})
	var since uint64
	if user != nil {
		since = user.CreatedSeq
	}
	ok, err := b.passwords.Verify(c.Context(), in.User, since, in.Password)
	if err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	failed := func(reason string, answer *api.Error) (any, error) {
		b.throttle.Failed(in.User, addr, b.now())
		err := b.record(c.Context(), &events.SigninFailed{User: in.User, Method: "password", ClientAddr: addr, Reason: reason})
		if err != nil {
			return nil, err
		}
		return nil, answer
	}
	switch {
	case !ok && user == nil:
		return failed("no such user", badPassword())
	case !ok:
		return failed("wrong password", badPassword())
	case refused != nil:
		// The password was right: they may know why.
		e := asAPI(refused)
		return failed(e.Message, e)
	}
	b.throttle.Succeeded(in.User, addr)
	issued, err := b.issue(c.Context(), "password", addr, in.User, asked, func(ttl time.Duration, roles []string) (identity.Issued, error) {
		return b.ca.IssueUser(key, in.User, roles, b.now(), ttl)
	})
	if err != nil {
		return nil, err
	}
	return api.Certificate{
		User:        in.User,
		Roles:       user.Roles,
		Certificate: string(issued.PEM),
		CA:          string(b.ca.PEM()),
		ExpiresAt:   issued.ExpiresAt,
		ProxyAddr:   b.cfg.ProxyAddr(),
		AuditorAddr: b.cfg.AuditorAddr(),
	}, nil
}

func badPassword() *api.Error {
	return &api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthenticated, Message: "wrong user name or password"}
}

// issue makes a certificate for a user and records it: a certificate that the
// stream does not know is given to nobody.
func (b *Broker) issue(ctx context.Context, method, addr, user string, asked time.Duration, sign func(time.Duration, []string) (identity.Issued, error)) (identity.Issued, error) {
	var roles []string
	var bound time.Duration
	var err error
	b.ledger.read(func(s *access.State, now time.Time) {
		var u *access.User
		if u, err = access.Admit(s, now, user); err == nil {
			roles, bound = u.Roles, s.Subject(u, now).CertificateTTL()
		}
	})
	if err != nil {
		return identity.Issued{}, err
	}
	ttl, err := identity.TTL(asked, bound)
	if err != nil {
		return identity.Issued{}, invalid("ttl: %v", err)
	}
	issued, err := sign(ttl, roles)
	if err != nil {
		return identity.Issued{}, err
	}
	err = b.record(ctx, &events.SigninSucceeded{
		User: user, Method: method, ClientAddr: addr,
		CertificateSerial: issued.Serial, ExpiresAt: issued.ExpiresAt,
	})
	return issued, err
}

// record appends an event that nothing is decided by.
func (b *Broker) record(ctx context.Context, p events.Payload) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	_, err := b.cfg.Journal.Append(ctx, events.Event{Meta: events.Meta{Time: b.now()}, Data: p})
	return err
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
	issued, err := b.issue(ctx, "identity_file", "", user, ttl, func(ttl time.Duration, roles []string) (identity.Issued, error) {
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
		if u := s.Users[user]; u != nil {
			since = u.CreatedSeq
		}
	})
	if since == 0 {
		return &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "there is no user " + user}
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
			Message: fmt.Sprintf("no role of %s has a rule that allows to %s %ss", user, verb, resource)}
	}
	return nil
}
