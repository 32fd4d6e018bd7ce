package joining

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/posternhq/postern/events"
)

// How the keys of clusters are fetched.
const (
	// keysAge is how long a key counts that the cluster no longer shows. A key that
	// is not known is asked for at once.
	keysAge     = 10 * time.Minute
	keysTimeout = 10 * time.Second
	keysBytes   = 1 << 20
)

// Clusters knows the keys of Kubernetes clusters. The zero value is ready for
// use, by several goroutines at once.
type Clusters struct {
	mu   sync.Mutex
	sets map[keysAt]*keySet
}

// keysAt is where a cluster shows its keys: at url or, if that is empty, where
// the discovery document of the issuer says.
type keysAt struct{ url, issuer, ca string }

type keySet struct {
	oidc.KeySet
	since time.Time
}

// keys returns the key set of a cluster that shows it by HTTPS.
func (c *Clusters) keys(ctx context.Context, k events.JoinKubernetes, now time.Time) (oidc.KeySet, error) {
	at := keysAt{k.JWKSURL, "", k.CA}
	if at.url == "" {
		at.issuer = k.Issuer
	}
	c.mu.Lock()
	s := c.sets[at]
	c.mu.Unlock()
	if s != nil && now.Sub(s.since) < keysAge {
		return s, nil
	}
	client, err := keysClient(k.CA)
	if err != nil {
		return nil, err
	}
	// The set outlives this call; every fetch has the client's own timeout.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), client)
	url := at.url
	if url == "" {
		p, err := oidc.NewProvider(ctx, at.issuer)
		if err != nil {
			return nil, fmt.Errorf("the cluster's issuer: %w", err)
		}
		var doc struct {
			URL string `json:"jwks_uri"`
		}
		if err := p.Claims(&doc); err != nil {
			return nil, fmt.Errorf("the discovery document of %s: %w", at.issuer, err)
		}
		url = doc.URL
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sets == nil {
		c.sets = map[keysAt]*keySet{}
	}
	for other, s := range c.sets {
		if now.Sub(s.since) >= keysAge {
			delete(c.sets, other)
		}
	}
	c.sets[at] = &keySet{oidc.NewRemoteKeySet(ctx, url), now}
	return c.sets[at], nil
}

// keysClient fetches by HTTPS alone, from where it is told and nowhere else. ca
// is PEM of what is trusted for it, "" the system's roots.
func keysClient(ca string) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("the cluster's CA: no certificate in PEM")
		}
	}
	return &http.Client{
		Timeout:       keysTimeout,
		Transport:     bounded{&http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, DisableKeepAlives: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// bounded refuses what is not HTTPS, and reads no more than keysBytes.
type bounded struct{ *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s is not HTTPS", r.URL.Redacted())
	}
	resp, err := b.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, keysBytes), resp.Body}
	}
	return resp, err
}
