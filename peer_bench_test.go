package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/posternhq/postern/proxy/sts/ststest"
)

// peerConns is how many connections clients have in BenchmarkPeer.
const peerConns = 32

// BenchmarkPeer compares the proxy with github.com/awslabs/aws-sigv4-proxy, whose
// binary is found on PATH as aws-sigv4-proxy or named by AWS_SIGV4_PROXY, in turns
// against the same stand-in for S3 over TLS. The proxy takes mutual TLS, authorizes
// and records each request durably; the peer takes plain HTTP and does none of
// that. Both sign. Both run as processes of their own.
//
// S3 speaks HTTP/1.1, of which the peer keeps two connections to a host (the
// default of Go's transport) and makes a new one for each request beyond; GET and
// PUT measure that. The sub-benchmarks /h2 let it speak HTTP/2 to the stand-in, which
// S3 does not, so that connections cost it nothing.
func BenchmarkPeer(b *testing.B) {
	bin := os.Getenv("AWS_SIGV4_PROXY")
	if bin == "" {
		var err error
		if bin, err = exec.LookPath("aws-sigv4-proxy"); err != nil {
			b.Skipf("no aws-sigv4-proxy to compare with: %v; name its binary in AWS_SIGV4_PROXY", err)
		}
	}
	kib := make([]byte, 1<<10)
	c, standIn, session := startStandIn(b, func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Error(err)
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(kib)
		}
	})
	id, err := readIdentity(c.admin)
	if err != nil {
		b.Fatal(err)
	}
	mutual, err := id.TLSConfig()
	if err != nil {
		b.Fatal(err)
	}
	ours := pool(b, &http.Transport{DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: mutual}).DialContext(ctx, network, c.ports["proxy"])
	}})
	h1, h2 := startPeer(b, bin, c, standIn, "GODEBUG=http2client=0"), startPeer(b, bin, c, standIn)
	peer := pool(b, &http.Transport{})

	for _, method := range []string{http.MethodGet, http.MethodPut} {
		var body []byte
		if method == http.MethodPut {
			body = make([]byte, 64<<10)
		}
		request := func(url string) *http.Request {
			req, err := http.NewRequestWithContext(b.Context(), method, url, bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			return req
		}
		// Signed as the AWS CLI signs what it uploads over TLS. The proxy takes the
		// helper's word that it has verified it.
		signed := request("https://bucket.s3.us-east-1.amazonaws.com/key")
		signed.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		key := aws.Credentials{AccessKeyID: "POSTERNHELPER", SecretAccessKey: "worthless"}
		if err := v4.NewSigner().SignHTTP(b.Context(), key, signed, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
			b.Fatal(err)
		}
		signed.Header.Set("Postern-Session", session.SessionID)
		for _, kind := range []struct{ name, addr string }{{method, h1}, {method + "/h2", h2}} {
			plain := request("http://" + kind.addr + "/key")
			b.Run(kind.name, func(b *testing.B) {
				hammer(b, ours, signed, body, 8*peerConns)
				hammer(b, peer, plain, body, 8*peerConns)
				block := max(16*peerConns, b.N/8)
				var our, their time.Duration
				for left := b.N; left > 0; left -= block {
					our += hammer(b, ours, signed, body, min(block, left))
					their += hammer(b, peer, plain, body, min(block, left))
				}
				b.ReportMetric(float64(b.N)/our.Seconds(), "req/s")
				b.ReportMetric(float64(b.N)/their.Seconds(), "peer-req/s")
				b.ReportMetric(their.Seconds()/our.Seconds(), "ratio")
			})
		}
	}
}

func pool(b *testing.B, t *http.Transport) *http.Client {
	t.MaxIdleConnsPerHost, t.DisableCompression = peerConns, true
	b.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// startPeer runs aws-sigv4-proxy towards the stand-in and returns its address.
func startPeer(b *testing.B, bin string, c *cluster, standIn *ststest.AWS, env ...string) string {
	b.Helper()
	base, err := standIn.Base().Retrieve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	addr := freePort(b)
	cmd := exec.Command(bin, "--port", addr, "--name", "s3", "--region", "us-east-1",
		"--host", standIn.Link().Dial, "--sign-host", "bucket.s3.us-east-1.amazonaws.com")
	cmd.Env = append(append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(c.dir, "standin.pem"),
		"AWS_ACCESS_KEY_ID="+base.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+base.SecretAccessKey, "HTTPS_PROXY="), env...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		if time.Now().After(end) {
			b.Fatalf("%s does not listen: %v", bin, err)
		}
	}
}

// hammer sends n copies of a request over peerConns connections and returns how
// long that took.
func hammer(b *testing.B, c *http.Client, first *http.Request, body []byte, n int) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range peerConns {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				req := first.Clone(b.Context())
				req.Body = http.NoBody
				if len(body) > 0 {
					req.Body = io.NopCloser(bytes.NewReader(body))
				}
				resp, err := c.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err = errors.Join(err, notOK(resp, text)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func notOK(resp *http.Response, text []byte) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}
