package client

import (
	"context"
	"net/url"

	"github.com/posternhq/postern/broker/api"
)

// NewConsumer lets somebody outside read a part of a stream.
func (c *Client) NewConsumer(ctx context.Context, in api.NewConsumer) (out api.ConsumerMade, err error) {
	err = c.json(ctx, "POST", "/v1/consumers", in, &out)
	return out, err
}

// Consumers lists the consumers and how far they are.
func (c *Client) Consumers(ctx context.Context) ([]api.Consumer, error) {
	var out api.Consumers
	err := c.json(ctx, "GET", "/v1/consumers", nil, &out)
	return out.Consumers, err
}

// DeleteConsumer ends a consumer.
func (c *Client) DeleteConsumer(ctx context.Context, name string) error {
	return c.json(ctx, "DELETE", "/v1/consumers/"+url.PathEscape(name), nil, nil)
}
