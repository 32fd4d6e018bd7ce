package broker

import (
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

const secret = "a password for tests"

func login(t *testing.T, b *Broker, user, password, ttl string) (*tls.Config, api.Certificate, error) {
	t.Helper()
	key, csr := newCSR(t, elliptic.P256())
	out, err := stranger(t, b).Login(t.Context(), api.Login{User: user, Password: password, CSR: csr, TTL: ttl})
	if err != nil {
		return nil, out, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := api.Identity{KeyPEM: pemOf("PRIVATE KEY", der), CertPEM: []byte(out.Certificate), CAPEM: []byte(out.CA)}
	cfg, err := id.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	return cfg, out, nil
}

func TestLogin(t *testing.T) {
	b, j, clk := demoBroker(t)
	ctx := t.Context()
	if err := b.SetPassword(ctx, "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	cfg, cert, err := login(t, b, "alice", secret, "")
	if err != nil {
		t.Fatal(err)
	}
	// Eight hours by her role, not the twelve of the default.
	if want := clk.now().Add(8 * time.Hour); !cert.ExpiresAt.Equal(want) || cert.ProxyAddr != "127.0.0.1:3081" {
		t.Errorf("certificate: %+v, want an end at %s", cert, want)
	}
	alice := dial(t, b, cfg)
	st, err := alice.Status(ctx)
	if err != nil || st.User != "alice" || !st.ExpiresAt.Equal(cert.ExpiresAt) || st.AuditorAddr != "127.0.0.1:3082" {
		t.Errorf("status: %+v, %v", st, err)
	}
	if _, short, err := login(t, b, "alice", secret, "1h"); err != nil || !short.ExpiresAt.Equal(clk.now().Add(time.Hour)) {
		t.Errorf("an hour asked: %+v, %v", short, err)
	}

	_, _, wrong := login(t, b, "alice", "not the password", "")
	_, _, unknown := login(t, b, "mallory", secret, "")
	if code(wrong) != api.CodeUnauthenticated || unknown == nil || wrong.Error() != unknown.Error() {
		t.Errorf("a wrong password says %v, an unknown user %v", wrong, unknown)
	}
	es := history(t, j)
	failed := find[*events.SigninFailed](es)
	if len(failed) != 2 || failed[0].Reason != "wrong password" || failed[1].Reason != "no such user" || failed[1].ClientAddr != "127.0.0.1" {
		t.Errorf("failed sign-ins: %+v", failed)
	}
	ok := find[*events.SigninSucceeded](es)
	if len(ok) != 2 || ok[0].User != "alice" || ok[0].Method != "password" || ok[0].CertificateSerial == "" {
		t.Errorf("sign-ins: %+v", ok)
	}
	for _, e := range es {
		if strings.Contains(string(e.Raw), secret) || strings.Contains(string(e.Raw), "argon2") {
			t.Errorf("a secret in the stream: %s", e.Raw)
		}
	}

	// The certificate's end is noticed on a connection that is open already.
	clk.advance(8*time.Hour + time.Second)
	if _, err := alice.Status(ctx); code(err) != api.CodeUnauthenticated || !strings.Contains(err.Error(), "expired") || !strings.Contains(err.Error(), "postern login") {
		t.Errorf("with an expired certificate: %v", err)
	}
}

func TestLoginThrottled(t *testing.T) {
	b, _, clk := demoBroker(t)
	if err := b.SetPassword(t.Context(), "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, _, err := login(t, b, "alice", "guess guess", ""); code(err) != api.CodeUnauthenticated {
			t.Fatal(err)
		}
	}
	if _, _, err := login(t, b, "alice", secret, ""); code(err) != api.CodeThrottled {
		t.Errorf("the right password after five wrong ones: %v", err)
	}
	clk.advance(time.Minute)
	if _, _, err := login(t, b, "alice", secret, ""); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

// Who guesses many times at once gets no further than one after the other: passwords,
// second factors, and what fills the history as an identity provider's answer.
func TestGuessesAtOnce(t *testing.T) {
	b, j, clk := demoBroker(t)
	enrol(t, b, clk, "alice")
	clk.advance(time.Minute)
	if err := b.SetPassword(t.Context(), "test", "bob", secret); err != nil {
		t.Fatal(err)
	}
	_, csr := newCSR(t, elliptic.P256())
	anybody := stranger(t, b)
	atOnce := func(try func(i int) error) (throttled int) {
		t.Helper()
		const tries = 12
		errs := make(chan error)
		for i := range tries {
			go func() { errs <- try(i) }()
		}
		for range tries {
			switch err := <-errs; code(err) {
			case api.CodeThrottled:
				throttled++
			case api.CodeUnauthenticated:
			default:
				t.Error(err)
			}
		}
		return throttled
	}
	recorded := func(method string) (n int) {
		for _, f := range find[*events.SigninFailed](history(t, j)) {
			if f.Method == method {
				n++
			}
		}
		return n
	}
	throttled := atOnce(func(i int) error {
		_, err := anybody.Login(t.Context(), api.Login{User: "alice", Password: secret, CSR: csr, TOTP: fmt.Sprintf("%06d", i)})
		return err
	})
	if n := recorded("totp"); n != 5 || throttled != 7 {
		t.Errorf("of 12 codes at once %d were tried and %d throttled", n, throttled)
	}
	throttled = atOnce(func(int) error {
		_, err := anybody.Login(t.Context(), api.Login{User: "bob", Password: "guess guess", CSR: csr})
		return err
	})
	if n := recorded("password"); n != 5 || throttled != 7 {
		t.Errorf("of 12 passwords at once %d were tried and %d throttled", n, throttled)
	}
	v := newVisitor(t, b)
	throttled = atOnce(func(int) error {
		resp, err := v.http.Get(v.base + "/v1/webapi/oidc/callback?code=x&state=y")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusTooManyRequests {
			return &api.Error{Code: api.CodeThrottled}
		}
		return &api.Error{Code: api.CodeUnauthenticated}
	})
	if n := recorded("oidc"); n != 5 || throttled != 7 {
		t.Errorf("of 12 stray answers at once %d were recorded and %d throttled", n, throttled)
	}
}

// Who guesses at several brokers in turn gets no further than at one.
func TestLoginThrottledEverywhere(t *testing.T) {
	nc, clk := eventstest.Connect(t), newClock()
	var bs []*Broker
	for range 3 {
		bs = append(bs, start(t, eventstest.Open(t, nc), clk))
	}
	if _, err := bs[0].Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	if err := bs[0].SetPassword(t.Context(), "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	same := func() { // all have read what the others recorded
		t.Helper()
		for _, b := range bs {
			last, err := b.cfg.Journal.Last(t.Context(), events.Access)
			if err == nil {
				err = b.ledger.reach(t.Context(), last)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 5 {
		same()
		if _, _, err := login(t, bs[i%len(bs)], "alice", "guess guess", ""); code(err) != api.CodeUnauthenticated {
			t.Fatal(err)
		}
	}
	same()
	for i, b := range bs {
		if _, _, err := login(t, b, "alice", secret, ""); code(err) != api.CodeThrottled {
			t.Errorf("broker %d takes the right password after five wrong ones: %v", i+1, err)
		}
	}
	clk.advance(time.Minute)
	if _, _, err := login(t, bs[1], "alice", secret, ""); err != nil {
		t.Fatalf("a minute later: %v", err)
	}
	same()
	for range 4 { // a sign-in at one ends the count at all
		if _, _, err := login(t, bs[2], "alice", "guess guess", ""); code(err) != api.CodeUnauthenticated {
			t.Fatal(err)
		}
	}
	if _, _, err := login(t, bs[2], "alice", secret, ""); err != nil {
		t.Errorf("after four more: %v", err)
	}
	// So it is for one that starts later.
	for range 5 {
		if _, _, err := login(t, bs[0], "alice", "guess guess", ""); code(err) != api.CodeUnauthenticated {
			t.Fatal(err)
		}
	}
	late := start(t, eventstest.Open(t, nc), clk)
	if _, _, err := login(t, late, "alice", secret, ""); code(err) != api.CodeThrottled {
		t.Errorf("one that starts later: %v", err)
	}
}

func TestLoginRefused(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx := t.Context()
	if err := b.SetPassword(ctx, "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	_, p384 := newCSR(t, elliptic.P384())
	_, good := newCSR(t, elliptic.P256())
	for name, c := range map[string]struct {
		in   api.Login
		want string
	}{
		"no CSR":       {api.Login{User: "alice", Password: secret}, "csr: want one"},
		"another key":  {api.Login{User: "alice", Password: secret, CSR: p384}, "P-256"},
		"no user":      {api.Login{Password: secret, CSR: good}, "user: a user needs a name"},
		"bad TTL":      {api.Login{User: "alice", Password: secret, CSR: good, TTL: "long"}, "ttl: \"long\" is not a duration"},
		"TTL of a bit": {api.Login{User: "alice", Password: secret, CSR: good, TTL: "5s"}, "lives a minute at least"},
	} {
		if _, err := stranger(t, b).Login(ctx, c.in); code(err) != api.CodeInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, short := range []string{"", "1234567"} {
		if err := b.SetPassword(ctx, "test", "alice", short); code(err) != api.CodeInvalid {
			t.Errorf("password %q: %v", short, err)
		}
	}
	if err := b.SetPassword(ctx, "test", "ghost", secret); code(err) != api.CodeNotFound {
		t.Errorf("password of nobody: %v", err)
	}
}

// Who has no second factor where one is required cannot add one: the next step is
// somebody else's.
func TestLoginWithoutFactor(t *testing.T) {
	b, _, _ := demoBroker(t)
	admin := as(t, b, "admin")
	if _, err := admin.Apply(t.Context(), "f", []byte("kind: cluster_settings\nspec: {second_factor: required}\n"), true); err != nil {
		t.Fatal(err)
	}
	if err := b.SetPassword(t.Context(), "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	_, _, err := login(t, b, "alice", secret, "")
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeNoFactor || e.Next != "ask whoever runs postern for a new link (postern users reset alice)" {
		t.Errorf("%v", err)
	}
}

// Of two who change the settings as they were before anybody did, the second is told.
func TestSettingsOfTwo(t *testing.T) {
	b, _, _ := demoBroker(t)
	admin := as(t, b, "admin")
	read, err := admin.ResourcesYAML(t.Context(), "cluster_settings", "cluster")
	if err != nil {
		t.Fatal(err)
	}
	change := func(to string) error {
		text := strings.Replace(string(read), "second_factor: optional", `second_factor: "`+to+`"`, 1)
		_, err := admin.Apply(t.Context(), "f", []byte(text), true)
		return err
	}
	if err := change("required"); err != nil {
		t.Fatal(err)
	}
	if err := change("off"); code(err) != api.CodeConflict {
		t.Errorf("%v, by\n%s", err, read)
	}
}

// Whom the broker no longer knows it refuses, however good the certificate.
func TestCertificateOfThePast(t *testing.T) {
	b, _, clk := demoBroker(t)
	ctx := t.Context()
	alice, admin := as(t, b, "alice"), as(t, b, "admin")
	if err := b.SetPassword(ctx, "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	s, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole"})
	if err != nil {
		t.Fatal(err)
	}
	disable := func(disabled string) {
		t.Helper()
		file := "kind: user\nmetadata: {name: alice}\nspec: {roles: [aws-reader], disabled: " + disabled + "}\n"
		if _, err := admin.Apply(ctx, "alice.yaml", []byte(file), true); err != nil {
			t.Fatal(err)
		}
	}
	disable("true")
	if _, err := alice.Status(ctx); code(err) != api.CodeDenied || !strings.Contains(err.Error(), "disabled") {
		t.Errorf("disabled: %v", err)
	}
	if _, _, err := login(t, b, "alice", secret, ""); code(err) != api.CodeDenied {
		t.Errorf("sign-in of a disabled user: %v", err)
	}
	if got := waitSession(t, b, s.ID, "ended"); !strings.Contains(got.EndReason, "disabled") {
		t.Errorf("the session: %+v", got)
	}
	disable("false")
	if _, err := alice.Status(ctx); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	if err := admin.DeleteResource(ctx, "user", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Status(ctx); code(err) != api.CodeDenied {
		t.Errorf("deleted: %v", err)
	}
	clk.advance(time.Minute)
	disable("false") // makes a new alice
	if _, err := alice.Status(ctx); code(err) != api.CodeUnauthenticated || !strings.Contains(err.Error(), "earlier user") {
		t.Errorf("the certificate of the alice before: %v", err)
	}
	if _, _, err := login(t, b, "alice", secret, ""); code(err) != api.CodeUnauthenticated {
		t.Errorf("the password of the alice before: %v", err)
	}
	if _, err := as(t, b, "alice").Status(ctx); err != nil {
		t.Errorf("a new certificate: %v", err)
	}
}

// A user may be made again in the second in which the one before signed in.
func TestCertificateOfANamesake(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx := t.Context()
	admin, alice := as(t, b, "admin"), as(t, b, "alice")
	if _, err := alice.Status(ctx); err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteResource(ctx, "user", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Apply(ctx, "f", []byte("kind: user\nmetadata: {name: alice}\nspec: {roles: [aws-reader]}\n"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Status(ctx); code(err) != api.CodeUnauthenticated || !strings.Contains(err.Error(), "earlier user") {
		t.Errorf("the certificate of the alice before: %v", err)
	}
	if _, err := as(t, b, "alice").Status(ctx); err != nil {
		t.Errorf("a new certificate: %v", err)
	}
}

// The code that a browser brought is of who signed in there, and no later user's of the name.
func TestCodeOfANamesake(t *testing.T) {
	b, _, _ := demoBroker(t)
	if err := b.SetPassword(t.Context(), "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	to, finish := beginAt(t, b, "")
	v := newVisitor(t, b)
	v.visit(to)
	v.submit("user", "alice", "password", secret)
	admin := as(t, b, "admin")
	if err := admin.DeleteResource(t.Context(), "user", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Apply(t.Context(), "f", []byte("kind: user\nmetadata: {name: alice}\nspec: {roles: [aws-reader]}\n"), false); err != nil {
		t.Fatal(err)
	}
	if cert, err := finish(v.code("12345")); code(err) != api.CodeDenied || !strings.Contains(err.Error(), "an earlier user of this name") {
		t.Errorf("%+v, %v", cert, err)
	}
}

// What an earlier user of a name asked for, and where they signed in, is not shown to a
// later one as their own.
func TestRequestsOfANamesake(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx := t.Context()
	admin, alice := as(t, b, "admin"), as(t, b, "alice")
	q, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}, Reason: "of the alice before"})
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteResource(ctx, "user", "alice"); err != nil {
		t.Fatal(err)
	}
	if all, err := admin.Signins(ctx, "alice"); err != nil || len(all) != 0 {
		t.Errorf("sign-ins of nobody: %+v, %v", all, err)
	}
	if _, err := admin.Apply(ctx, "f", []byte("kind: user\nmetadata: {name: alice}\nspec: {roles: [aws-reader]}\n"), false); err != nil {
		t.Fatal(err)
	}
	alice = as(t, b, "alice")
	if all, err := alice.Requests(ctx, ""); err != nil || len(all) != 0 {
		t.Errorf("her requests: %+v, %v", all, err)
	}
	if err := alice.DropRequest(ctx, q.ID); code(err) != api.CodeNotFound {
		t.Errorf("she drops one: %v", err)
	}
	if all, err := alice.Signins(ctx, ""); err != nil || len(all) != 1 || !all[0].Current {
		t.Errorf("her sign-ins: %+v, %v", all, err)
	}
	mine, err := alice.CreateRequest(ctx, api.CreateRequest{Roles: []string{"aws-engineer"}})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := alice.Requests(ctx, ""); err != nil || len(all) != 1 || all[0].ID != mine.ID {
		t.Errorf("her requests now: %+v, %v", all, err)
	}
	if all, err := admin.Requests(ctx, ""); err != nil || len(all) != 2 {
		t.Errorf("all requests: %d, %v", len(all), err)
	}
}

func TestStrangers(t *testing.T) {
	b, _, _ := demoBroker(t)
	ctx := t.Context()
	other := start(t, eventstest.Journal(t), newClock()) // with a CA of its own
	if _, err := other.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	id, err := other.IssueIdentity(ctx, "admin", 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := id.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg.RootCAs.AppendCertsFromPEM(b.CAPEM())
	if _, err := dial(t, b, cfg).Status(ctx); code(err) != api.CodeUnauthenticated {
		t.Errorf("a certificate of another CA: %v", err)
	}
	if _, err := stranger(t, b).Status(ctx); code(err) != api.CodeUnauthenticated {
		t.Errorf("no certificate: %v", err)
	}
	ca, err := stranger(t, b).CA(ctx)
	if err != nil || ca.CA != string(b.CAPEM()) || len(ca.SHA256) != 64 {
		t.Errorf("ca: %+v, %v", ca, err)
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12} // of no use: the server must refuse first
	if conn, err := tls.Dial("tcp", b.Addr(), old); err == nil {
		conn.Close()
		t.Error("TLS 1.2 is spoken")
	}
	server, _, err := b.Server([]string{"proxy.internal", "127.0.0.1"})()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CAPEM())
	if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "proxy.internal", CurrentTime: b.now()}); err != nil {
		t.Errorf("a server certificate: %v", err)
	}
	if _, err := b.IssueIdentity(ctx, "ghost", 0); err == nil {
		t.Error("an identity for nobody")
	}
}

// A broker that comes back has its CA, its passwords and its history.
func TestRestart(t *testing.T) {
	j, clk, dir := eventstest.Journal(t), newClock(), t.TempDir()
	first, stop := startIn(t, j, clk, dir)
	ctx := t.Context()
	if _, err := first.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	if err := first.SetPassword(ctx, "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	id, err := first.IssueIdentity(ctx, "alice", 0)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	second, _ := startIn(t, j, clk, dir)
	cfg, err := id.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	if st, err := dial(t, second, cfg).Status(ctx); err != nil || st.User != "alice" {
		t.Errorf("with the certificate of before: %+v, %v", st, err)
	}
	if _, _, err := login(t, second, "alice", secret, ""); err != nil {
		t.Errorf("with the password of before: %v", err)
	}
	again, err := second.Apply(ctx, "test", []byte(demo))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range again {
		if r.Verb != "unchanged" || r.Revision != 1 {
			t.Errorf("the same resources again: %+v", r)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(dir, f.Name())); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	j := eventstest.Journal(t)
	for want, cfg := range map[string]Config{
		"no store of shared secrets": {Listen: "127.0.0.1:0", Journal: j},
		"no journal":                 {Listen: "127.0.0.1:0", Secrets: secrets(t, j)},
		"no address":                 {Secrets: secrets(t, j), Journal: j},
		"listen: ":                   {Listen: "nowhere", Secrets: secrets(t, j), Journal: j},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Listen: "127.0.0.1:0", DataDir: dir, Journal: j, Secrets: secrets(t, j)}); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("a damaged CA: %v", err)
	}
}
