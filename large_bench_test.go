package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/posternhq/postern/proxy/sts"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// large is the greatest object that S3 takes in one PUT, in bytes
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html).
const large = 5 << 30

// BenchmarkLargeObject puts and gets 5 GiB through a helper and a proxy, each a
// process of its own, and through as many bare reverse proxies over the same TLS
// links, in turns, with one stand-in for S3 that takes and makes bytes as fast as
// it can. The bare ones are processes too, as data that crosses to another process
// costs more than within one: "ratio" is against those. "ratio-one-process" is
// against bare ones within the client's process, the stand-in's too, which nobody
// could run. It reports the peak memory of helper and proxy in MiB.
func BenchmarkLargeObject(b *testing.B) {
	c, standIn, _ := startStandIn(b, serveLarge)
	helper, env := c.helper(b)
	roots, err := sts.RootsWith(env["AWS_CA_BUNDLE"])
	if err != nil {
		b.Fatal(err)
	}
	through, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil {
		b.Fatal(err)
	}
	ours := &largeClient{b: b, url: "https://bucket.s3.us-east-1.amazonaws.com/large",
		key:  aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]},
		http: &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(through), TLSClientConfig: &tls.Config{RootCAs: roots}}}}
	bare, within := bareChain(b, standIn, c.env), bareWithin(b, standIn)

	for _, method := range []string{http.MethodPut, http.MethodGet} {
		b.Run(method, func(b *testing.B) {
			var our, their, inner time.Duration
			for b.Loop() {
				our += ours.do(method)
				their += bare.do(method)
				inner += within.do(method)
			}
			b.ReportMetric(float64(b.N)*large/(1<<20)/our.Seconds(), "MiB/s")
			b.ReportMetric(float64(b.N)*large/(1<<20)/their.Seconds(), "bare-MiB/s")
			b.ReportMetric(their.Seconds()/our.Seconds(), "ratio")
			b.ReportMetric(inner.Seconds()/our.Seconds(), "ratio-one-process")
			b.ReportMetric(float64(peakRSS(c.procs["proxy"].Process.Pid)), "proxy-RSS-MiB")
			b.ReportMetric(float64(peakRSS(helper)), "helper-RSS-MiB")
		})
	}
}

