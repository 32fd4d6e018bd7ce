package client

import (
	"context"
	"net/url"

	"github.com/posternhq/postern/broker/api"
)

// SigninWays lists the identity providers to sign in with.
func (c *Client) SigninWays(ctx context.Context) ([]api.ConnectorName, error) {
	var out api.SigninWays
	err := c.json(ctx, "GET", "/v1/login/ways", nil, &out)
	return out.Connectors, err
}

// BrowserLogin begins a sign-in in a browser.
func (c *Client) BrowserLogin(ctx context.Context, in api.BrowserLogin) (out api.Browser, err error) {
	err = c.json(ctx, "POST", "/v1/login/browser", in, &out)
	return out, err
}

// FinishLogin trades the code that the browser brought.
func (c *Client) FinishLogin(ctx context.Context, in api.FinishLogin) (out api.Certificate, err error) {
	err = c.json(ctx, "POST", "/v1/login/browser/finish", in, &out)
	return out, err
}

// DeviceLogin begins a sign-in whose browser is on another machine.
func (c *Client) DeviceLogin(ctx context.Context, in api.DeviceLogin) (out api.Device, err error) {
	err = c.json(ctx, "POST", "/v1/login/device", in, &out)
	return out, err
}

// FinishDevice asks once whether the person has signed in.
func (c *Client) FinishDevice(ctx context.Context, in api.FinishDevice) (out api.Certificate, err error) {
	err = c.json(ctx, "POST", "/v1/login/device/finish", in, &out)
	return out, err
}

// Signins lists sign-ins that hold: user "" is the caller's, "*" everybody's.
func (c *Client) Signins(ctx context.Context, user string) ([]api.Signin, error) {
	var out api.Signins
	err := c.json(ctx, "GET", "/v1/signins"+query("user", user), nil, &out)
	return out.Signins, err
}

// RevokeSignin ends a sign-in, and the sessions started with it.
func (c *Client) RevokeSignin(ctx context.Context, serial string) error {
	return c.json(ctx, "DELETE", "/v1/signins/"+url.PathEscape(serial), nil, nil)
}

// Factors lists the caller's second factors.
func (c *Client) Factors(ctx context.Context) ([]api.Factor, error) {
	var out api.Factors
	err := c.json(ctx, "GET", "/v1/factors", nil, &out)
	return out.Factors, err
}

// FactorInBrowser begins to prove, add or remove a second factor.
func (c *Client) FactorInBrowser(ctx context.Context, in api.BrowserProof) (out api.Browser, err error) {
	err = c.json(ctx, "POST", "/v1/factors/browser", in, &out)
	return out, err
}

// Invite makes a link with which a user sets password and second factor.
func (c *Client) Invite(ctx context.Context, user, ttl string) (out api.Invitation, err error) {
	err = c.json(ctx, "POST", "/v1/users/"+url.PathEscape(user)+"/invitation", api.CreateInvitation{TTL: ttl}, &out)
	return out, err
}
