package client

import (
	"context"
	"net/url"

	"github.com/posternhq/postern/broker/api"
)

// NewPerson makes the pseudonym of somebody, or finds it.
func (c *Client) NewPerson(ctx context.Context, name string) (out api.Person, err error) {
	err = c.json(ctx, "POST", "/v1/people", api.NewPerson{Name: name}, &out)
	return out, err
}

// People lists who is behind pseudonyms.
func (c *Client) People(ctx context.Context) ([]api.Person, error) {
	var out api.People
	err := c.json(ctx, "GET", "/v1/people", nil, &out)
	return out.People, err
}

// Forget destroys who is behind a pseudonym, or what can be of who is known by name.
func (c *Client) Forget(ctx context.Context, name string) (out api.Forgotten, err error) {
	err = c.json(ctx, "POST", "/v1/people/"+url.PathEscape(name)+"/forget", nil, &out)
	return out, err
}
