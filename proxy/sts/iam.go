package sts

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/posternhq/postern/events"
)

// IAM returns a client of IAM for an account. role is the name of an IAM role
// that postern assumes there for the purpose; "" uses postern's own credentials,
// which reach the account that they are of.
func (h *Holder) IAM(ctx context.Context, partition, account, role string) (*iam.Client, error) {
	if partition == "" {
		partition = "aws"
	}
	at := partition + "/" + account
	h.mu.Lock()
	client := h.iam[at]
	h.mu.Unlock()
	if client != nil {
		return client, nil
	}
	c, err := h.config(ctx)
	if err != nil {
		return nil, err
	}
	c = c.Copy()
	c.Region = homeRegion(partition)
	if role != "" {
		own, _, err := h.client(ctx, &events.SessionStarted{Partition: partition})
		if err != nil {
			return nil, err
		}
		c.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(own, "arn:"+partition+":iam::"+account+":role/"+role,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "postern-locks" }))
	}
	client = iam.NewFromConfig(c)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.iam[at] = client
	return client, nil
}
