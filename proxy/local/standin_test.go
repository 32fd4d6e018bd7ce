package local_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/posternhq/postern/proxy/local"
)

// pki is a CA with a certificate for the proxy and one for a user.
type pki struct {
	roots        *x509.CertPool
	server, user tls.Certificate
}

func newPKI(t testing.TB) pki {
	t.Helper()
	caKey, ca := issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	root, err := x509.ParseCertificate(ca.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	p := pki{roots: x509.NewCertPool()}
	p.roots.AddCert(root)
	_, p.server = issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, root, caKey)
	_, p.user = issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, root, caKey)
	return p
}

func issue(t testing.TB, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (p pki) client() *tls.Config {
	return &tls.Config{RootCAs: p.roots, Certificates: []tls.Certificate{p.user}}
}

// standIn is a server with the proxy's TLS and a handler of the test's.
func standIn(t testing.TB, p pki, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.roots}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// run starts a helper and stops it with the test.
func run(t testing.TB, c local.Config) *local.Helper {
	t.Helper()
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "local")
	}
	h, err := local.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	select {
	case <-h.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// pair is a stand-in behind a helper with one session.
func pair(t testing.TB, handler http.HandlerFunc, change ...func(*local.Config)) *local.Helper {
	t.Helper()
	p := newPKI(t)
	s := standIn(t, p, handler)
	cfg := local.Config{ProxyAddr: s.Listener.Addr().String(), ProxyTLS: p.client(),
		Sessions: []local.Session{{ID: "01K0SESSION1", App: "awsconsole", Region: "eu-central-1"}}}
	for _, f := range change {
		f(&cfg)
	}
	return run(t, cfg)
}

func value(t testing.TB, vars []local.Var, name string) string {
	t.Helper()
	for _, v := range vars {
		if v.Name == name {
			return v.Value
		}
	}
	t.Fatalf("no %s in the environment", name)
	return ""
}

// client speaks through the helper as its environment says.
func client(t testing.TB, vars []local.Var, http2 bool) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(value(t, vars, "AWS_CA_BUNDLE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	proxy, err := url.Parse(value(t, vars, "HTTPS_PROXY"))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: http2, DisableCompression: true, ExpectContinueTimeout: time.Hour, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// sign signs with the credentials of vars, as the SDK does.
func sign(t testing.TB, r *http.Request, vars []local.Var, service, hash string) *http.Request {
	t.Helper()
	c := aws.Credentials{AccessKeyID: value(t, vars, "AWS_ACCESS_KEY_ID"), SecretAccessKey: value(t, vars, "AWS_SECRET_ACCESS_KEY")}
	if hash != "" && service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	err := v4.NewSigner().SignHTTP(r.Context(), c, r, hash, service, "eu-central-1", time.Now(), func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = service == "s3"
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t testing.TB, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// seen collects what reached the stand-in.
type seen struct {
	mu   sync.Mutex
	list []string
}

func (s *seen) add(v ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, strings.Join(v, " "))
}

func (s *seen) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.list
	s.list = nil
	return l
}
