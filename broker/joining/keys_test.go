package joining_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/posternhq/postern/broker/joining"
	"github.com/posternhq/postern/events"
)

// cluster shows its keys as a Kubernetes API server does, by HTTPS.
type cluster struct {
	t       *testing.T
	server  *httptest.Server
	key     atomic.Pointer[ecdsa.PrivateKey] // that it signs with and shows
	asked   atomic.Int64
	issuer  string // that the discovery document names
	forward string // where it sends who asks for keys
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	c.rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /openid/v1/jwks", func(w http.ResponseWriter, r *http.Request) {
		c.asked.Add(1)
		if c.forward != "" {
			http.Redirect(w, r, c.forward, http.StatusFound)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: c.key.Load().Public(), KeyID: c.id(), Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": c.issuer, "jwks_uri": c.server.URL + "/openid/v1/jwks",
			"authorization_endpoint": "urn:kubernetes:programmatic_authorization", "token_endpoint": "", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	c.server = httptest.NewTLSServer(mux)
	t.Cleanup(c.server.Close)
	c.issuer = c.server.URL
	return c
}

func (c *cluster) id() string { return c.key.Load().X.Text(62)[:8] }

// rotate has another key.
func (c *cluster) rotate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	c.key.Store(key)
}

func (c *cluster) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw}))
}

// token is a pod's, signed with the key of now.
func (c *cluster) token(now time.Time) string {
	c.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: c.key.Load()}, (&jose.SignerOptions{}).WithHeader("kid", c.id()))
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(jwt.Claims{Issuer: c.server.URL, Subject: "system:serviceaccount:ns:proxy", Audience: jwt.Audience{"postern"},
		Expiry: jwt.NewNumericDate(now.Add(time.Hour))}).Serialize()
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

func TestClusterKeys(t *testing.T) {
	for name, of := range map[string]func(c *cluster) events.JoinKubernetes{
		"by their address": func(c *cluster) events.JoinKubernetes {
			return events.JoinKubernetes{JWKSURL: c.server.URL + "/openid/v1/jwks", CA: c.ca(), Audience: "postern"}
		},
		"by the issuer": func(c *cluster) events.JoinKubernetes {
			return events.JoinKubernetes{Issuer: c.server.URL, CA: c.ca(), Audience: "postern"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t)
			k, now := of(c), at
			var clusters joining.Clusters
			verify := func(token string) error {
				p, err := clusters.Verify(t.Context(), k, token, now)
				if err == nil && p.ServiceAccount != "ns:proxy" {
					t.Errorf("taken for %+v", p)
				}
				return err
			}
			old := c.token(now)
			for range 3 {
				if err := verify(old); err != nil {
					t.Fatal(err)
				}
			}
			if n := c.asked.Load(); n != 1 {
				t.Errorf("asked %d times for keys that it has", n)
			}
			c.rotate()
			err := verify(c.token(now))
			for tries := 1; err != nil && tries < 100; tries++ { // a fetch that has just ended is taken for one under way
				err = verify(c.token(now))
			}
			if err != nil {
				t.Errorf("a key that is new: %v", err)
			}
			now = now.Add(10 * time.Minute)
			refused(t, "a key that was taken away", verify(old), "none of the keys")
			fresh := c.token(now)
			if err := verify(fresh); err != nil {
				t.Error(err)
			}
			now = now.Add(10 * time.Minute)
			c.server.Close()
			if err := verify(fresh); err == nil {
				t.Error("taken, though nobody can tell whether the key still counts")
			}
		})
	}
}

func TestClusterKeysRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*cluster, *events.JoinKubernetes)
		want   string
	}{
		"a server of another CA":  {func(_ *cluster, k *events.JoinKubernetes) { k.CA = "" }, "x509"},
		"no CA at all":            {func(_ *cluster, k *events.JoinKubernetes) { k.CA = "x" }, "no certificate in PEM"},
		"not HTTPS":               {func(_ *cluster, k *events.JoinKubernetes) { k.JWKSURL = strings.Replace(k.JWKSURL, "https", "http", 1) }, "not HTTPS"},
		"a way to somewhere else": {func(c *cluster, _ *events.JoinKubernetes) { c.forward = c.server.URL + "/other" }, "302"},
		"another issuer's document": {func(c *cluster, k *events.JoinKubernetes) {
			c.issuer, k.JWKSURL, k.Issuer = "https://other", "", c.server.URL
		}, "issuer"},
		"an issuer that is not there": {func(c *cluster, k *events.JoinKubernetes) { k.JWKSURL, k.Issuer = "", c.server.URL+"/nowhere" }, "404"},
		"a token of another issuer":   {func(_ *cluster, k *events.JoinKubernetes) { k.Issuer = "https://other" }, "iss"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := startCluster(t)
			k := events.JoinKubernetes{JWKSURL: cl.server.URL + "/openid/v1/jwks", CA: cl.ca(), Audience: "postern"}
			c.change(cl, &k)
			_, err := new(joining.Clusters).Verify(t.Context(), k, cl.token(at), at)
			refused(t, name, err, c.want)
		})
	}
}
