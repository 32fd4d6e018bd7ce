package sigv4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

// versity runs versitygw, an S3 server with a signature check of its own, and
// returns its address. It knows one key, "postern" with the secret "signs anew".
func versity(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: versitygw takes minutes to build for the first time")
	}
	bin, err := exec.LookPath("versitygw")
	if err != nil {
		out, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "-modfile=../../testdata/clients/versitygw.mod", "versitygw").Output()
		if err != nil {
			t.Skipf("needs versitygw, on PATH or to be built: %v", err)
		}
		bin = strings.TrimSpace(string(out))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), bin, "--port", addr, "--virtual-domain", "s3.us-east-1.amazonaws.com", "--region", "us-east-1",
		"posix", "--sidecar", t.TempDir(), dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "ROOT_ACCESS_KEY=postern", "ROOT_SECRET_KEY=signs anew"}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { <-ended }) // the test's context has ended by then
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("versitygw does not run here: %v\n%s", err, log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// resigner does with a request what helper and proxy do: verify, sign anew.
type resigner struct {
	t        *testing.T
	addr     string
	verifier Verifier
	signer   Signer
	payloads map[PayloadMode]int
}

func (x *resigner) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := Parse(r)
	if err != nil {
		return nil, err
	}
	if err := x.verifier.Verify(r, a, "client's secret", "", time.Now()); err != nil {
		return nil, err
	}
	x.payloads[a.Payload]++
	out := r.Clone(r.Context())
	if out.Host == "" {
		out.Host = out.URL.Host
	}
	creds := Credentials{AccessKeyID: "postern", SecretAccessKey: "signs anew"}
	signed, err := x.signer.Sign(out, creds, a, "", time.Now())
	if err != nil {
		return nil, err
	}
	if a.Payload.Signed() {
		body, err := NewStreamReader(r.Body, StreamConfig{
			Verify: &Chain{Auth: a, Secret: "client's secret"}, Sign: &Chain{Auth: signed, Secret: creds.SecretAccessKey},
			DecodedLength: DecodedLength(r.Header), Keys: &x.signer.Keys,
		})
		if err != nil {
			return nil, err
		}
		out.Body = io.NopCloser(body)
	}
	out.URL.Scheme, out.URL.Host = "http", x.addr
	return http.DefaultTransport.RoundTrip(out)
}

// What is signed anew is right in the eyes of another S3 server: all ways to
// declare a payload, names of all kinds, both ways to address a bucket.
func TestVersity(t *testing.T) {
	x := &resigner{t: t, addr: versity(t), payloads: map[PayloadMode]int{}}
	ctx := t.Context()
	client := s3.New(s3.Options{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("AKIACLIENT", "client's secret", ""),
		HTTPClient: &http.Client{Transport: x}, Retryer: aws.NopRetryer{}, RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	})
	bucket := aws.String("odd-names")
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	ways := map[string][]func(*s3.Options){
		"trailer":  nil,
		"hashed":   {noChecksum},
		"unsigned": {noChecksum, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)},
		"path":     {func(o *s3.Options) { o.UsePathStyle = true }},
	}
	// Without "//" and "..", which are no names of files, as versitygw keeps them.
	for _, name := range []string{"plain", "with space", "plus+plus", "100%", "%2F", "a%20b", "ü/日本語", "~tilde", "q?x=1&y=2", "hash#frag", "semi;colon",
		"co:lon@at", "quote'\"", "star*!()[]{}", "eq=uals,comma", "...", ".hidden", "emoji🙂"} {
		for way, opts := range ways {
			key := way + "/" + name
			put := opts
			if way == "hashed" {
				put = append(put[:len(put):len(put)], declareHash([]byte(key)))
			}
			if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(key)}, put...); err != nil {
				t.Errorf("put %q: %v", key, err)
				continue
			}
			out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key}, opts...)
			if err != nil {
				t.Errorf("get %q: %v", key, err)
				continue
			}
			got, err := io.ReadAll(out.Body)
			out.Body.Close()
			if err != nil || string(got) != key {
				t.Errorf("get %q: %q, %v", key, got, err)
			}
		}
	}
	// Names that it has no file for are refused by what they are, not by their signature.
	for _, key := range []string{"a//b", "../up", "a/../b", "a/./b"} {
		_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
		if err == nil || strings.Contains(err.Error(), "SignatureDoesNotMatch") {
			t.Errorf("get %q: %v", key, err)
		}
	}
	for _, mode := range []PayloadMode{PayloadHashed, PayloadUnsigned, PayloadUnsignedTrailer} {
		if x.payloads[mode] < 18 {
			t.Errorf("no payload of mode %d", mode)
		}
	}
	// It does check.
	bad := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		out := r.Clone(ctx)
		a, err := Parse(r)
		if err != nil {
			return nil, err
		}
		if _, err := x.signer.Sign(out, Credentials{AccessKeyID: "postern", SecretAccessKey: "another"}, a, "", time.Now()); err != nil {
			return nil, err
		}
		out.URL.Scheme, out.URL.Host, out.Host = "http", x.addr, r.URL.Host
		return http.DefaultTransport.RoundTrip(out)
	})}
	_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("hashed/plain")}, func(o *s3.Options) { o.HTTPClient = bad })
	var answered interface{ HTTPStatusCode() int }
	if !errors.As(err, &answered) || answered.HTTPStatusCode() != http.StatusForbidden {
		t.Error(fmt.Errorf("with a wrong secret: %w", err))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func noChecksum(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
}

// declareHash declares a body's SHA-256 in X-Amz-Content-Sha256, which the SDK
// would not do over HTTPS by itself.
func declareHash(body []byte) func(*s3.Options) {
	sum := sha256.Sum256(body)
	return s3.WithAPIOptions(func(stack *smithymiddleware.Stack) error {
		return stack.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("declareHash", func(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
		}), smithymiddleware.After)
	})
}
