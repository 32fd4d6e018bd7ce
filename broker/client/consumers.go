package client

import (
	"context"
	"net/url"
	"strconv"

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

// RotateSecret has another secret sign what a consumer is sent.
func (c *Client) RotateSecret(ctx context.Context, name string, in api.RotateSecret) (out api.SecretRotated, err error) {
	err = c.json(ctx, "POST", "/v1/consumers/"+url.PathEscape(name)+"/secret", in, &out)
	return out, err
}

// ResumeConsumer sends again to a consumer that was suspended.
func (c *Client) ResumeConsumer(ctx context.Context, name string) error {
	return c.json(ctx, "POST", "/v1/consumers/"+url.PathEscape(name)+"/resume", nil, nil)
}

// VerifyConsumer sends a receiver of Security Event Tokens a verification event.
func (c *Client) VerifyConsumer(ctx context.Context, name, state string) error {
	return c.json(ctx, "POST", "/v1/consumers/"+url.PathEscape(name)+"/verification", api.Verification{State: state}, nil)
}

// DeadLetters lists the events that a consumer's endpoint would not take.
func (c *Client) DeadLetters(ctx context.Context, name string) ([]api.DeadLetter, error) {
	var out api.DeadLetters
	err := c.json(ctx, "GET", "/v1/consumers/"+url.PathEscape(name)+"/dead-letters", nil, &out)
	return out.DeadLetters, err
}

// ReplayDeadLetter sends one of them once more.
func (c *Client) ReplayDeadLetter(ctx context.Context, name string, sequence uint64) error {
	return c.json(ctx, "POST", "/v1/consumers/"+url.PathEscape(name)+"/dead-letters/"+strconv.FormatUint(sequence, 10)+"/replay", nil, nil)
}
