package broker

import (
	"errors"
	"net/http"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/device"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/identity/oidc"
)

// certificateWish checks what every sign-in brings.
func certificateWish(csr, ttl string, proof *api.DeviceProof) (flow, error) {
	f := flow{Purpose: forSignin, CSR: csr}
	if _, err := identity.ParseCSR([]byte(csr)); err != nil {
		return f, invalid("%v", err)
	}
	var err error
	if proof != nil {
		if f.Device, err = device.Verify(*proof, csr); err != nil {
			return f, invalid("device: %v", err)
		}
	}
	f.TTL, err = duration("ttl", ttl)
	return f, err
}

func (b *Broker) postLoginBrowser(c *call) (any, error) {
	var in api.BrowserLogin
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	f, err := certificateWish(in.CSR, in.TTL, in.Device)
	if err != nil {
		return nil, err
	}
	if in.Auth != "" {
		if _, err := b.connector(in.Auth); err != nil {
			return nil, err
		}
	}
	f.Port, f.Challenge, f.Auth = in.Port, in.Challenge, in.Auth
	return b.begin(f)
}

func (b *Broker) postLoginFinish(c *call) (any, error) {
	var in api.FinishLogin
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	p, err := b.redeem(forSignin, in.Code, in.Verifier)
	if err != nil {
		return nil, err
	}
	return b.certificateFor(c.Context(), p, c.clientAddr())
}

// deviceFlow is one under way (RFC 8628).
type deviceFlow struct {
	Flow flow   `json:"flow"`
	Code string `json:"code"`
}

func (b *Broker) postDevice(c *call) (any, error) {
	var in api.DeviceLogin
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	f, err := certificateWish(in.CSR, in.TTL, in.Device)
	if err != nil {
		return nil, err
	}
	conn, err := b.connector(in.Auth)
	if err != nil {
		return nil, err
	}
	if conn.OIDC == nil {
		return nil, invalid("connector %s is of SAML, which has no device flow: sign in with a browser on this machine", conn.Name)
	}
	if err := b.throttled(signinsBy(conn.Name, ""), c.clientAddr()); err != nil {
		return nil, err
	}
	d, err := b.openID.Device(c.Context(), conn.OIDC)
	if err != nil {
		return nil, &api.Error{Status: http.StatusBadGateway, Code: api.CodeUnavailable, Message: err.Error()}
	}
	f.Auth = conn.Name
	token, err := b.seed.Seal(sealDevice, d.ExpiresAt, deviceFlow{f, d.DeviceCode})
	return api.Device{
		Device: token, UserCode: d.UserCode, URL: d.URL, CompleteURL: d.CompleteURL,
		Interval: int(d.Interval / time.Second), ExpiresAt: d.ExpiresAt.UTC(),
	}, err
}

func (b *Broker) postDeviceFinish(c *call) (any, error) {
	var in api.FinishDevice
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	var d deviceFlow
	if err := b.seed.Open(sealDevice, in.Device, b.now(), &d); err != nil {
		return nil, invalid("device: %v", err)
	}
	conn, err := b.connector(d.Flow.Auth)
	if err == nil && conn.OIDC == nil {
		err = invalid("connector %s is not of OpenID any more", conn.Name)
	}
	if err != nil {
		return nil, err
	}
	p, err := b.openID.Poll(c.Context(), conn.OIDC, d.Code)
	switch {
	case errors.Is(err, oidc.ErrPending), errors.Is(err, oidc.ErrSlowDown):
		e := &api.Error{Status: http.StatusTooEarly, Code: api.CodePending, Message: err.Error()}
		if errors.Is(err, oidc.ErrSlowDown) {
			e.RetryAfter = 5 // more than before: RFC 8628, 3.5
		}
		return nil, e
	case err != nil:
		return nil, b.notSignedIn(c.Context(), conn.Kind, conn.Name, p.User, c.clientAddr(), err)
	}
	on := access.SignOn{User: p.User, Traits: p.Claims, Account: p.Subject, ID: p.ID}
	user, err := b.signOn(c.Context(), d.Flow.TTL, conn, on, c.clientAddr())
	if err != nil {
		return nil, err
	}
	return b.certificateFor(c.Context(), proof{Flow: d.Flow, User: user, Method: conn.Kind, Connector: conn.Name}, c.clientAddr())
}
