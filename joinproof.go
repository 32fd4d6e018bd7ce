package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go/logging"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/joining"
	"github.com/posternhq/postern/broker/sealed"
)

// prove adds to in what the method asks for.
func (m *membership) prove(ctx context.Context, b *client.Client, in *api.Join) (err error) {
	switch m.cfg.Method {
	case "iam":
		in.IAM, err = signCallerIdentity(ctx, b, in.CSR, m.region, m.log)
	case "ec2":
		in.EC2, err = identityDocument(ctx)
	case "kubernetes":
		in.JWT, err = secretText(m.cfg.TokenFile)
	default:
		secret, err := sealed.ReadPrivate(m.cfg.TokenFile)
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(secret))
		i := strings.LastIndex(text, ".")
		if i < 0 {
			return fmt.Errorf("%s: want NAME.SECRET, as postern tokens add prints it", m.cfg.TokenFile)
		}
		in.Token, in.Secret = text[:i], text[i+1:]
	}
	return err
}

func secretText(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// signCallerIdentity signs, by the AWS credentials of this machine, a request to
// STS that names them, over the broker's challenge.
func signCallerIdentity(ctx context.Context, b *client.Client, csr, region string, log zerolog.Logger) (*api.JoinIAM, error) {
	complain := func(_ logging.Classification, format string, v ...any) { log.Warn().Msgf("AWS SDK: "+format, v...) }
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.LoggerFunc(complain)))
	if err != nil {
		return nil, fmt.Errorf("aws configuration: %w", err)
	}
	if region == "" {
		region = cfg.Region
	}
	if region == "" {
		return nil, errors.New("which region's STS? set proxy.aws.region or AWS_REGION")
	}
	creds, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("aws credentials: %w", err)
	}
	challenge, err := b.JoinChallenge(ctx)
	if err != nil {
		return nil, err
	}
	bound, err := joining.Bind(challenge, csr)
	if err != nil {
		return nil, err
	}
	req, err := joining.NewCallerIdentity(ctx, region)
	if err != nil {
		return nil, err
	}
	req.Header.Set(joining.ChallengeHeader, bound)
	sum := sha256.Sum256([]byte(joining.CallerIdentityBody))
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), "sts", region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign GetCallerIdentity: %w", err)
	}
	out := &api.JoinIAM{Challenge: challenge, Region: region, Headers: map[string]string{}}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", joining.ChallengeHeader} {
		if v := req.Header.Get(name); v != "" {
			out.Headers[name] = v
		}
	}
	return out, nil
}

// identityDocument reads the instance's signed identity document
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/retrieve-iid.html).
func identityDocument(ctx context.Context) (string, error) {
	out, err := imds.New(imds.Options{Endpoint: os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")}).
		GetDynamicData(ctx, &imds.GetDynamicDataInput{Path: "instance-identity/rsa2048"})
	if err != nil {
		return "", fmt.Errorf("instance metadata: %w", err)
	}
	defer out.Content.Close()
	b, err := io.ReadAll(io.LimitReader(out.Content, 64<<10))
	return string(b), err
}
