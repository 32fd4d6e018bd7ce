package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithy "github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/posternhq/postern/deploy/simaws/sdktest"
)

// goCalls notes every call of an SDK client, failed ones included.
type goCalls struct {
	mu       sync.Mutex
	calls    []clientCall
	payloads map[string]int // by what X-Amz-Content-Sha256 says of a PUT
	expect   int            // requests with Expect: 100-continue
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// sent notes in what ways requests are sent: that each was tried is to be seen.
func (g *goCalls) sent(to http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut {
			payload := r.Header.Get("X-Amz-Content-Sha256")
			if len(payload) == 64 {
				payload = "hash"
			}
			g.mu.Lock()
			g.payloads[payload]++
			if r.Header.Get("Expect") == "100-continue" {
				g.expect++
			}
			g.mu.Unlock()
		}
		return to.RoundTrip(r)
	})
}

// note is added before the retries, so it sees a call once.
func (g *goCalls) note(stack *smithymiddleware.Stack) error {
	return stack.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("note", func(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
		out, meta, err := next.HandleInitialize(ctx, in)
		call := clientCall{Operation: middleware.GetOperationName(ctx)}
		call.RequestID, _ = middleware.GetRequestIDMetadata(meta)
		var answered interface{ ServiceRequestID() string }
		if errors.As(err, &answered) {
			call.RequestID = answered.ServiceRequestID()
		}
		if attempts, ok := retry.GetAttemptResults(meta); ok {
			call.Attempts = len(attempts.Results)
		}
		g.mu.Lock()
		g.calls = append(g.calls, call)
		g.mu.Unlock()
		return out, meta, err
	}), smithymiddleware.Before)
}

// unseekable hides all but Read.
type unseekable struct{ io.Reader }

