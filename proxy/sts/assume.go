package sts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/sigv4"
)

// Bounds of DurationSeconds
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
const (
	shortest = 15 * time.Minute
	longest  = 12 * time.Hour
	// chainLimit is the most that an assumed role gets of another role, and what
	// every role allows.
	chainLimit = time.Hour
)

// buildable is the kind of HTTP client that the SDK can adapt, which it does to
// give up soon on a metadata service that is not there.
func buildable(l Link) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(l.Apply)
}

// config loads the SDK's configuration once.
func (h *Holder) config(ctx context.Context) (aws.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.base != nil {
		return *h.base, nil
	}
	opts := []func(*config.LoadOptions) error{config.WithHTTPClient(h.http), config.WithLogger(logging.LoggerFunc(h.complain))}
	if h.cfg.Base != nil {
		opts = append(opts, config.WithCredentialsProvider(h.cfg.Base))
	}
	c, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, &Error{err: err, Reason: "the AWS configuration of this proxy cannot be read: " + err.Error()}
	}
	h.base = &c
	return c, nil
}

// complain logs what the SDK would write to standard error.
func (h *Holder) complain(_ logging.Classification, format string, v ...any) {
	h.cfg.Log.Warn().Msgf("AWS SDK: "+format, v...)
}

// client returns the STS client of a region and our own credentials.
func (h *Holder) client(ctx context.Context, s *events.SessionStarted) (*awssts.Client, aws.Credentials, error) {
	c, err := h.config(ctx)
	if err != nil {
		return nil, aws.Credentials{}, err
	}
	own, err := c.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, own, noCredentials(err)
	}
	region := s.Region
	for _, or := range []string{h.cfg.Region, c.Region, homeRegion(s.Partition)} {
		if region == "" {
			region = or
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	client := h.clients[region]
	if client == nil {
		client = awssts.NewFromConfig(c, func(o *awssts.Options) { o.Region = region })
		h.clients[region] = client
	}
	return client, own, nil
}

// Account returns the id of the account that postern's own credentials are of.
func (h *Holder) Account(ctx context.Context) (string, error) {
	client, own, err := h.client(ctx, &events.SessionStarted{})
	if err != nil {
		return "", err
	}
	out, err := client.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	if err != nil {
		return "", fmt.Errorf("who holds access key %s (from %s): %w", own.AccessKeyID, own.Source, err)
	}
	return aws.ToString(out.Account), nil
}

// homeRegion is where STS always is in a partition.
func homeRegion(partition string) string {
	switch partition {
	case "aws-cn":
		return "cn-north-1"
	case "aws-us-gov":
		return "us-gov-west-1"
	case "aws-eusc":
		return "eusc-de-east-1"
	case "aws-iso":
		return "us-iso-east-1"
	case "aws-iso-b":
		return "us-isob-east-1"
	case "aws-iso-e":
		return "eu-isoe-west-1"
	case "aws-iso-f":
		return "us-isof-south-1"
	}
	return "us-east-1"
}

// assume calls AssumeRole for about want.
func (h *Holder) assume(ctx context.Context, s *events.SessionStarted, want time.Duration) (Credentials, error) {
	client, own, err := h.client(ctx, s)
	if err != nil {
		return Credentials{}, err
	}
	in := &awssts.AssumeRoleInput{
		RoleArn:         aws.String(s.AWSRoleARN),
		RoleSessionName: aws.String(s.RoleSessionName),
	}
	if s.ExternalID != "" {
		in.ExternalId = aws.String(s.ExternalID)
	}
	if s.SourceIdentity != "" {
		in.SourceIdentity = aws.String(s.SourceIdentity)
	}
	for k, v := range s.SessionTags {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	for {
		in.DurationSeconds = aws.Int32(h.duration(s.AWSRoleARN, own, want))
		out, err := client.AssumeRole(ctx, in)
		if err != nil {
			if h.learn(s.AWSRoleARN, *in.DurationSeconds, err) {
				continue
			}
			return Credentials{}, h.explain(ctx, client, own, s, err)
		}
		if out.Credentials == nil || out.AssumedRoleUser == nil {
			return Credentials{}, &Error{Temporary: true, Reason: "STS answered AssumeRole without credentials"}
		}
		return Credentials{
			Credentials: sigv4.Credentials{
				AccessKeyID:     aws.ToString(out.Credentials.AccessKeyId),
				SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
				SessionToken:    aws.ToString(out.Credentials.SessionToken),
			},
			Expires:       aws.ToTime(out.Credentials.Expiration),
			AssumedRoleID: aws.ToString(out.AssumedRoleUser.AssumedRoleId),
			Chained:       h.isChained(own),
		}, nil
	}
}

// duration is what to ask for, in seconds.
func (h *Holder) duration(role string, own aws.Credentials, want time.Duration) int32 {
	most := longest
	if h.isChained(own) {
		most = chainLimit
	}
	h.mu.Lock()
	if l, ok := h.longest[role]; ok {
		most = min(most, l)
	}
	h.mu.Unlock()
	want = (want + time.Second - 1).Truncate(time.Second)
	return int32(max(shortest, min(want, most)) / time.Second)
}

// isChained tells whether our own credentials are temporary, so that roles
// assumed with them last an hour at most. Those of an instance's role are
// exempt (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html, "Role
// chaining").
func (h *Holder) isChained(own aws.Credentials) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.chained || own.SessionToken != "" && own.Source != ec2rolecreds.ProviderName
}

// learn takes from a refusal of seconds what the limit is; true means that it is
// worth asking again. Every role allows an hour, so there is one more question.
func (h *Holder) learn(role string, seconds int32, err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != "ValidationError" || seconds <= int32(chainLimit/time.Second) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch msg := api.ErrorMessage(); {
	case strings.Contains(msg, "role chaining"):
		h.chained = true
	case strings.Contains(msg, "MaxSessionDuration"), strings.Contains(msg, "DurationSeconds exceeds"):
		h.longest[role] = chainLimit
	default:
		return false
	}
	return true
}

// whoami names the principal that postern runs as.
func (h *Holder) whoami(ctx context.Context, client *awssts.Client, own aws.Credentials) string {
	h.mu.Lock()
	arn := h.self[own.AccessKeyID]
	h.mu.Unlock()
	if arn != "" {
		return arn
	}
	out, err := client.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Sprintf("the holder of access key %s (from %s)", own.AccessKeyID, own.Source)
	}
	arn = aws.ToString(out.Arn)
	h.mu.Lock()
	h.self = map[string]string{own.AccessKeyID: arn}
	h.mu.Unlock()
	return arn
}
