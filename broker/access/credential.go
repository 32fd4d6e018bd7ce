package access

import (
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Credential is how a user of postern's own proves who they are, besides the
// password, which is in no event.
type Credential struct {
	// Invitation is the one that nobody has used, nil if there is none.
	Invitation *events.CredentialInvited
	// Factors have the counter that was used last.
	Factors []events.Factor
}

// The kinds of second factors.
const (
	TOTP     = "totp"
	WebAuthn = "webauthn"
)

// maxFactors bounds a user's second factors.
const maxFactors = 10

// applyCredential folds in what became of a user's credentials. Those of users
// who do not exist are nothing.
func (s *State) applyCredential(e events.Event) {
	change := func(user string, f func(*Credential)) {
		if s.Users[user] == nil {
			return
		}
		c := Credential{}
		if old := s.Credentials[user]; old != nil {
			c.Invitation, c.Factors = old.Invitation, slices.Clone(old.Factors)
		}
		f(&c)
		s.Credentials[user] = &c
	}
	switch d := e.Data.(type) {
	case *events.CredentialInvited:
		change(d.User, func(c *Credential) { c.Invitation = d })
	case *events.CredentialEnrolled:
		change(d.User, func(c *Credential) {
			*c = Credential{Factors: d.Factors}
		})
	case *events.CredentialFactorAdded:
		change(d.User, func(c *Credential) { c.Factors = append(c.Factors, d.Factor) })
	case *events.CredentialFactorRemoved:
		change(d.User, func(c *Credential) {
			c.Factors = slices.DeleteFunc(c.Factors, func(f events.Factor) bool { return f.ID == d.FactorID })
		})
	case *events.CredentialFactorUsed:
		s.spend(d.ChallengeID, e.Time)
		change(d.User, func(c *Credential) {
			for i := range c.Factors {
				if c.Factors[i].ID == d.FactorID {
					c.Factors[i].Counter = max(c.Factors[i].Counter, d.Counter)
				}
			}
		})
	}
}

// Factors are a user's second factors, and whether a sign-in with a password
// needs one. They may be none although one is needed.
func (s *State) Factors(user string) (factors []events.Factor, needed bool) {
	if c := s.Credentials[user]; c != nil {
		factors = c.Factors
	}
	switch s.Settings.SecondFactor {
	case FactorOff:
		return factors, false
	case FactorRequired:
		return factors, true
	}
	return factors, len(factors) > 0
}

// Invite lets whoever holds a link set a user's password and second factors.
func Invite(s *State, env Env, user string, ttl time.Duration) ([]events.Event, error) {
	u := s.Users[user]
	switch {
	case u == nil:
		return nil, refuse(NotFound, "there is no user %s", user)
	case u.Connector != "":
		return nil, refuse(Conflict, "%s signs in with %s and has no password here", user, u.Connector)
	}
	return env.one("", "", &events.CredentialInvited{User: user, InvitationID: env.NewID(), ExpiresAt: env.Now.Add(ttl).UTC(), By: env.By}), nil
}

// Invited says why an invitation does not hold.
func Invited(s *State, now time.Time, user, invitationID string) error {
	if _, err := Admit(s, now, user); err != nil {
		return err
	}
	c := s.Credentials[user]
	if c == nil || c.Invitation == nil || c.Invitation.InvitationID != invitationID || !now.Before(c.Invitation.ExpiresAt) {
		e := refuse(Denied, "this invitation was used, replaced by a newer one, or is too old")
		e.Next = "ask whoever runs postern for a new link (postern users reset " + user + ")"
		return e
	}
	return nil
}

// Enroll uses an invitation: the factors are all that the user has afterwards.
func Enroll(s *State, env Env, user, invitationID string, factors []events.Factor, addr string) ([]events.Event, error) {
	if err := Invited(s, env.Now, user, invitationID); err != nil {
		return nil, err
	}
	if len(factors) == 0 && s.Settings.SecondFactor == FactorRequired {
		return nil, refuse(Invalid, "a second factor is required here")
	}
	return env.one("", "", &events.CredentialEnrolled{User: user, InvitationID: invitationID, Factors: factors, ClientAddr: addr}), nil
}

// AddFactor gives a user one more second factor.
func AddFactor(s *State, env Env, user string, f events.Factor) ([]events.Event, error) {
	if _, err := Admit(s, env.Now, user); err != nil {
		return nil, err
	}
	factors, _ := s.Factors(user)
	if len(factors) >= maxFactors {
		return nil, refuse(Conflict, "%s has %d second factors already: remove one first", user, maxFactors)
	}
	if slices.ContainsFunc(factors, func(o events.Factor) bool { return o.ID == f.ID }) {
		return nil, refuse(Exists, "this second factor is registered already")
	}
	return env.one("", "", &events.CredentialFactorAdded{User: user, Factor: f, By: env.By}), nil
}

// RemoveFactor takes a second factor away, not the last where one is required.
func RemoveFactor(s *State, env Env, user, id string) ([]events.Event, error) {
	factors, _ := s.Factors(user)
	if !slices.ContainsFunc(factors, func(f events.Factor) bool { return f.ID == id }) {
		return nil, refuse(NotFound, "%s has no second factor %s", user, id)
	}
	if len(factors) == 1 && s.Settings.SecondFactor == FactorRequired {
		return nil, refuse(Conflict, "a second factor is required here, and this is the last of %s: add another first", user)
	}
	return env.one("", "", &events.CredentialFactorRemoved{User: user, FactorID: id, By: env.By}), nil
}

// UseFactor is the claim that a user proved to hold a second factor.
type UseFactor struct {
	User, FactorID string
	// Counter as in events.CredentialFactorUsed.
	Counter     int64
	ChallengeID string
	Purpose     string
	ClientAddr  string
}

// Use takes a proof once: of two brokers that see the same code, one accepts it.
func Use(s *State, env Env, c UseFactor) ([]events.Event, error) {
	factors, _ := s.Factors(c.User)
	i := slices.IndexFunc(factors, func(f events.Factor) bool { return f.ID == c.FactorID })
	if i < 0 {
		return nil, refuse(Denied, "%s has no second factor %s", c.User, c.FactorID)
	}
	_, spent := s.spent[c.ChallengeID]
	switch last := factors[i].Counter; {
	case factors[i].Kind == TOTP && c.Counter <= last:
		return nil, refuse(Denied, "the code was used already: wait for the next one")
	case factors[i].Kind == WebAuthn && spent:
		return nil, refuse(Denied, "the answer of the security key was used already")
	case factors[i].Kind == WebAuthn && last > 0 && c.Counter <= last:
		// https://www.w3.org/TR/webauthn-3/#sctn-sign-counter
		return nil, refuse(Denied, "the security key counts backwards: there may be a copy of it")
	}
	return env.one("", "", &events.CredentialFactorUsed{
		User: c.User, FactorID: c.FactorID, Counter: c.Counter, ChallengeID: c.ChallengeID, Purpose: c.Purpose, ClientAddr: c.ClientAddr,
	}), nil
}
