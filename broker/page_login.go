package broker

import (
	"net/http"

	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events/journal"
)

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
	return f, b.goesOn(f)
}

type signinPage struct {
	Flow, User, Fault string
	Connectors        []connectorLink
}

type connectorLink struct{ Display, URL string }

func (b *Broker) postLoginPage(v *visit) error {
	token, typed := v.PostFormValue("flow"), v.PostFormValue("user")
	f, err := b.flow(token)
	if err != nil {
		return err
	}
	user, err := b.typed(v.Context(), typed)
	if err != nil {
		return err
	}
	since, err := b.checkPassword(v.Context(), user, v.PostFormValue("password"), v.addr())
	if err != nil {
		return v.again("signin", err, func(fault string) any { return b.signinPage(token, typed, fault) })
	}
	p := proof{Flow: f, User: user, Method: "password", Since: since}
	if have, needed := b.factors(user); needed && len(have) == 0 {
		return asksFactor("a second factor is asked for", user, nil)
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
