package client

import (
	"context"
	"net/url"

	"github.com/posternhq/postern/broker/api"
)

// NewAuditToken makes a token that may put questions to the auditor.
func (c *Client) NewAuditToken(ctx context.Context, in api.NewAuditToken) (out api.AuditTokenMade, err error) {
	err = c.json(ctx, "POST", "/v1/audit-tokens", in, &out)
	return out, err
}

// AuditTokens lists those tokens.
func (c *Client) AuditTokens(ctx context.Context) ([]api.AuditToken, error) {
	var out api.AuditTokens
	err := c.json(ctx, "GET", "/v1/audit-tokens", nil, &out)
	return out.AuditTokens, err
}

// DeleteAuditToken ends one.
func (c *Client) DeleteAuditToken(ctx context.Context, name string) error {
	return c.json(ctx, "DELETE", "/v1/audit-tokens/"+url.PathEscape(name), nil, nil)
}
