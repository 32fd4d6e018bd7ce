package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/identity/saml"
	"github.com/posternhq/postern/broker/people"
	"github.com/posternhq/postern/events"
)

const (
	samlPath         = "/v1/webapi/saml/acs/"
	samlMetadataPath = "/v1/webapi/saml/metadata/"
	// The prefix makes browsers keep others from setting it (RFC 6265bis, 4.1.3.2).
	cookieName = "__Host-postern-signin"
)

// away is what a browser keeps while it is at an identity provider: nobody can
// finish, in another browser, what was begun in this one.
type away struct {
	Flow  flow   `json:"flow"`
	State string `json:"state"`
	// Nonce and Verifier are OpenID's, Request is SAML's.
	Nonce    string `json:"nonce,omitempty"`
	Verifier string `json:"verifier,omitempty"`
	Request  string `json:"request,omitempty"`
}

func (b *Broker) connectors() (out []access.Connector) {
	b.ledger.read(func(s *access.State, _ time.Time) {
		for _, name := range slices.Sorted(maps.Keys(s.Connectors)) {
			out = append(out, *s.Connectors[name])
		}
	})
	return out
}

func (b *Broker) connector(name string) (*events.Connector, error) {
	for _, c := range b.connectors() {
		if c.Name == name {
			return &c.Connector, nil
		}
	}
	return nil, &access.Error{Code: access.NotFound, Message: "there is no connector " + name}
}

func (b *Broker) getWays(*call) (any, error) {
	out := api.SigninWays{Connectors: []api.ConnectorName{}}
	for _, c := range b.connectors() {
		out.Connectors = append(out.Connectors, api.ConnectorName{Name: c.Name, Kind: c.Kind, Display: cmp.Or(c.Display, c.Name)})
	}
	return out, nil
}

func (b *Broker) signinPage(token, user, fault string) signinPage {
	page := signinPage{Flow: token, User: user, Fault: fault}
	for _, c := range b.connectors() {
		page.Connectors = append(page.Connectors, connectorLink{cmp.Or(c.Display, c.Name), "/web/login?" + url.Values{"flow": {token}, "auth": {c.Name}}.Encode()})
	}
	return page
}

