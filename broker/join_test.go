package broker

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// newcomer is a service that wants to join: its pinned client and its request.
func newcomer(t *testing.T, b *Broker, token, kind string) (*client.Client, *ecdsa.PrivateKey, api.Join) {
	t.Helper()
	cfg, err := client.Pinned(b.ca.Signing().Pin())
	if err != nil {
		t.Fatal(err)
	}
	key, csr := newCSR(t, elliptic.P256())
	name, secret, _ := strings.Cut(token, ".")
	return dial(t, b, cfg), key, api.Join{Token: name, Kind: kind, Agent: "p1", CSR: csr, Names: []string{"proxy.internal", "127.0.0.1"}, Secret: secret}
}

// shown is the TLS of a service with what it was given.
func shown(t *testing.T, key *ecdsa.PrivateKey, out api.Joined) *tls.Config {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair([]byte(out.Certificate), pemOf("PRIVATE KEY", der))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(out.CA))
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}
}

// A proxy that can't join tries for ever. People behind the same address sign in all the same.
func TestJoinsThrottleNobodyElse(t *testing.T) {
	b, _, clk := demoBroker(t)
	if err := b.SetPassword(t.Context(), "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	c, _, in := newcomer(t, b, "spent.secret", "proxy")
	for range 50 {
		if _, err := c.Join(t.Context(), in); code(err) != api.CodeDenied {
			t.Fatal(err)
		}
		b.throttle.Succeeded(joinAttempts, joinsFrom("127.0.0.1"), clk.now()) // as when another one joins
	}
	if _, _, err := login(t, b, "alice", secret, ""); err != nil {
		t.Errorf("alice, from there: %v", err)
	}
}

func TestJoinByToken(t *testing.T) {
	j, clk := eventstest.Journal(t), newClock()
	minted, broken := "", false
	b, _ := startIn(t, j, clk, "", func(c *Config) {
		c.PublicNames = []string{"postern.example.com"}
		c.Joining.NATS = func(kind, name string, ttl time.Duration) (api.NATSAccess, error) {
			if broken {
				return api.NATSAccess{}, errors.New("no credentials today")
			}
			minted = kind + " " + name + " " + ttl.String()
			return api.NATSAccess{Creds: "creds"}, nil
		}
	})
	ctx := t.Context()
	if _, err := b.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	admin := as(t, b, "admin")
	if _, err := as(t, b, "alice").NewToken(ctx, api.NewToken{Kinds: []string{"proxy"}}); code(err) != api.CodeDenied {
		t.Errorf("a token by alice: %v", err)
	}
	made, err := admin.NewToken(ctx, api.NewToken{Kinds: []string{"proxy"}, TTL: "1h", MaxUses: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, key, in := newcomer(t, b, made.Token, "proxy")
	for name, change := range map[string]func(*api.Join){
		"wrong secret":    func(in *api.Join) { in.Secret += "x" },
		"no secret":       func(in *api.Join) { in.Secret = "" },
		"another token":   func(in *api.Join) { in.Token = "nosuch" },
		"an auditor":      func(in *api.Join) { in.Kind = "auditor" },
		"another's proof": func(in *api.Join) { in.Secret, in.JWT = "", "x" },
		"the hash itself": func(in *api.Join) { in.Secret = hashSecret(in.Secret) },
	} {
		bad := in
		change(&bad)
		if _, err := c.Join(ctx, bad); code(err) != api.CodeDenied {
			t.Errorf("%s: %v", name, err)
		}
		clk.advance(10 * time.Second) // attempts are throttled
	}
	for name, change := range map[string]func(*api.Join){
		"the broker's name": func(in *api.Join) { in.Names = []string{"Postern.example.com"} },
		"a wildcard":        func(in *api.Join) { in.Names = []string{"*.example.com"} },
		"no name":           func(in *api.Join) { in.Names = nil },
		"a name to escape":  func(in *api.Join) { in.Agent = "../admin" },
		"a user":            func(in *api.Join) { in.Kind = "user" },
		"no key":            func(in *api.Join) { in.CSR = "" },
	} {
		bad := in
		change(&bad)
		if _, err := c.Join(ctx, bad); code(err) != api.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken = true
	if _, err := c.Join(ctx, in); err == nil || code(err) == api.CodeDenied {
		t.Errorf("without credentials for the streams: %v", err)
	}
	broken = false // the token's one use is not spent
	out, err := c.Join(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(minted, "proxy proxy-") || !strings.HasSuffix(minted, " 6h0m0s") || out.NATS == nil || out.NATS.Creds != "creds" {
		t.Errorf("credentials for the streams: %q, %+v", minted, out.NATS)
	}
	if !reflect.DeepEqual(out.TicketKeys, b.TicketKeys()) || len(out.TicketKeys) != 1 || len(out.TicketKeys[0]) != 32 {
		t.Errorf("a proxy is given %d ticket keys", len(out.TicketKeys))
	}
	if _, err := c.Join(ctx, in); code(err) != api.CodeDenied {
		t.Errorf("a second time: %v", err)
	}
	cfg := shown(t, key, out)
	agent := dial(t, b, cfg)
	if _, err := agent.Status(ctx); code(err) != api.CodeUnauthenticated {
		t.Errorf("as a user: %v", err)
	}
	_, csr := newCSR(t, elliptic.P256())
	clk.advance(3 * time.Hour)
	next, err := agent.Renew(ctx, api.Renew{CSR: csr, Names: []string{"127.0.0.1"}})
	if err != nil || !next.ExpiresAt.Equal(clk.now().Add(6*time.Hour)) {
		t.Fatalf("renewed until %s, %v", next.ExpiresAt, err)
	}
	if _, err := stranger(t, b).Renew(ctx, api.Renew{CSR: csr, Names: []string{"127.0.0.1"}}); code(err) != api.CodeUnauthenticated {
		t.Errorf("renewed by a stranger: %v", err)
	}
	if _, err := admin.Renew(ctx, api.Renew{CSR: csr, Names: []string{"127.0.0.1"}}); code(err) != api.CodeUnauthenticated {
		t.Errorf("renewed by a user: %v", err)
	}
	if _, err := admin.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "agent", Name: "p1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Renew(ctx, api.Renew{CSR: csr, Names: []string{"127.0.0.1"}}); code(err) != api.CodeLocked {
		t.Errorf("renewed under a lock: %v", err)
	}
	clk.advance(4 * time.Hour)
	if _, err := agent.Renew(ctx, api.Renew{CSR: csr, Names: []string{"127.0.0.1"}}); code(err) != api.CodeUnauthenticated {
		t.Errorf("renewed with an expired certificate: %v", err)
	}
	ts, err := admin.Tokens(ctx)
	if err != nil || len(ts) != 1 || ts[0].Uses != 1 || !strings.Contains(ts[0].Over, "expired") {
		t.Errorf("tokens %+v, %v", ts, err)
	}

	// The history tells all of it and holds no secret.
	h := history(t, j)
	if used, renewed := find[*events.TokenUsed](h), find[*events.AgentRenewed](h); len(used) != 1 || used[0].Agent != "p1" || len(renewed) != 1 {
		t.Errorf("used %+v, renewed %+v", used, renewed)
	}
	_, secret, _ := strings.Cut(made.Token, ".")
	for _, e := range h {
		if strings.Contains(string(e.Raw), secret) {
			t.Errorf("the secret stands in %s", e.Raw)
		}
	}
}

// A proxy's certificate, though of the same CA and for the broker's address,
// does not make it the broker; and a pin of another CA trusts nobody.
func TestWhoIsTheBroker(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx := t.Context()
	made, err := as(t, b, "admin").NewToken(ctx, api.NewToken{Kinds: []string{"proxy"}})
	if err != nil {
		t.Fatal(err)
	}
	c, key, in := newcomer(t, b, made.Token, "proxy")
	out, err := c.Join(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	cfg := shown(t, key, out)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: cfg.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); conn.Close() }()
		}
	}()
	posing, err := client.New("https://"+listener.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := posing.CA(ctx); err == nil || !strings.Contains(err.Error(), "not the broker") {
		t.Errorf("a proxy was taken for the broker: %v", err)
	}
	other, err := client.Pinned("sha256:" + strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, b, other).CA(ctx); err == nil || !strings.Contains(err.Error(), "does not have the pin") {
		t.Errorf("another pin: %v", err)
	}
	for _, bad := range []string{"", "sha256:", "sha256:ab", "md5:" + strings.Repeat("ab", 32)} {
		if _, err := client.Pinned(bad); err == nil {
			t.Errorf("%q was taken for a pin", bad)
		}
	}
}

// Of many that join with one token for one, at several brokers at once, one gets in.
func TestJoinOnce(t *testing.T) {
	nc, clk := eventstest.Connect(t), newClock()
	const brokers, each = 3, 4
	var bs []*Broker
	for range brokers {
		bs = append(bs, start(t, eventstest.Open(t, nc), clk))
	}
	ctx := t.Context()
	if _, err := bs[0].Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	made, err := as(t, bs[0], "admin").NewToken(ctx, api.NewToken{Kinds: []string{"proxy"}, MaxUses: 1})
	if err != nil {
		t.Fatal(err)
	}
	last, err := bs[0].cfg.Journal.Last(ctx, events.Access)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	results := map[string]int{}
	var wg sync.WaitGroup
	for _, b := range bs {
		if err := b.ledger.reach(ctx, last); err != nil {
			t.Fatal(err)
		}
		for range each {
			c, _, in := newcomer(t, b, made.Token, "proxy")
			wg.Go(func() {
				_, err := c.Join(ctx, in)
				mu.Lock()
				defer mu.Unlock()
				results[code(err)]++
			})
		}
	}
	wg.Wait()
	if results[""] != 1 || results[api.CodeDenied] != brokers*each-1 {
		t.Errorf("%v", results)
	}
	if used := find[*events.TokenUsed](history(t, bs[0].cfg.Journal)); len(used) != 1 {
		t.Errorf("%d uses in the history", len(used))
	}
}

// A pod joins by its service account's JWT, as a file of the operator says.
func TestJoinByKubernetes(t *testing.T) {
	b, j, clk := demoBroker(t)
	ctx := t.Context()
	key, _ := newCSR(t, elliptic.P256())
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := "kind: token\nversion: v2\nmetadata: {name: pods}\nspec:\n  roles: [Proxy]\n  join_method: kubernetes\n" +
		"  kubernetes: {type: static_jwks, static_jwks: {jwks: '" + string(jwks) + "'}, audience: postern}\n  allow: [{service_account: 'postern:proxy'}]\n"
	if _, err := as(t, b, "admin").Apply(ctx, "token.yaml", []byte(file), false); err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k1"))
	if err != nil {
		t.Fatal(err)
	}
	token := func(subject string) string {
		text, err := jwt.Signed(signer).Claims(jwt.Claims{Subject: "system:serviceaccount:" + subject, Audience: jwt.Audience{"postern"},
			Expiry: jwt.NewNumericDate(clk.now().Add(time.Hour))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	c, _, in := newcomer(t, b, "pods", "proxy")
	in.JWT = token("postern:other")
	if _, err := c.Join(ctx, in); code(err) != api.CodeDenied {
		t.Errorf("another service account: %v", err)
	}
	in.JWT = token("postern:proxy")
	if _, err := c.Join(ctx, in); err != nil {
		t.Fatal(err)
	}
	if used := find[*events.TokenUsed](history(t, j)); len(used) != 1 || used[0].Principal != "postern:proxy" {
		t.Errorf("used %+v", used)
	}
	in.JWT = base64.RawURLEncoding.EncodeToString([]byte("x"))
	if _, err := c.Join(ctx, in); code(err) != api.CodeDenied {
		t.Errorf("no JWT: %v", err)
	}
}

// The CA is rotated at one broker; both serve all the time, by the new one in
// the end, and what the old one signed is refused.
func TestRotateCA(t *testing.T) {
	nc, clk := eventstest.Connect(t), newClock()
	one, two := start(t, eventstest.Open(t, nc), clk), start(t, eventstest.Open(t, nc), clk)
	ctx := t.Context()
	if _, err := one.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	admin := as(t, one, "admin")
	former := as(t, one, "alice")
	if _, err := former.RotateCA(ctx, api.RotateCA{}); code(err) != api.CodeDenied {
		t.Errorf("rotated by alice: %v", err)
	}
	if _, err := admin.RotateCA(ctx, api.RotateCA{From: "wherever", Force: true}); code(err) != api.CodeInvalid {
		t.Errorf("from no phase: %v", err)
	}
	phases := []string{"introduced", "switched", "steady"}
	byFormerPin, err := client.Pinned(one.ca.Signing().Pin())
	if err != nil {
		t.Fatal(err)
	}
	old := one.TicketKeys()
	if len(old) != 1 {
		t.Fatalf("%d ticket keys", len(old))
	}
	var next []byte
	for i, want := range phases {
		if i > 0 {
			if _, err := admin.RotateCA(ctx, api.RotateCA{}); code(err) != api.CodeConflict || strings.Contains(err.Error(), "--force") {
				t.Errorf("%s at once: %v", want, err)
			}
		}
		from := "steady"
		if i > 0 {
			from = phases[i-1]
		}
		ca, err := admin.RotateCA(ctx, api.RotateCA{From: from, Force: true})
		if err != nil || ca.Phase != want {
			t.Fatalf("%+v, %v", ca, err)
		}
		for _, b := range []*Broker{one, two} {
			for got := (api.CA{}); got.CA != ca.CA; { // the other one's Follow is told by the store
				if got, err = stranger(t, b).CA(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want == "switched" {
			admin = as(t, two, "admin")
		}
		// Who asks for the same step again, at any broker, does not get the next one.
		for _, b := range []*Broker{one, two} {
			if _, err := as(t, b, "admin").RotateCA(ctx, api.RotateCA{From: from, Force: true}); code(err) != api.CodeConflict || !strings.Contains(err.Error(), "the CA is "+want) {
				t.Errorf("%s again: %v", want, err)
			}
		}
		// Proxies know the next key before it seals, and the former one after.
		keys := one.TicketKeys()
		switch {
		case !reflect.DeepEqual(keys, two.TicketKeys()):
			t.Errorf("%s: two brokers give different ticket keys", want)
		case want == "introduced" && len(keys) == 2 && bytes.Equal(keys[0], old[0]) && !bytes.Equal(keys[1], old[0]):
			next = keys[1]
		case want == "switched" && len(keys) == 2 && bytes.Equal(keys[0], next) && bytes.Equal(keys[1], old[0]):
		case want == "steady" && len(keys) == 1 && bytes.Equal(keys[0], next):
		default:
			t.Errorf("%s: %d ticket keys, in the wrong places", want, len(keys))
		}
		for name, b := range map[string]*Broker{"one": one, "two": two} {
			if _, err := as(t, b, "bob").Status(ctx); err != nil {
				t.Errorf("%s, %s: a new certificate: %v", want, name, err)
			}
		}
		// The former CA vouches for the new one, to who has nothing but its pin as well.
		if _, err := dial(t, one, byFormerPin).CA(ctx); (err == nil) != (want != "steady") {
			t.Errorf("%s: by the former CA's pin: %v", want, err)
		}
		if _, err := former.Status(ctx); (err == nil) != (want != "steady") {
			t.Errorf("%s: a certificate of before: %v", want, err)
		}
	}
	if rotated := find[*events.CARotated](history(t, one.cfg.Journal)); len(rotated) != 3 || rotated[0].By != "admin" {
		t.Errorf("history: %+v", rotated)
	}
	// However soon one stops and another starts, who knows the new CA alone believes
	// in what was signed under the former one.
	if _, err := as(t, start(t, eventstest.Open(t, nc), clk), "alice").Status(ctx); err != nil {
		t.Errorf("a broker that starts afterwards: %v", err)
	}
}
