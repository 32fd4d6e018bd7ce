package broker

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/identity/mfa"
	"github.com/posternhq/postern/events"
)

// inviteTTL is how long invitations hold unless asked otherwise.
const inviteTTL = 24 * time.Hour

// invitation is the token of a link.
type invitation struct {
	User string `json:"user"`
	ID   string `json:"id"`
}

// postInvitation makes a link with which a user sets password and second factor.
func (b *Broker) postInvitation(c *call) (any, error) {
	var in api.CreateInvitation
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	ttl, err := duration("ttl", in.TTL)
	if err != nil {
		return nil, err
	}
	if ttl = cmp.Or(ttl, inviteTTL); ttl > api.MaxInviteTTL {
		return nil, invalid("ttl: an invitation holds %s at most", api.MaxInviteTTL)
	}
	user := c.PathValue("name")
	es, err := b.ledger.do(c.Context(), c.who.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "update", "user"); err != nil {
			return nil, err
		}
		return access.Invite(s, env, user, ttl)
	})
	if err != nil {
		return nil, err
	}
	made := es[0].Data.(*events.CredentialInvited)
	token, err := b.seed.Seal(sealInvite, made.ExpiresAt, invitation{user, made.InvitationID})
	if err != nil {
		return nil, err
	}
	return created{api.Invitation{User: user, ExpiresAt: made.ExpiresAt, URL: b.origin() + "/web/invite?" + url.Values{"token": {token}}.Encode()}}, nil
}

// invited reads a link and says whether it still holds.
func (b *Broker) invited(token string) (inv invitation, required, off bool, err error) {
	if err := b.seed.Open(sealInvite, token, b.now(), &inv); err != nil {
		return inv, false, false, invalid("this link: %v", err)
	}
	b.ledger.read(func(s *access.State, now time.Time) {
		err = access.Invited(s, now, inv.User, inv.ID)
		required, off = s.Settings.SecondFactor == access.FactorRequired, s.Settings.SecondFactor == access.FactorOff
	})
	return inv, required, off, err
}

type invitePage struct {
	enrolPage
	Token, Fault string
	Required     bool
}

func (b *Broker) getInvite(v *visit) error {
	return b.showInvite(v, v.FormValue("token"), http.StatusOK, "")
}

func (b *Broker) showInvite(v *visit, token string, status int, fault string) error {
	inv, required, off, err := b.invited(token)
	if err != nil {
		return err
	}
	page := invitePage{Token: token, Fault: fault, Required: required, enrolPage: enrolPage{User: inv.User}}
	if !off {
		if page.enrolPage, err = b.offer(inv.User, v.PostFormValue("enrolment")); err != nil {
			return err
		}
	}
	return v.show(status, "invite", page)
}

func (b *Broker) postInvite(v *visit) error {
	token := v.PostFormValue("token")
	inv, _, _, err := b.invited(token)
	if err != nil {
		return err
	}
	if err := b.accept(v, inv); err != nil {
		if e := asAPI(err); e.Status < 500 && e.Status != http.StatusForbidden {
			return b.showInvite(v, token, e.Status, sentence(e.Message))
		}
		return err
	}
	return v.show(http.StatusOK, "done", donePage{
		Title: "Done", Text: "You can sign in now, in a terminal:",
		Command: "postern login --proxy " + v.Host + " --user " + inv.User,
	})
}

// accept uses an invitation. The event comes first: of two who hold the link, one
// sets the password.
func (b *Broker) accept(v *visit, inv invitation) error {
	password := v.PostFormValue("password")
	if err := identity.CheckPassword(password); err != nil {
		return invalid("%v", err)
	}
	if password != v.PostFormValue("again") {
		return invalid("these are two different passwords")
	}
	var factors []events.Factor
	f, err := b.enrolled(v, inv.User)
	if err != nil {
		return err
	}
	if f != nil {
		factors = append(factors, *f)
	}
	var since uint64
	_, err = b.ledger.do(v.Context(), inv.User, func(s *access.State, env access.Env) ([]events.Event, error) {
		if u := s.Users[inv.User]; u != nil {
			since = u.CreatedSeq
		}
		return access.Enroll(s, env, inv.User, inv.ID, factors, v.addr())
	})
	if err != nil {
		return err
	}
	ctx, cancel := detached(v.Context())
	defer cancel()
	return b.passwords.Set(ctx, inv.User, since, password)
}

// enrolled checks the second factor that a form registers: nil for none.
func (b *Broker) enrolled(v *visit, user string) (*events.Factor, error) {
	code, answer := v.PostFormValue("code"), v.PostFormValue("answer")
	if code == "" && answer == "" {
		return nil, nil
	}
	var e enrolment
	if err := b.seed.Open(sealEnrol+user, v.PostFormValue("enrolment"), b.now(), &e); err != nil {
		return nil, invalid("this form: %v", err)
	}
	f := &events.Factor{ID: e.FactorID, Kind: access.TOTP, Name: "authenticator app", AddedAt: b.now().UTC()}
	if answer == "" {
		var ok bool
		if f.Counter, ok = mfa.Match(b.totpSecret(user, e.FactorID), code, b.now()); !ok {
			return nil, invalid("the code is not what the app shows for this secret now")
		}
		return f, nil
	}
	keys, err := b.keys()
	if err != nil || e.Ceremony == nil {
		return nil, invalid("%v", errNoKeys)
	}
	f.Kind, f.Name = access.WebAuthn, "security key"
	if f.PublicKey, f.Counter, err = keys.Registered(user, *e.Ceremony, []byte(answer)); err != nil {
		return nil, invalid("%v", err)
	}
	return f, nil
}

func (b *Broker) addFactor(ctx context.Context, user string, f events.Factor) error {
	_, err := b.ledger.do(ctx, user, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.AddFactor(s, env, user, f)
	})
	return err
}

func (b *Broker) removeFactor(ctx context.Context, user, id string) error {
	_, err := b.ledger.do(ctx, user, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.RemoveFactor(s, env, user, id)
	})
	return err
}