// toConnector sends a browser to an identity provider.
func (b *Broker) toConnector(v *visit, f flow) error {
	c, err := b.connector(f.Auth)
	if err != nil {
		return err
	}
	a := away{Flow: f, State: rand.Text()}
	var to string
	if c.OIDC != nil {
		a.Nonce, a.Verifier = rand.Text(), oauth2.GenerateVerifier()
		to, err = b.openID.AuthURL(v.Context(), c.OIDC, a.State, a.Nonce, a.Verifier)
	} else {
		var keys *saml.Keys
		if keys, err = b.samlKeys(v.Context()); err == nil {
			to, a.Request, err = saml.AuthURL(c.SAML, keys, a.State)
		}
	}
	if err != nil {
		b.log.Warn().Err(err).Str("connector", c.Name).Msg("cannot send people to the identity provider")
		return &api.Error{Status: http.StatusBadGateway, Code: api.CodeUnavailable, Message: err.Error()}
	}
	token, err := b.seed.Seal(sealCookie, b.now().Add(flowTTL), a)
	if err != nil {
		return err
	}
	cookie := &http.Cookie{Name: cookieName, Value: token, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(flowTTL / time.Second)}
	if c.SAML != nil {
		cookie.SameSite = http.SameSiteNoneMode // the response comes as a POST from another site
	}
	http.SetCookie(v.w, cookie)
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

// host is that of a URL without the port, to which cookies are not bound.
func host(of string) string {
	u, err := url.Parse(of)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// back takes the cookie of a browser that comes from an identity provider, once.
func (b *Broker) back(v *visit, state string) (a away, c *events.Connector, err error) {
	cookie, err := v.Cookie(cookieName)
	if err == nil {
		err = b.seed.Open(sealCookie, cookie.Value, b.now(), &a)
	}
	if err != nil || subtle.ConstantTimeCompare([]byte(state), []byte(a.State)) != 1 {
		e := invalid("this is not the browser, or not the time, in which this sign-in began: begin again in the terminal")
		pages, here := host(b.origin()), host("https://"+v.Host)
		if errors.Is(err, http.ErrNoCookie) && pages != here {
			e.Message += fmt.Sprintf(". If it is always so: sign-ins begin at %s, this came to another host, and whoever runs postern has to change broker.public_addr, or the connector's redirect_url or acs", pages)
		}
		return a, nil, e
	}
	http.SetCookie(v.w, &http.Cookie{Name: cookieName, Path: "/", Secure: true, HttpOnly: true, MaxAge: -1})
	c, err = b.connector(a.Flow.Auth)
	return a, c, err
}

func (b *Broker) oidcCallback(v *visit) error {
	a, c, err := b.back(v, v.URL.Query().Get("state"))
	if err != nil {
		return b.notSignedIn(v.Context(), access.OIDC, a.Flow.Auth, "", v.addr(), err)
	}
	if c.OIDC == nil {
		return invalid("connector %s is not of OpenID", c.Name)
	}
	if reason := v.URL.Query().Get("error"); reason != "" {
		err = errors.New(reason + " " + v.URL.Query().Get("error_description"))
		return b.notSignedIn(v.Context(), c.Kind, c.Name, "", v.addr(), err)
	}
	p, err := b.openID.Exchange(v.Context(), c.OIDC, v.URL.Query().Get("code"), a.Nonce, a.Verifier)
	if err != nil {
		return b.notSignedIn(v.Context(), c.Kind, c.Name, p.User, v.addr(), err)
	}
	return b.signedOn(v, a.Flow, c, access.SignOn{User: p.User, Traits: p.Claims, Account: p.Subject, ID: p.ID})
}

func (b *Broker) samlResponse(v *visit) error {
	a, c, err := b.back(v, v.PostFormValue("RelayState"))
	if err != nil {
		return b.notSignedIn(v.Context(), access.SAML, v.PathValue("name"), "", v.addr(), err)
	}
	if c.SAML == nil || c.Name != v.PathValue("name") {
		return invalid("this sign-in began with connector %s", c.Name)
	}
	keys, err := b.samlKeys(v.Context())
	if err != nil {
		return err
	}
	p, err := saml.Parse(c.SAML, keys, v.PostFormValue("SAMLResponse"), a.Request)
	if e, ok := errors.AsType[*saml.Undisclosed](err); ok {
		b.log.Warn().Err(e.Reason).Str("connector", c.Name).Msg("encrypted assertion refused")
	}
	if err != nil {
		return b.notSignedIn(v.Context(), c.Kind, c.Name, p.User, v.addr(), err)
	}
	return b.signedOn(v, a.Flow, c, access.SignOn{User: p.User, Traits: p.Attributes, ID: p.ID})
}

// samlMetadata tells an identity provider of us.
func (b *Broker) samlMetadata(v *visit) error {
	c, err := b.connector(v.PathValue("name"))
	if err != nil {
		return err
	}
	if c.SAML == nil {
		return invalid("connector %s is not of SAML", c.Name)
	}
	keys, err := b.samlKeys(v.Context())
	if err != nil {
		return err
	}
	text, err := saml.Metadata(c.SAML, keys)
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, err = v.w.Write(text)
	return err
}

// samlKeys returns the keys that all brokers share, made when a connector first
// needs them.
func (b *Broker) samlKeys(ctx context.Context) (*saml.Keys, error) {
	text, err := b.cfg.Secrets.Keep(ctx, "saml/keys", func() ([]byte, error) {
		keys, err := saml.NewKeys(b.now())
		if err != nil {
			return nil, err
		}
		return keys.PEM()
	})
	if err != nil {
		return nil, err
	}
	return saml.ParseKeys(text)
}

// signedOn ends a sign-in at an identity provider in a browser.
func (b *Broker) signedOn(v *visit, f flow, c *events.Connector, on access.SignOn) error {
	user, err := b.signOn(v.Context(), f.TTL, c, on, v.addr())
	if err != nil {
		return err
	}
	p := proof{Flow: f, User: user, Method: c.Kind, Connector: c.Name}
	b.ledger.read(func(s *access.State, _ time.Time) {
		if u := s.Users[user]; u != nil {
			p.Since = u.CreatedSeq
		}
	})
	return b.land(v, p)
}

// signOn makes the user what the provider says, and returns by which name they are known.
func (b *Broker) signOn(ctx context.Context, asked time.Duration, c *events.Connector, on access.SignOn, addr string) (user string, err error) {
	if on, err = b.pseudonymous(ctx, c, on); err == nil {
		err = b.makeUser(ctx, asked, c, on, addr)
	}
	if _, refused := errors.AsType[*access.Error](err); refused {
		err = b.notSignedIn(ctx, c.Kind, c.Name, on.User, addr, err)
	}
	return on.User, err
}

func (b *Broker) makeUser(ctx context.Context, asked time.Duration, c *events.Connector, on access.SignOn, addr string) error {
	for _, user := range []string{"", on.User} {
		if err := b.throttled(signinsBy(c.Name, user), addr); err != nil {
			return err
		}
	}
	ttl, err := identity.TTL(asked, 0)
	if err != nil {
		return invalid("ttl: %v", err)
	}
	on.Connector, on.TTL = c.Name, ttl
	_, err = b.ledger.grant(ctx, "connector/"+c.Name, func(s *access.State, env access.Env) ([]events.Event, error) {
		return access.SignOnUser(s, env, on)
	})
	return err
}

// notSignedIn records a failed sign-in at an identity provider. Whoever tries
// reads the reason: it is about themselves. Anybody can send what begins none, as often
// as they like: of an address much of it comes from, no more is recorded.
func (b *Broker) notSignedIn(ctx context.Context, kind, connector, user, addr string, reason error) error {
	c, err := b.connector(connector)
	if err != nil {
		connector = "" // whatever stands in an address
	}
	e := &events.SigninFailed{User: cmp.Or(user, unknownUser), Method: kind, Connector: connector, ClientAddr: addr, Reason: shorten(reason.Error())}
	var known *api.Error
	var refusal *access.Error
	ours := errors.As(reason, &known) || errors.As(reason, &refusal)
	if c != nil && c.Pseudonyms && !people.IsPseudonym(user) {
		if user != "" {
			e.Reason = strings.ReplaceAll(e.Reason, user, unknownUser)
		} else if !ours {
			e.Reason = unnamed(reason)
		}
		e.User = ""
	}
	if access.CheckUserName(e.User) != nil {
		e.User = unknownUser
	}
	done, err := b.attempt(ctx, signinsBy(connector, e.User), addr)
	if err != nil {
		return err
	}
	defer done()
	if !ours {
		reason = &api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthenticated, Message: "not signed in: " + shorten(reason.Error()), Next: "postern login"}
	}
	return b.failed(ctx, e, reason)
}

// oauthCode are error codes of OAuth's form (RFC 6749, 4.1.2.1) with two words or more.
var oauthCode = regexp.MustCompile(`^[a-z]+(?:_[a-z]+)+$`)

// unnamed is what is recorded of a reason that an identity provider may have written about
// somebody whom nobody here knows by name: its code.
func unnamed(reason error) string {
	code, _, _ := strings.Cut(reason.Error(), " ")
	if refused := (*oauth2.RetrieveError)(nil); errors.As(reason, &refused) {
		code = refused.ErrorCode
	}
	const left = "what the identity provider says may name somebody, and is not recorded"
	if oauthCode.MatchString(code) {
		return code + "; " + left
	}
	return left
}

// shorten keeps the beginning of what an identity provider may have written.
func shorten(s string) string {
	const most = 500 // bytes
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
