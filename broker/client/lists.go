package client

import (
	"context"
	"net/url"

	"github.com/posternhq/postern/broker/api"
)

func listPath(name string, more ...string) string {
	path := "/v1/lists/" + url.PathEscape(name)
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

// AccessLists lists the access lists that the user may see.
func (c *Client) AccessLists(ctx context.Context) ([]api.AccessList, error) {
	var out api.AccessLists
	err := c.json(ctx, "GET", "/v1/lists", nil, &out)
	return out.AccessLists, err
}

// AccessList reads one access list.
func (c *Client) AccessList(ctx context.Context, name string) (out api.AccessList, err error) {
	err = c.json(ctx, "GET", listPath(name), nil, &out)
	return out, err
}

// AddMember makes somebody a member of a list, or changes until when.
func (c *Client) AddMember(ctx context.Context, list string, in api.AddMember) (out api.AccessList, err error) {
	err = c.json(ctx, "POST", listPath(list, "members"), in, &out)
	return out, err
}

// RemoveMember ends a membership.
func (c *Client) RemoveMember(ctx context.Context, list string, m api.ListMember, reason string) error {
	return c.json(ctx, "DELETE", listPath(list, "members", m.Kind, m.Name)+query("reason", reason), nil, nil)
}

// ReviewList says that the user looked a list through.
func (c *Client) ReviewList(ctx context.Context, list string, in api.ReviewList) (out api.AccessList, err error) {
	err = c.json(ctx, "POST", listPath(list, "reviews"), in, &out)
	return out, err
}

// Promote answers an access request with a membership of a list.
func (c *Client) Promote(ctx context.Context, requestID string, in api.PromoteRequest) (out api.Request, err error) {
	err = c.json(ctx, "POST", "/v1/requests/"+url.PathEscape(requestID)+"/promotion", in, &out)
	return out, err
}
