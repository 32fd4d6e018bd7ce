package simaws

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/rs/zerolog"
)

const (
	testAccount  = "111122223333"
	otherAccount = "444455556666"
	trustAccount = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`
	testRole     = "arn:aws:iam::111122223333:role/team/Reader"
)

var trailFile = regexp.MustCompile(`^AWSLogs/([0-9]{12})/CloudTrail/([a-z0-9-]+)/[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{12}_CloudTrail_[a-z0-9-]+_[0-9]{8}T[0-9]{4}Z_[A-Za-z0-9]{16}\.json\.gz$`)

// fixture is a running simulation with one user and one role.
type fixture struct {
	*Sim
	key    AccessKey
	client *http.Client
}

func newSim(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), TrailDelay: -1, DataEvents: []string{"arn:aws:s3", "arn:aws:dynamodb"}, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	f := &fixture{Sim: s, client: dialClient(t, s, nil)}
	if f.key, err = s.AccessKey(testAccount, "postern"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutRole(Role{ARN: testRole, TrustPolicy: trustAccount, MaxSessionDuration: 12 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	return f
}

// dialClient connects to the simulation whatever the URL's host, as the proxy
// does with --aws-dial.
func dialClient(t testing.TB, s *Sim, protocols []string) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("CAPEM holds no certificate")
	}
	addr := s.Addr()
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, NextProtos: protocols},
		ForceAttemptHTTP2: protocols == nil,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// unsignedBody is a signed S3 request whose body of zeros is not part of the
// signature.
func unsignedBody(t testing.TB, method, target string, size int64, key AccessKey) *http.Request {
	var body io.Reader
	if method == http.MethodPut {
		body = io.LimitReader(zeros{}, size)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.ContentLength = size
	}
	req.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, req, unsignedPayload, "s3", "us-east-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// aws is an SDK configuration; without arguments for the fixture's user.
func (f *fixture) aws(creds ...string) aws.Config {
	id, secret, token := f.key.ID, f.key.Secret, ""
	if len(creds) == 3 {
		id, secret, token = creds[0], creds[1], creds[2]
	}
	return aws.Config{Region: "us-east-1", HTTPClient: f.client, RetryMaxAttempts: 1,
		// As LoadDefaultConfig has it.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, token)}
}

// signed is a request signed by the SDK's signer at a given time; without
// credentials by the fixture's user.
func (f *fixture) signed(t *testing.T, method, target, body string, creds []string, at time.Time) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	ep, ok := parseHost(req.URL.Host)
	if !ok {
		t.Fatalf("%s is not of AWS", target)
	}
	c := aws.Credentials{AccessKeyID: f.key.ID, SecretAccessKey: f.key.Secret}
	if len(creds) == 3 {
		c = aws.Credentials{AccessKeyID: creds[0], SecretAccessKey: creds[1], SessionToken: creds[2]}
	}
	hash := sha256Hex([]byte(body))
	if ep.service == "s3" {
		req.Header.Set("X-Amz-Content-Sha256", hash)
	}
	err = v4.NewSigner().SignHTTP(t.Context(), c, req, hash, ep.service, ep.region, at, func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = ep.service == "s3"
	})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func (f *fixture) bucket(t *testing.T, name string) {
	t.Helper()
	if err := f.PutBucket(Bucket{Account: testAccount, Region: "us-east-1", Name: name}); err != nil {
		t.Fatal(err)
	}
}

// records flushes the trail and reads every record delivered so far, checking
// the files' names and places on the way.
func (f *fixture) records(t *testing.T) []map[string]any {
	t.Helper()
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	err := filepath.WalkDir(f.TrailDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(f.TrailDir(), path)
		if !trailFile.MatchString(filepath.ToSlash(rel)) {
			t.Errorf("log file %s is not named as CloudTrail names them", rel)
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		zip, err := gzip.NewReader(file)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(zip)
		if err != nil {
			return err
		}
		var log struct{ Records []map[string]any }
		if err := json.Unmarshal(raw, &log); err != nil {
			return err
		}
		out = append(out, log.Records...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// record finds the one record of a request id.
func (f *fixture) record(t *testing.T, requestID string) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, r := range f.records(t) {
		if r["requestID"] == requestID {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d records with requestID %q, want 1", len(found), requestID)
	}
	return found[0]
}

// at digs into decoded JSON: at(r, "userIdentity", "arn").
func at(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	var b strings.Builder
	if _, err := io.Copy(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
