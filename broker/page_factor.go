package broker

import (
	"net/http"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity/mfa"
	"github.com/posternhq/postern/broker/web"
	"github.com/posternhq/postern/events/journal"
)

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
		signsIn := ""
		if p.Flow.Purpose == forSignin { // the last one was removed meanwhile
			signsIn = p.User
		}
		return asksFactor("a second factor is asked for", signsIn, nil)
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
	rp, noKeys := b.keys()
	if noKeys != nil && !page.HasCodes { // there would be nothing on the page to go on with
		return &api.Error{Status: http.StatusConflict, Code: string(access.Conflict), Message: "your second factor is a security key, and " + errNoKeys.Error()}
	}
	if noKeys == nil && keys {
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
	return p, b.goesOn(p.Flow)
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