// startStandIn runs a broker with NATS and a proxy, each a process of its own, with
// a stand-in for AWS that checks no signatures, and starts a session on it.
func startStandIn(b *testing.B, serve func(http.ResponseWriter, *http.Request, ststest.Key)) (*cluster, *ststest.AWS, appSession) {
	b.Helper()
	c := startCluster(b, plainBinary(b))
	c.stop("auditor")
	c.stop("proxy")
	standIn := ststest.Start(b)
	standIn.Lax, standIn.Serve = true, serve
	base, err := standIn.Base().Retrieve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	c.write("aws-credentials", fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", base.AccessKeyID, base.SecretAccessKey))
	c.write("standin.pem", standIn.CA())
	config, err := os.ReadFile(filepath.Join(c.dir, "proxy.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	c.write("proxy.yaml", []byte(strings.NewReplacer(c.sim.Addr(), standIn.Link().Dial, c.sim.CAFile(), filepath.Join(c.dir, "standin.pem")).Replace(string(config))))
	c.start("proxy")

	c.write("load.yaml", []byte(loadResources))
	var session appSession
	for _, args := range [][]string{{"create", "--force", "-f", filepath.Join(c.dir, "load.yaml")}, {"apps", "login", "--format=json", "load"}} {
		out, err := c.postern(b.Context(), args...)
		if err == nil && args[0] == "apps" {
			err = json.Unmarshal([]byte(out), &session)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return c, standIn, session
}

// helper runs `postern proxy aws` and returns its process id and the environment
// that it prints.
func (c *cluster) helper(t testing.TB) (pid int, env map[string]string) {
	t.Helper()
	cmd := exec.Command(c.bin, "proxy", "aws", "--app", "load", "--format=json")
	cmd.Env, cmd.Stderr = append(c.env, "POSTERN_IDENTITY="+c.admin), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	if err := json.NewDecoder(out).Decode(&env); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, env
}

// serveLarge stands for S3.
func serveLarge(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Length", fmt.Sprint(large))
		_, _ = io.Copy(w, io.LimitReader(zeros{}, large))
		return
	}
	if n, err := io.Copy(io.Discard, r.Body); n != large {
		http.Error(w, fmt.Sprintf("%d bytes, %v", n, err), http.StatusBadRequest)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// bareChain is a client of two reverse proxies that do nothing else, one behind
// the other as helper and proxy are, each a process of its own.
func bareChain(b *testing.B, standIn *ststest.AWS, env []string) *largeClient {
	b.Helper()
	// The certificate of httptest is the same everywhere.
	local := httptest.NewTLSServer(nil)
	b.Cleanup(local.Close)
	dir := b.TempDir()
	write := func(name string, pem []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem, 0o600); err != nil {
			b.Fatal(err)
		}
		return file
	}
	hop := func(dial, host, ca string) (addr string) {
		cmd := exec.Command(bareHopCommand, dial, host, ca)
		cmd.Env, cmd.Stderr = env, os.Stderr
		stdin, err := cmd.StdinPipe() // its end is the end of the process
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = stdin.Close()
			_ = cmd.Wait()
		})
		if _, err := fmt.Fscan(out, &addr); err != nil {
			b.Fatal(err)
		}
		return addr
	}
	far := hop(standIn.Link().Dial, "bucket.s3.us-east-1.amazonaws.com", write("standin.pem", standIn.CA()))
	near := hop(far, far, write("local.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: local.Certificate().Raw})))
	return &largeClient{b: b, url: "https://" + near + "/large", http: local.Client()}
}

// bareHopCommand is the name by which the test binary is a bare reverse proxy.
const bareHopCommand = "bare-hop"

// bareHop is a process that does nothing but to pass requests on to a host at an
// address, over TLS that trusts the authority in a file: bare-hop DIAL HOST CAFILE.
// It prints where it listens, and ends with its standard input.
func bareHop() {
	dial, host, ca := os.Args[1], os.Args[2], os.Args[3]
	roots, err := sts.RootsWith(ca)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	up := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{}}
	sts.Link{Dial: dial, RootCAs: roots}.Apply(up)
	srv := bareServer(host, up)
	fmt.Println(srv.Listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	srv.Close()
}

// bareWithin is bareChain within this process.
func bareWithin(b *testing.B, standIn *ststest.AWS) *largeClient {
	b.Helper()
	up := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{}}
	standIn.Link().Apply(up)
	far := bareServer("bucket.s3.us-east-1.amazonaws.com", up)
	b.Cleanup(far.Close)
	near := bareServer(far.Listener.Addr().String(), far.Client().Transport.(*http.Transport))
	b.Cleanup(near.Close)
	return &largeClient{b: b, url: near.URL + "/large", http: near.Client()}
}

func bareServer(to string, transport *http.Transport) *httptest.Server {
	srv := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = "https", to, to
		},
	})
	srv.StartTLS()
	return srv
}

// largeClient moves the object.
type largeClient struct {
	b    *testing.B
	url  string
	key  aws.Credentials // signs if it has an id
	http *http.Client
}

func (c *largeClient) do(method string) time.Duration {
	c.b.Helper()
	ctx, cancel := context.WithTimeout(c.b.Context(), 10*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url, nil)
	if err != nil {
		c.b.Fatal(err)
	}
	if method == http.MethodPut {
		req.Body, req.ContentLength = io.NopCloser(io.LimitReader(zeros{}, large)), large
	}
	if c.key.AccessKeyID != "" {
		req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		if err := v4.NewSigner().SignHTTP(ctx, c.key, req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
			c.b.Fatal(err)
		}
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		c.b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || method == http.MethodGet && n != large {
		c.b.Fatalf("%s: %s, %d bytes, %v", method, resp.Status, n, err)
	}
	return time.Since(start)
}
