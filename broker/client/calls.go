package client

import (
	"context"
	"net/url"

	"github.com/posternhq/postern/broker/api"
)

// CA fetches the CA's certificate. Whoever calls it trusts the connection for
// another reason: a pinned fingerprint, or a file.
func (c *Client) CA(ctx context.Context) (out api.CA, err error) {
	err = c.json(ctx, "GET", "/v1/ca", nil, &out)
	return out, err
}

// Login trades a password for a certificate.
func (c *Client) Login(ctx context.Context, in api.Login) (out api.Certificate, err error) {
	err = c.json(ctx, "POST", "/v1/login", in, &out)
	return out, err
}

// Status says who the client is.
func (c *Client) Status(ctx context.Context) (out api.Status, err error) {
	err = c.json(ctx, "GET", "/v1/status", nil, &out)
	return out, err
}

// Apps lists what the user reaches and may ask for.
func (c *Client) Apps(ctx context.Context) ([]api.App, error) {
	var out api.Apps
	err := c.json(ctx, "GET", "/v1/apps", nil, &out)
	return out.Apps, err
}

// StartSession starts the use of an AWS role.
func (c *Client) StartSession(ctx context.Context, in api.StartSession) (out api.Session, err error) {
	err = c.json(ctx, "POST", "/v1/sessions", in, &out)
	return out, err
}

// Sessions lists sessions: user "" is the caller's, "*" everybody's; state ""
// is the running ones, "all" all of them.
func (c *Client) Sessions(ctx context.Context, user, state string) ([]api.Session, error) {
	var out api.Sessions
	err := c.json(ctx, "GET", "/v1/sessions"+query("user", user, "state", state), nil, &out)
	return out.Sessions, err
}

// Session reads one session.
func (c *Client) Session(ctx context.Context, id string) (out api.Session, err error) {
	err = c.json(ctx, "GET", "/v1/sessions/"+url.PathEscape(id), nil, &out)
	return out, err
}

// EndSession ends a session.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.json(ctx, "DELETE", "/v1/sessions/"+url.PathEscape(id), nil, nil)
}

// CreateRequest asks for access.
func (c *Client) CreateRequest(ctx context.Context, in api.CreateRequest) (out api.Request, err error) {
	err = c.json(ctx, "POST", "/v1/requests", in, &out)
	return out, err
}

// Requests lists the access requests that the user may read; state "" is all.
func (c *Client) Requests(ctx context.Context, state string) ([]api.Request, error) {
	var out api.Requests
	err := c.json(ctx, "GET", "/v1/requests"+query("state", state), nil, &out)
	return out.Requests, err
}

// Request reads one access request.
func (c *Client) Request(ctx context.Context, id string) (out api.Request, err error) {
	err = c.json(ctx, "GET", "/v1/requests/"+url.PathEscape(id), nil, &out)
	return out, err
}

// Review approves or denies an access request.
func (c *Client) Review(ctx context.Context, id string, in api.CreateReview) (out api.Request, err error) {
	err = c.json(ctx, "POST", "/v1/requests/"+url.PathEscape(id)+"/reviews", in, &out)
	return out, err
}

// PreviewRequest says what a request would come to.
func (c *Client) PreviewRequest(ctx context.Context, in api.CreateRequest) (out api.RequestPreview, err error) {
	err = c.json(ctx, "POST", "/v1/request-previews", in, &out)
	return out, err
}

// RevokeRequest takes granted access back; the sessions on it end.
func (c *Client) RevokeRequest(ctx context.Context, id string, in api.RevokeRequest) (out api.Request, err error) {
	err = c.json(ctx, "POST", "/v1/requests/"+url.PathEscape(id)+"/revocation", in, &out)
	return out, err
}

// DropRequest gives a request, or the access it granted, up.
func (c *Client) DropRequest(ctx context.Context, id string) error {
	return c.json(ctx, "DELETE", "/v1/requests/"+url.PathEscape(id), nil, nil)
}

// PlaceLock stops something at once.
func (c *Client) PlaceLock(ctx context.Context, in api.CreateLock) (out api.Lock, err error) {
	err = c.json(ctx, "POST", "/v1/locks", in, &out)
	return out, err
}

// Locks lists the locks in force.
func (c *Client) Locks(ctx context.Context) ([]api.Lock, error) {
	var out api.Locks
	err := c.json(ctx, "GET", "/v1/locks", nil, &out)
	return out.Locks, err
}

// LiftLock ends a lock before its time.
func (c *Client) LiftLock(ctx context.Context, id string) error {
	return c.json(ctx, "DELETE", "/v1/locks/"+url.PathEscape(id), nil, nil)
}

// Apply writes the resources of a YAML file: all of its documents or, when
// any is wrong, none. file is its name, for messages. replace allows to change what exists.
func (c *Client) Apply(ctx context.Context, file string, yaml []byte, replace bool) (out api.ResourcesApplied, err error) {
	flag := ""
	if replace {
		flag = "true"
	}
	answer, err := c.send(ctx, "POST", "/v1/resources"+query("file", file, "replace", flag), "application/yaml", "application/json", yaml)
	if err != nil {
		return out, err
	}
	err = unmarshal(answer, &out)
	return out, err
}

// ResourcesYAML reads a kind of resources, or one of them, as a YAML file that
// Apply takes.
func (c *Client) ResourcesYAML(ctx context.Context, kind, name string) ([]byte, error) {
	return c.send(ctx, "GET", resourcePath(kind, name), "", "application/yaml", nil)
}

// Resources reads a kind of resources, or one of them, as JSON documents.
func (c *Client) Resources(ctx context.Context, kind, name string) (out api.Resources, err error) {
	err = c.json(ctx, "GET", resourcePath(kind, name), nil, &out)
	return out, err
}

// DeleteResource ends a resource.
func (c *Client) DeleteResource(ctx context.Context, kind, name string) error {
	return c.json(ctx, "DELETE", resourcePath(kind, name), nil, nil)
}

// SetPassword gives a user a new password.
func (c *Client) SetPassword(ctx context.Context, user, password string) error {
	return c.json(ctx, "PUT", "/v1/users/"+url.PathEscape(user)+"/password", api.Password{Password: password}, nil)
}
