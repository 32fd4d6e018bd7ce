package local_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/posternhq/postern/proxy/local"
)

// BenchmarkHelper is a client's requests through the helper, BenchmarkBare the
// same through an httputil.ReverseProxy over the same TLS links, which verifies
// nothing: read them side by side.
func BenchmarkHelper(b *testing.B) {
	benchmark(b, func(b *testing.B, p pki, upstream string) *http.Client {
		h := run(b, local.Config{ProxyAddr: upstream, ProxyTLS: p.client(), Sessions: []local.Session{{ID: "S"}}})
		env := h.Env()
		c := client(b, env, false)
		c.Transport = signing{b, env, c.Transport}
		return c
	})
}

func BenchmarkBare(b *testing.B) {
	benchmark(b, func(b *testing.B, p pki, upstream string) *http.Client {
		tr := &http.Transport{TLSClientConfig: p.client(), MaxIdleConnsPerHost: 64}
		b.Cleanup(tr.CloseIdleConnections)
		bare := httptest.NewTLSServer(&httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: upstream})
		}})
		b.Cleanup(bare.Close)
		own := bare.Client().Transport.(*http.Transport).Clone()
		b.Cleanup(own.CloseIdleConnections)
		own.MaxIdleConnsPerHost = 64
		return &http.Client{Transport: to{bare.URL, own}}
	})
}

// signing sends requests signed once each before the clock runs: clients pay
// for signing, not the helper.
type signing struct {
	b    *testing.B
	env  []local.Var
	next http.RoundTripper
}

func (s signing) RoundTrip(r *http.Request) (*http.Response, error) { return s.next.RoundTrip(r) }

// to sends every request to one address.
type to struct {
	url  string
	next http.RoundTripper
}

func (t to) RoundTrip(r *http.Request) (*http.Response, error) {
	u, err := url.Parse(t.url)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Host = u.Host
	return t.next.RoundTrip(r)
}

func benchmark(b *testing.B, client func(*testing.B, pki, string) *http.Client) {
	p := newPKI(b)
	small, large := make([]byte, 1<<10), make([]byte, 16<<20)
	s := standIn(b, p, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/small":
			_, _ = w.Write(small)
		case "/large":
			_, _ = w.Write(large)
		}
	})
	c := client(b, p, s.Listener.Addr().String())
	for _, call := range []struct {
		name, method, path string
		body               []byte
		bytes              int64
	}{
		{"GET1KiB", "GET", "/small", nil, 1 << 10},
		{"PUT64KiB", "PUT", "/", make([]byte, 64<<10), 64 << 10},
		{"GET16MiB", "GET", "/large", nil, 16 << 20},
		{"PUT16MiB", "PUT", "/", large, 16 << 20},
	} {
		first := request(b, call.method, "https://bucket.s3.eu-central-1.amazonaws.com"+call.path, bytes.NewReader(call.body))
		if s, ok := c.Transport.(signing); ok {
			sign(b, first, s.env, "s3", unsigned)
		}
		for _, parallel := range []int{1, 16} {
			b.Run(call.name+"/"+map[int]string{1: "1conn", 16: "32conns"}[parallel], func(b *testing.B) {
				b.SetBytes(call.bytes)
				b.ReportAllocs()
				one := func() {
					r := first.Clone(b.Context())
					r.Body = io.NopCloser(bytes.NewReader(call.body))
					resp, err := c.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					n, err := io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if err != nil || resp.StatusCode != 200 || call.method == "GET" && n != call.bytes {
						b.Errorf("%d, %d bytes, %v", resp.StatusCode, n, err)
					}
				}
				if parallel == 1 {
					for b.Loop() {
						one()
					}
					return
				}
				b.SetParallelism(parallel)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						one()
					}
				})
			})
		}
	}
}

// BenchmarkHandshake is what the first request to another host costs: CONNECT,
// a certificate made on the fly, TLS.
func BenchmarkHandshake(b *testing.B) {
	h := pair(b, func(http.ResponseWriter, *http.Request) {})
	env := h.Env()
	for b.Loop() {
		c := client(b, env, false)
		c.Transport.(*http.Transport).TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		resp, _ := do(b, c, sign(b, request(b, "GET", "https://s3.eu-central-1.amazonaws.com/b/k", nil), env, "s3", emptyHash))
		if resp.StatusCode != 200 {
			b.Fatal(resp.Status)
		}
		c.CloseIdleConnections()
	}
}
