package tlog_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
)

// flaky lets so many requests through and breaks off the rest.
type flaky struct {
	http.RoundTripper
	left atomic.Int64
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.left.Add(-1) < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return f.RoundTripper.RoundTrip(r)
}

// bucket is one of the simulated AWS, which checks every signature.
func bucket(t *testing.T) (*tlog.Bucket, *flaky) {
	t.Helper()
	sim, err := simaws.New(simaws.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, sim)
	if err := sim.PutBucket(simaws.Bucket{Account: "111122223333", Region: "eu-central-1", Name: "logs"}); err != nil {
		t.Fatal(err)
	}
	key, err := sim.AccessKey("111122223333", "auditor")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(sim.CAPEM())
	f := &flaky{RoundTripper: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, sim.Addr())
		}}}
	f.left.Store(1 << 40)
	cfg := aws.Config{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""), HTTPClient: &http.Client{Transport: f}, RetryMaxAttempts: 1}
	return &tlog.Bucket{Client: s3.NewFromConfig(cfg), Name: "logs", Prefix: "p/"}, f
}

// same is another auditor, or the same after a restart.
func same(b *tlog.Bucket) *tlog.Bucket {
	return &tlog.Bucket{Client: b.Client, Name: b.Name, Prefix: b.Prefix}
}

func grow(t *testing.T, dir string, from, to uint64) tlog.Checkpoint {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := tlog.Open(ctx, tlog.Config{Dir: filepath.Join(dir, "AUDIT"), Stream: "AUDIT", Key: key(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(ctx, leaves(from, to)); err != nil {
		t.Fatal(err)
	}
	return settled(t, dir, to)
}

// holds says that the bucket has a whole log up to a size.
func holds(t *testing.T, b *tlog.Bucket, pub tlog.PublicKey, size uint64) {
	t.Helper()
	c, err := pub.Latest(t.Context(), "AUDIT", b.Tiles("AUDIT"))
	if err != nil || c.Size != size {
		t.Fatalf("checkpoint in the bucket of %d, %v; want %d", c.Size, err, size)
	}
	n := uint64(0)
	for l, err := range tlog.Walk(t.Context(), b.Tiles("AUDIT"), 0, c, nil) {
		if err != nil || l != leafOf(l.Seq) {
			t.Fatalf("leaf %d in the bucket: %v", l.Seq, err)
		}
		n++
	}
	if n != size {
		t.Errorf("%d leaves in the bucket, want %d", n, size)
	}
}

// A log in a bucket is whole whenever it has a checkpoint, whatever breaks off.
func TestBucket(t *testing.T) {
	b, net := bucket(t)
	dir := t.TempDir()
	files := tlog.Files(filepath.Join(dir, "AUDIT"))
	pub := key(t, dir).Public()
	store := func(b *tlog.Bucket, c tlog.Checkpoint) error { return b.Store(t.Context(), pub, files, c) }
	if err := store(b, grow(t, dir, 1, 300)); err != nil {
		t.Fatal(err)
	}
	holds(t, b, pub, 300)
	at700 := grow(t, dir, 301, 700)
	for n := int64(0); ; n++ { // each request in turn is the last that gets through
		net.left.Store(n)
		err := store(same(b), at700)
		net.left.Store(1 << 40)
		if err == nil {
			break
		}
		if c, err := pub.Latest(t.Context(), "AUDIT", b.Tiles("AUDIT")); err != nil || c.Size != 300 {
			t.Fatalf("after %d requests: checkpoint of %d, %v", n, c.Size, err)
		}
		if n > 40 {
			t.Fatal("it never gets through")
		}
	}
	holds(t, b, pub, 700)

	// The first one did not see that somebody else wrote, and is told.
	at900 := grow(t, dir, 701, 900)
	if err := store(b, at900); !errors.Is(err, tlog.ErrBucketTaken) {
		t.Errorf("a writer that knows an older checkpoint: %v", err)
	}
	if err := store(b, at900); err != nil { // it looks again
		t.Fatal(err)
	}
	holds(t, b, pub, 900)

	// A disk that was lost: the log is made anew from the stream, and goes on in the
	// bucket as soon as it leads to what is there.
	if err := os.RemoveAll(filepath.Join(dir, "AUDIT")); err != nil {
		t.Fatal(err)
	}
	if err := store(same(b), grow(t, dir, 1, 500)); err == nil || !strings.Contains(err.Error(), "has 500 so far") {
		t.Errorf("a log that is behind the bucket: %v", err)
	}
	if err := store(same(b), grow(t, dir, 501, 1000)); err != nil {
		t.Fatal(err)
	}
	holds(t, b, pub, 1000)

	// Another log with the same key is not written over it.
	if err := os.RemoveAll(filepath.Join(dir, "AUDIT")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := tlog.Open(ctx, tlog.Config{Dir: filepath.Join(dir, "AUDIT"), Stream: "AUDIT", Key: key(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	other := leaves(1, 1100)
	other[5].Hash[0]++
	if err := l.Append(ctx, other); err != nil {
		t.Fatal(err)
	}
	if err := store(same(b), settled(t, dir, 1100)); !errors.Is(err, tlog.ErrFork) {
		t.Errorf("another log: %v", err)
	}
	holds(t, b, pub, 1000)

	// Nor is a tile that somebody put there first.
	fresh := &tlog.Bucket{Client: b.Client, Name: b.Name, Prefix: "q/"}
	if _, err := b.Client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("logs"), Key: aws.String("q/AUDIT/tile/0/000"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	if err := store(fresh, settled(t, dir, 1100)); !errors.Is(err, tlog.ErrFork) {
		t.Errorf("another tile: %v", err)
	}
}
