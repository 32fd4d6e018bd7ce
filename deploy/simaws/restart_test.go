package simaws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rs/zerolog"
)

// TestRestart: a Sim opened again on its directory knows its CA, keys, roles,
// sessions and objects, and has delivered its trail on the way down.
func TestRestart(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), TrailDelay: time.Hour, DataEvents: []string{"arn:aws:s3"}, Log: zerolog.Nop()}
	run := func(use func(*fixture)) *Sim {
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		f := &fixture{Sim: s, client: dialClient(t, s, nil)}
		if f.key, err = s.AccessKey(testAccount, "postern"); err != nil {
			t.Fatal(err)
		}
		use(f)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return s
	}
	var creds []string
	var first *fixture
	run(func(f *fixture) {
		first = f
		if err := f.PutRole(Role{ARN: testRole, TrustPolicy: trustAccount}); err != nil {
			t.Fatal(err)
		}
		f.bucket(t, "kept")
		if err := f.PutObject("kept", "k", strings.NewReader("still here")); err != nil {
			t.Fatal(err)
		}
		creds = credsOf(f.assume(t, &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("alice")}).Credentials)
	})
	if got := len(first.records(t)); got != 1 {
		t.Errorf("%d records delivered on the way down, want 1", got)
	}
	run(func(f *fixture) {
		if f.key != first.key || string(f.CAPEM()) != string(first.CAPEM()) {
			t.Error("another key or another CA after the restart")
		}
		out, err := s3.NewFromConfig(f.aws(creds...)).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("kept"), Key: aws.String("k")})
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, out.Body); got != "still here" {
			t.Errorf("read %q", got)
		}
		// A role that is gone takes its sessions with it.
		if err := f.DeleteRole(testRole); err != nil {
			t.Fatal(err)
		}
		if err := f.PutRole(Role{ARN: testRole, TrustPolicy: trustAccount}); err != nil {
			t.Fatal(err)
		}
		if _, err := sts.NewFromConfig(f.aws(creds...)).GetCallerIdentity(t.Context(), nil); apiCode(err) != "InvalidClientTokenId" {
			t.Errorf("session of a role that was deleted and made again: %v", err)
		}
	})
}

// TestCutDownload: a client that goes away in the middle is on record with the
// bytes it got.
func TestCutDownload(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), TrailDelay: -1, DataEvents: []string{"arn:aws:s3"}, Log: zerolog.Nop()}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f := &fixture{Sim: s, client: dialClient(t, s, []string{"http/1.1"})}
	if f.key, err = s.AccessKey(testAccount, "postern"); err != nil {
		t.Fatal(err)
	}
	f.bucket(t, "cut")
	const size = 64 << 20
	if err := f.PutObject("cut", "k", io.LimitReader(zeros{}, size)); err != nil {
		t.Fatal(err)
	}
	out, err := s3.NewFromConfig(f.aws()).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("cut"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	out.Body.Close()
	f.client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil { // handlers have ended
		t.Fatal(err)
	}
	for _, r := range f.records(t) {
		if r["eventName"] == "GetObject" {
			if n := at(r, "additionalEventData", "bytesTransferredOut").(float64); n < 1<<20 || n >= size || r["errorCode"] != nil {
				t.Errorf("%v bytes out, error %v", n, r["errorCode"])
			}
			return
		}
	}
	t.Error("no record of the download")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestExpectContinue: a refused upload is refused before its body is sent.
func TestExpectContinue(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "expect")
	client := dialClient(t, f.Sim, []string{"http/1.1"})
	client.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour // never send without being asked
	for _, tc := range []struct {
		change func(*http.Request)
		status int
	}{{func(*http.Request) {}, 200}, {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", unsignedPayload) }, 403}} {
		req := f.signed(t, http.MethodPut, "https://expect.s3.us-east-1.amazonaws.com/k", "hello", nil, time.Now())
		req.Header.Set("Expect", "100-continue")
		body := &readCounter{r: req.Body}
		req.Body = body
		tc.change(req)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, res.Body)
		if res.StatusCode != tc.status || (body.n > 0) != (tc.status == 200) {
			t.Errorf("%d with %d bytes sent, want %d", res.StatusCode, body.n, tc.status)
		}
	}
}

type readCounter struct {
	r io.ReadCloser
	n int
}

func (c *readCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
func (c *readCounter) Close() error { return c.r.Close() }

// TestLocalHost: without an AWS host name the signature says what is meant, as
// with --endpoint-url.
func TestLocalHost(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "local")
	cfg := f.aws()
	cfg.BaseEndpoint = aws.String("https://" + f.Addr())
	c := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("local"), Key: aws.String("k"), Body: strings.NewReader("x")}); err != nil {
		t.Error(err)
	}
	if _, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no directory": {}, "not loopback": {Dir: t.TempDir(), Listen: "0.0.0.0:0"}, "no port": {Dir: t.TempDir(), Listen: "127.0.0.1"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"role ARN":     s.PutRole(Role{ARN: "arn:aws:iam::1:role/x", TrustPolicy: trustAccount}),
		"trust policy": s.PutRole(Role{ARN: testRole, TrustPolicy: "{"}),
		"duration":     s.PutRole(Role{ARN: testRole, TrustPolicy: trustAccount, MaxSessionDuration: 13 * time.Hour}),
		"user":         s.PutUser(User{Account: "1", Name: "x"}),
		"bucket name":  s.PutBucket(Bucket{Account: testAccount, Region: "us-east-1", Name: "../x"}),
		"table":        s.PutTable(Table{Account: testAccount, Region: "us-east-1", Name: "a/b", Hash: "k"}),
		"instance":     s.PutInstances(Instance{Account: testAccount, Region: "mars", ID: "i-1"}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if errors.Unwrap(err) == nil && !strings.HasPrefix(err.Error(), "simaws: ") {
			t.Errorf("%s: %v does not say whose error it is", name, err)
		}
	}
}
