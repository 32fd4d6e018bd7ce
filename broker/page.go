package broker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/identity/mfa"
	"github.com/posternhq/postern/broker/web"
	"github.com/posternhq/postern/events/journal"
)

// visit is one request of a browser.
type visit struct {
	*http.Request
	w http.ResponseWriter
	b *Broker
}

// webRoutes are the pages. The paths of OIDC and SAML are Teleport's, so that
// identity providers need not be told new ones.
func (b *Broker) webRoutes() map[string]func(*visit) error {
	return map[string]func(*visit) error{
		"GET /web/invite":              b.getInvite,
		"POST /web/invite":             b.postInvite,
		"GET /web/login":               b.getLoginPage,
		"POST /web/login":              b.postLoginPage,
		"POST /web/factor":             b.postFactorPage,
		"POST /web/enroll":             b.postEnrollPage,
		"GET /v1/webapi/oidc/callback": b.oidcCallback,
		"POST " + samlPath + "{name}":  b.samlResponse,
	}
}

func (b *Broker) servePage(serve func(*visit) error, w http.ResponseWriter, req *http.Request) {
	req.Body = http.MaxBytesReader(w, req.Body, maxBody)
	v := &visit{req, w, b}
	var err error
	select {
	case <-b.ledger.ready:
		err = serve(v)
	default:
		err = &api.Error{Status: http.StatusServiceUnavailable, Message: "the broker is still reading its history: try again in a moment"}
	}
	if err == nil {
		return
	}
	e := asAPI(err)
	if e.Status >= 500 {
		b.log.Error().Err(err).Str("path", req.URL.Path).Msg("page failed")
		e = &api.Error{Status: e.Status, Message: "this does not work at the moment: try again"}
	}
	if err := v.show(e.Status, "done", donePage{Title: "That did not work", Fault: sentence(e.Message), Command: e.Next}); err != nil {
		b.log.Error().Err(err).Str("path", req.URL.Path).Msg("page failed")
	}
}

type donePage struct{ Title, Text, Fault, Command string }

func (v *visit) show(status int, name string, data any) error {
	return v.b.pages.Write(v.w, status, name, data)
}