// goSDK: the AWS SDK for Go with every way it has to declare a payload.
func (c *clients) goSDK(t *testing.T) {
	ctx := t.Context()
	noted := &goCalls{payloads: map[string]int{}}
	transport := c.transport(t)
	web := &http.Client{Transport: transport, Timeout: time.Minute}
	client := s3.New(s3.Options{
		Region:      "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(c.vars["AWS_ACCESS_KEY_ID"], c.vars["AWS_SECRET_ACCESS_KEY"], ""),
		HTTPClient:  &http.Client{Transport: noted.sent(transport), Timeout: time.Minute},
		APIOptions:  []func(*smithymiddleware.Stack) error{noted.note},

		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	})
	bucket := aws.String("go-sdk")
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(io.LimitReader(randomBytes(1), 3<<20+17))
	if err != nil {
		t.Fatal(err)
	}
	precomputed := v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware
	for _, way := range []struct {
		name string
		in   s3.PutObjectInput
		opts []func(*s3.Options)
	}{
		{"checksum in a trailer", s3.PutObjectInput{Body: bytes.NewReader(content)}, nil},
		{"checksum in a trailer, cannot seek", s3.PutObjectInput{Body: unseekable{bytes.NewReader(content)}, ContentLength: aws.Int64(int64(len(content)))}, nil},
		{"unsigned payload", s3.PutObjectInput{Body: unseekable{bytes.NewReader(content)}, ContentLength: aws.Int64(int64(len(content)))},
			[]func(*s3.Options){s3.WithAPIOptions(precomputed), sdktest.NoChecksum}},
		{"no checksum", s3.PutObjectInput{Body: bytes.NewReader(content)}, []func(*s3.Options){sdktest.NoChecksum}},
		{"payload hash", s3.PutObjectInput{Body: bytes.NewReader(content)}, []func(*s3.Options){sdktest.NoChecksum, sdktest.DeclareHash(content)}},
		{"payload hash, path style", s3.PutObjectInput{Body: bytes.NewReader(content)}, []func(*s3.Options){sdktest.NoChecksum, sdktest.DeclareHash(content), func(o *s3.Options) { o.UsePathStyle = true }}},
		{"expect 100-continue always", s3.PutObjectInput{Body: bytes.NewReader(content)}, []func(*s3.Options){func(o *s3.Options) { o.ContinueHeaderThresholdBytes = 1 }}},
		{"expect 100-continue never", s3.PutObjectInput{Body: bytes.NewReader(content)}, []func(*s3.Options){func(o *s3.Options) { o.ContinueHeaderThresholdBytes = -1 }}},
		{"empty", s3.PutObjectInput{Body: bytes.NewReader(nil)}, nil},
	} {
		way.in.Bucket, way.in.Key = bucket, aws.String(way.name)
		if _, err := client.PutObject(ctx, &way.in, way.opts...); err != nil {
			t.Errorf("put, %s: %v", way.name, err)
			continue
		}
		want := content
		if way.name == "empty" {
			want = []byte{}
		}
		got, err := object(ctx, client, &s3.GetObjectInput{Bucket: bucket, Key: way.in.Key})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("get, %s: %d of %d bytes, %v", way.name, len(got), len(want), err)
		}
	}
	for _, r := range []struct{ header, want string }{
		{"bytes=0-0", string(content[:1])},
		{"bytes=1000000-2000000", string(content[1000000:2000001])},
		{"bytes=-5", string(content[len(content)-5:])},
	} {
		got, err := object(ctx, client, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("unsigned payload"), Range: aws.String(r.header)})
		if err != nil || string(got) != r.want {
			t.Errorf("%s: %d of %d bytes, %v", r.header, len(got), len(r.want), err)
		}
	}
	for _, style := range []bool{false, true} {
		for _, key := range oddKeys {
			in := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("odd/" + key), Body: strings.NewReader(key)}
			addressing := func(o *s3.Options) { o.UsePathStyle = style }
			if _, err := client.PutObject(ctx, in, addressing); err != nil {
				t.Errorf("put %q: %v", key, err)
				continue
			}
			got, err := object(ctx, client, &s3.GetObjectInput{Bucket: bucket, Key: in.Key}, addressing)
			if err != nil || string(got) != key {
				t.Errorf("get %q: %q, %v", key, got, err)
			}
		}
	}
	listed := map[string]bool{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("odd/"), MaxKeys: aws.Int32(7)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			listed[strings.TrimPrefix(*o.Key, "odd/")] = true
		}
	}
	for _, key := range oddKeys {
		if !listed[key] {
			t.Errorf("%q is not listed", key)
		}
	}
	if len(listed) != len(oddKeys) {
		t.Errorf("%d keys listed of %d", len(listed), len(oddKeys))
	}

	// AWS's errors arrive as AWS's.
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("not there")})
	var apiErr smithy.APIError
	if !errors.As(err, &apiErr) || apiErr.ErrorCode() != "NoSuchKey" {
		t.Errorf("an object that is not there: %v", err)
	}

	var wg sync.WaitGroup
	started := time.Now()
	const workers, each = 64, 10
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				key := aws.String(fmt.Sprintf("parallel/%d/%d", w, i))
				if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader(*key)}); err != nil {
					t.Error(err)
					continue
				}
				if got, err := object(ctx, client, &s3.GetObjectInput{Bucket: bucket, Key: key}); err != nil || string(got) != *key {
					t.Errorf("%s: %q, %v", *key, got, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d workers: %.0f calls a second", workers, 2*workers*each/time.Since(started).Seconds())
	c.goPresigned(t, client, web, bucket)
	c.recorded(t, noted.calls)
	for _, payload := range []string{"hash", "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"} {
		if noted.payloads[payload] < 2 { // one is CreateBucket's
			t.Errorf("no PUT with %s", payload)
		}
	}
	if noted.expect == 0 {
		t.Error("no PUT waited for 100-continue")
	}
	t.Logf("%d calls, one attempt each, all on record; payloads %v, %d waited for 100-continue", len(noted.calls), noted.payloads, noted.expect)
}

// goPresigned follows presigned URLs with a plain HTTP client.
func (c *clients) goPresigned(t *testing.T, client *s3.Client, web *http.Client, bucket *string) {
	ctx := t.Context()
	options := client.Options()
	options.APIOptions = nil // signing is no call
	presign := s3.NewPresignClient(s3.New(options))
	for _, key := range []string{"presigned", "pre signed+ü%/x//y"} {
		put, err := presign.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		get, err := presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			req        *v4.PresignedHTTPRequest
			body, want string
			operation  string
		}{{put, "by " + key, "", "PutObject"}, {get, "", "by " + key, "GetObject"}} {
			req, err := http.NewRequestWithContext(ctx, step.req.Method, step.req.URL, strings.NewReader(step.body))
			if err != nil {
				t.Fatal(err)
			}
			for name, v := range step.req.SignedHeader {
				req.Header[name] = v
			}
			c.fetch(t, web, req, step.operation, step.want)
		}
	}
}

// fetch does one plain request, which has to be answered with 200, and be on record.
func (c *clients) fetch(t *testing.T, web *http.Client, req *http.Request, operation, want string) {
	t.Helper()
	answer, err := web.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || string(got) != want {
		t.Errorf("%s %s: %s, %v\n%s", req.Method, req.URL.Path, answer.Status, err, got)
		return
	}
	c.recorded(t, []clientCall{{Operation: operation, RequestID: answer.Header.Get("X-Amz-Request-Id"), Attempts: 1}})
}

func object(ctx context.Context, client *s3.Client, in *s3.GetObjectInput, opts ...func(*s3.Options)) ([]byte, error) {
	out, err := client.GetObject(ctx, in, opts...)
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}
