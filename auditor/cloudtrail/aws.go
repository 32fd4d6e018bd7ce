package cloudtrail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/rs/zerolog"
)

// AWSConfig says how AWS is reached to read CloudTrail's files. Credentials come
// from the AWS SDK's default chain.
type AWSConfig struct {
	// Region of the queues, and where trails are asked for.
	Region string
	// Dial, if set, is the HOST:PORT to which every TLS connection goes, with the
	// original host name in TLS and in Host. CAFile is trusted for it, besides
	// the system's roots.
	Dial, CAFile string
	// RoleARN, if set, is assumed with the default chain's credentials.
	RoleARN, ExternalID string
	// Log gets what the SDK complains about.
	Log zerolog.Logger
}

// AWS reads from AWS as one principal. It is safe for concurrent use.
type AWS struct {
	c    AWSConfig
	base func(context.Context) (aws.Config, error)

	mu      sync.Mutex
	buckets map[string]*s3.Client // by bucket, in its region
}

// NewAWS connects to nothing: credentials are looked for at the first call.
func NewAWS(c AWSConfig) (*AWS, error) {
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authorities for AWS: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authorities for AWS: %s holds no PEM certificate", c.CAFile)
		}
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
		if c.Dial == "" {
			return
		}
		t.Proxy = nil
		d := net.Dialer{Timeout: 10 * time.Second}
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ":443") {
				addr = c.Dial
			}
			return d.DialContext(ctx, network, addr)
		}
	})
	a := &AWS{c: c, buckets: map[string]*s3.Client{}}
	var mu sync.Mutex
	var loaded *aws.Config
	a.base = func(ctx context.Context) (aws.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		if loaded != nil {
			return *loaded, nil
		}
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.Region), config.WithHTTPClient(client), config.WithLogger(logging.LoggerFunc(c.complain)))
		if err != nil {
			return cfg, fmt.Errorf("AWS configuration of the auditor: %w", err)
		}
		if c.RoleARN != "" {
			cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
				o.RoleSessionName = "postern-auditor"
				if c.ExternalID != "" {
					o.ExternalID = &c.ExternalID
				}
			}))
		}
		loaded = &cfg
		return cfg, nil
	}
	return a, nil
}

// complain logs what the SDK would write to standard error.
func (c *AWSConfig) complain(_ logging.Classification, format string, v ...any) {
	c.Log.Warn().Msgf("AWS SDK: "+format, v...)
}

func (a *AWS) queue(ctx context.Context) (*sqs.Client, error) {
	cfg, err := a.base(ctx)
	return sqs.NewFromConfig(cfg), err
}

func (a *AWS) trail(ctx context.Context, region string) (*cloudtrail.Client, error) {
	cfg, err := a.base(ctx)
	if region != "" {
		cfg.Region = region
	}
	return cloudtrail.NewFromConfig(cfg), err
}

// Bucket returns a client in the bucket's region.
func (a *AWS) Bucket(ctx context.Context, name string) (*s3.Client, error) {
	return a.bucket(ctx, name)
}

func (a *AWS) bucket(ctx context.Context, name string) (*s3.Client, error) {
	a.mu.Lock()
	known := a.buckets[name]
	a.mu.Unlock()
	if known != nil {
		return known, nil
	}
	cfg, err := a.base(ctx)
	if err != nil {
		return nil, err
	}
	region, told := cfg.Region, true
	head, err := s3.NewFromConfig(cfg).HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &name})
	if err == nil && head.BucketRegion != nil {
		region = *head.BucketRegion
	} else if e, ok := errors.AsType[*awshttp.ResponseError](err); ok { // a bucket of another region says so in its refusal
		r := e.HTTPResponse().Header.Get("X-Amz-Bucket-Region")
		if told = r != ""; told {
			region = r
		}
	} else if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	cfg.Region = region
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.DisableLogOutputChecksumValidationSkipped = true // CloudTrail's objects may have none
	})
	if !told { // it may be of another region: that is asked again
		return client, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.buckets[name] = client
	return client, nil
}

// object is one object of S3, open for reading. Where its connection breaks off, another one
// goes on from there.
type object struct {
	io.ReadCloser
	etag string
	meta map[string]string

	at      int64
	resumed int
	resume  func(at int64) (io.ReadCloser, error)
}

// maxResumed is how often an object is gone on with.
const maxResumed = 3

func (o *object) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	o.at += int64(n)
	if err == nil || err == io.EOF || o.resumed == maxResumed {
		return n, err
	}
	rest, failed := o.resume(o.at)
	if failed != nil {
		return n, err
	}
	_ = o.Close()
	o.ReadCloser = rest
	o.resumed++
	return n, nil
}

func (a *AWS) open(ctx context.Context, bucket, key string) (*object, error) {
	client, err := a.bucket(ctx, bucket)
	if err != nil {
		return nil, err
	}
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s3Name(bucket, key), err)
	}
	return &object{ReadCloser: out.Body, etag: strings.Trim(aws.ToString(out.ETag), `"`), meta: out.Metadata, resume: func(at int64) (io.ReadCloser, error) {
		rest, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key, Range: aws.String(fmt.Sprintf("bytes=%d-", at)), IfMatch: out.ETag})
		if err != nil {
			return nil, err
		}
		if r := aws.ToString(rest.ContentRange); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", at)) { // all of it once more would be another file
			_ = rest.Body.Close()
			return nil, fmt.Errorf("asked for bytes from %d on, got %q", at, r)
		}
		return rest.Body, nil
	}}, nil
}

func (a *AWS) etag(ctx context.Context, bucket, key string) (string, error) {
	client, err := a.bucket(ctx, bucket)
	if err != nil {
		return "", err
	}
	out, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", s3Name(bucket, key), err)
	}
	return strings.Trim(aws.ToString(out.ETag), `"`), nil
}

// gone tells that an object or its bucket does not exist.
func gone(err error) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && (e.ErrorCode() == "NoSuchKey" || e.ErrorCode() == "NoSuchBucket" || e.ErrorCode() == "NotFound")
}

func s3Name(bucket, key string) string { return "s3://" + bucket + "/" + key }

// splitS3 takes s3://BUCKET/KEY apart.
func splitS3(name string) (bucket, key string, ok bool) {
	rest, ok := strings.CutPrefix(name, "s3://")
	bucket, key, _ = strings.Cut(rest, "/")
	return bucket, key, ok && bucket != ""
}