// again shows a form once more with what was wrong; an error that no other input
// mends is passed on.
func (v *visit) again(name string, err error, data func(fault string) any) error {
	e := asAPI(err)
	if e.Status >= 500 || e.Status == http.StatusForbidden {
		return err
	}
	return v.show(e.Status, name, data(sentence(e.Message)))
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func (v *visit) addr() string { return (&call{Request: v.Request}).clientAddr() }

// enrolment is what a page offers to register: a secret for an app, and a
// challenge for a security key. It travels in the form.
type enrolment struct {
	FactorID string        `json:"factor_id"`
	Ceremony *mfa.Ceremony `json:"ceremony,omitempty"`
}

// enrolPage is the part of a page that registers a second factor.
type enrolPage struct {
	User, Enrolment, KeyOptions, Secret string
	QR                                  web.QR
}

// offer fills the part in. token is of a form that comes back: an app that has
// scanned its secret keeps it.
func (b *Broker) offer(user, token string) (enrolPage, error) {
	out := enrolPage{User: user}
	var e enrolment
	if err := b.seed.Open(sealEnrol+user, token, b.now(), &e); err != nil {
		e = enrolment{FactorID: journal.NewID()}
	}
	e.Ceremony = nil
	if keys, err := b.keys(); err == nil { // else at an address: no security keys
		have, _ := b.factors(user)
		options, c, err := keys.Register(user, have)
		if err != nil {
			return out, err
		}
		out.KeyOptions, e.Ceremony = string(options), &c
	}
	secret := b.totpSecret(user, e.FactorID)
	out.Secret = mfa.SecretText(secret)
	var err error
	if out.QR, err = web.NewQR(mfa.URI("postern", user, secret)); err != nil {
		return out, err
	}
	out.Enrolment, err = b.seed.Seal(sealEnrol+user, b.now().Add(time.Hour), e)
	return out, err
}

// getLoginPage begins what the flow in the URL is for.
func (b *Broker) getLoginPage(v *visit) error {
	token := v.FormValue("flow")
	f, err := b.flow(token)
	if err != nil {
		return err
	}
	if f.Purpose != forSignin {
		return b.askFactor(v, proof{Flow: f, User: f.User}, "")
	}
	if auth := v.FormValue("auth"); f.Auth == "" && auth != "" {
		f.Auth = auth
	}
	if f.Auth != "" {
		return b.toConnector(v, f)
	}
	return v.show(http.StatusOK, "signin", b.signinPage(token, f.User, ""))
}

func (b *Broker) flow(token string) (f flow, err error) {
	if err := b.seed.Open(sealFlow, token, b.now(), &f); err != nil {
		return f, invalid("this link: %v", err)
	}
	return f, nil
}

type signinPage struct {
	Flow, User, Fault string
	Connectors        []connectorLink
}

type connectorLink struct{ Display, URL string }

func (b *Broker) postLoginPage(v *visit) error {
	token, user := v.PostFormValue("flow"), v.PostFormValue("user")
	f, err := b.flow(token)
	if err != nil {
		return err
	}
	if err := b.checkPassword(v.Context(), user, v.PostFormValue("password"), v.addr()); err != nil {
		return v.again("signin", err, func(fault string) any { return b.signinPage(token, user, fault) })
	}
	p := proof{Flow: f, User: user, Method: "password"}
	if have, needed := b.factors(user); needed && len(have) == 0 {
		return asksFactor("a second factor is asked for", nil)
	} else if needed {
		return b.askFactor(v, p, "")
	}
	return b.land(v, p)
}

// land ends a flow: it sends the browser to the terminal that waits.
func (b *Broker) land(v *visit, p proof) error {
	var err error
	p.ID = journal.NewID()
	if p.Flow.Purpose == forSignin {
		p.ID, err = identity.NewSerial()
	}
	if err != nil {
		return err
	}
	to, err := b.landing(p)
	if err != nil {
		return err
	}
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

type factorPage struct {
	Why, Step, Ceremony, KeyOptions, Fault string
	HasCodes                               bool
}

// askFactor shows the page that asks for a second factor. Who adds the first one
// has none to show.
func (b *Broker) askFactor(v *visit, p proof, fault string) error {
	have, _ := b.factors(p.User)
	if len(have) == 0 {
		if p.Flow.Purpose == forFactor && p.Flow.Remove == "" {
			return b.showEnroll(v, p, "", "")
		}
		return asksFactor("a second factor is asked for", nil)
	}
	page := factorPage{Fault: fault, Why: map[string]string{
		forSignin: "Your password was right.", forSession: "A role asks for it at the start of a session on " + p.Flow.App + ".",
		forFactor: "To change your second factors, use one of them.",
	}[p.Flow.Purpose]}
	status, until := http.StatusOK, b.now().Add(flowTTL)
	if fault != "" {
		status = http.StatusUnauthorized
	}
	var keys bool
	for _, f := range have {
		page.HasCodes = page.HasCodes || f.Kind == access.TOTP
		keys = keys || f.Kind == access.WebAuthn
	}
	var err error
	if page.Step, err = b.seed.Seal(sealStep, until, p); err != nil {
		return err
	}
	if rp, err := b.keys(); err == nil && keys {
		options, c, err := rp.Ask(p.User, have)
		if err != nil {
			return err
		}
		page.KeyOptions = string(options)
		if page.Ceremony, err = b.seed.Seal(sealCeremony+p.User, until, c); err != nil {
			return err
		}
	}
	return v.show(status, "factor", page)
}

func (b *Broker) postFactorPage(v *visit) error {
	p, err := b.step(v)
	if err != nil {
		return err
	}
	given := factorProof{v.PostFormValue("code"), v.PostFormValue("ceremony"), v.PostFormValue("answer")}
	if given.code != "" {
		given.answer = ""
	}
	p.Factor, p.FactorEvent, err = b.proveFactor(v.Context(), p.User, given, p.Flow.Purpose, v.addr())
	if err != nil {
		if e := asAPI(err); e.Status < 500 && e.Status != http.StatusTooManyRequests {
			return b.askFactor(v, p, sentence(e.Message))
		}
		return err
	}
	switch {
	case p.Flow.Purpose != forFactor:
		return b.land(v, p)
	case p.Flow.Remove == "":
		return b.showEnroll(v, p, "", "")
	}
	if err := b.removeFactor(v.Context(), p.User, p.Flow.Remove); err != nil {
		return err
	}
	return b.land(v, p)
}

func (b *Broker) step(v *visit) (p proof, err error) {
	if err := b.seed.Open(sealStep, v.PostFormValue("step"), b.now(), &p); err != nil {
		return p, invalid("this form: %v", err)
	}
	return p, nil
}

type enrollStep struct {
	enrolPage
	Step, Fault string
}

func (b *Broker) showEnroll(v *visit, p proof, token, fault string) error {
	offer, err := b.offer(p.User, token)
	if err != nil {
		return err
	}
	page := enrollStep{enrolPage: offer, Fault: fault}
	if page.Step, err = b.seed.Seal(sealStep, b.now().Add(flowTTL), p); err != nil {
		return err
	}
	status := http.StatusOK
	if fault != "" {
		status = http.StatusBadRequest
	}
	return v.show(status, "enroll", page)
}

func (b *Broker) postEnrollPage(v *visit) error {
	p, err := b.step(v)
	if err != nil {
		return err
	}
	// Whoever has second factors came here with one.
	if have, _ := b.factors(p.User); p.Flow.Purpose != forFactor || len(have) > 0 && p.FactorEvent == "" {
		return &access.Error{Code: access.Denied, Message: "another second factor was added meanwhile: begin again"}
	}
	f, err := b.enrolled(v, p.User)
	if err == nil && f == nil {
		err = invalid("type the code of the app, or use a security key")
	}
	if err == nil {
		err = b.addFactor(v.Context(), p.User, *f)
	}
	if err != nil {
		if e := asAPI(err); e.Status < 500 {
			return b.showEnroll(v, p, v.PostFormValue("enrolment"), sentence(e.Message))
		}
		return err
	}
	return b.land(v, p)
}

// detached keeps what was decided going when the browser does not wait.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
}

var errNoKeys = errors.New("security keys need the pages to be at a host name, not at an address (broker.public_addr)")
