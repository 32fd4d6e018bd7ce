package client

import (
	"context"

	"github.com/posternhq/postern/broker/api"
)

// AccessQuestion narrows a question about the past; empty fields mean all.
type AccessQuestion struct {
	User, App string
	// AWSRole is an ARN or a role's name.
	AWSRole string
}

// AccessAt says who could do what at a time: RFC 3339, a date, an age such as
// "2h" or "7d", or "now".
func (c *Client) AccessAt(ctx context.Context, at string, q AccessQuestion) (out api.Access, err error) {
	err = c.json(ctx, "GET", "/v1/access"+query("at", at, "user", q.User, "app", q.App, "aws_role", q.AWSRole), nil, &out)
	return out, err
}

// AccessDiff says what was gained and lost between two times.
func (c *Client) AccessDiff(ctx context.Context, from, to string, q AccessQuestion) (out api.AccessDiff, err error) {
	err = c.json(ctx, "GET", "/v1/access/diff"+query("from", from, "to", to, "user", q.User, "app", q.App, "aws_role", q.AWSRole), nil, &out)
	return out, err
}
