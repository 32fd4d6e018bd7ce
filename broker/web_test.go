package broker

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity/mfa"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// visitor is a browser without JavaScript. It stops where it would leave the broker.
type visitor struct {
	t    *testing.T
	http *http.Client
	base string
	// page is what it sees, status how it was answered, away where it was sent.
	page   string
	status int
	away   *url.URL
}

func newVisitor(t *testing.T, b *Broker) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CAPEM())
	v := &visitor{t: t, base: "https://localhost:" + portOf(b.Addr())}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(tr.CloseIdleConnections)
	v.http = &http.Client{Jar: jar, Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return v
}

func (v *visitor) do(method, to string, form url.Values) {
	v.t.Helper()
	if strings.HasPrefix(to, "/") {
		to = v.base + to
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	v.read(resp)
	if v.away != nil {
		return
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || resp.Header.Get("Cache-Control") != "no-store" {
		v.t.Errorf("%s: a page with the policy %q", to, csp)
	}
}

func (v *visitor) read(resp *http.Response) {
	v.t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.page, v.status, v.away = string(body), resp.StatusCode, nil
	if resp.StatusCode == http.StatusSeeOther || resp.StatusCode == http.StatusFound {
		if v.away, err = resp.Location(); err != nil {
			v.t.Fatal(err)
		}
	}
}

func (v *visitor) visit(to string) { v.t.Helper(); v.do("GET", to, nil) }

var (
	hiddenForm = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)
	actionForm = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
	secretForm = regexp.MustCompile(`<code class="secret">([A-Z2-7]+)</code>`)
)

// submit sends the page's form with what a person fills in, name by name.
func (v *visitor) submit(filled ...string) {
	v.t.Helper()
	action := actionForm.FindStringSubmatch(v.page)
	if action == nil {
		v.t.Fatalf("no form on this page (%d):\n%s", v.status, v.page)
	}
	form := url.Values{}
	for _, m := range hiddenForm.FindAllStringSubmatch(v.page, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	for i := 0; i < len(filled); i += 2 {
		form.Set(filled[i], filled[i+1])
	}
	v.do("POST", action[1], form)
}

// secret is what the page offers to an authenticator app.
func (v *visitor) secret() []byte {
	v.t.Helper()
	m := secretForm.FindStringSubmatch(v.page)
	if m == nil {
		v.t.Fatalf("no secret on this page (%d):\n%s", v.status, v.page)
	}
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(m[1])
	if err != nil {
		v.t.Fatal(err)
	}
	return b
}

func (v *visitor) sees(status int, text string) {
	v.t.Helper()
	if v.status != status || !strings.Contains(v.page, html.EscapeString(text)) {
		v.t.Errorf("status %d, want %d and %q in:\n%s", v.status, status, text, v.page)
	}
}

// code is the code that the visitor was sent away with, to the port of a terminal.
func (v *visitor) code(port string) string {
	v.t.Helper()
	if v.away == nil || v.away.Host != "127.0.0.1:"+port || v.away.Path != "/callback" {
		v.t.Fatalf("sent to %v, not to the terminal (%d):\n%s", v.away, v.status, v.page)
	}
	return v.away.Query().Get("code")
}

// verifier is what the terminals of these tests keep.
const verifier = "a verifier that nobody else knows"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// invite makes alice's invitation.
func invite(t *testing.T, b *Broker, user string) string {
	t.Helper()
	inv, err := as(t, b, "admin").Invite(t.Context(), user, "")
	if err != nil {
		t.Fatal(err)
	}
	return inv.URL
}

// enrol gives a user a password and an authenticator app, whose secret it returns.
func enrol(t *testing.T, b *Broker, clk *clock, user string) []byte {
	t.Helper()
	v := newVisitor(t, b)
	v.visit(invite(t, b, user))
	s := v.secret()
	v.submit("password", secret, "again", secret, "code", mfa.Code(s, mfa.Step(clk.now())))
	v.sees(http.StatusOK, "You can sign in now")
	return s
}

func TestInvitation(t *testing.T) {
	b, j, clk := demoBroker(t)
	first := invite(t, b, "alice")
	link := invite(t, b, "alice")
	v := newVisitor(t, b)
	v.visit(first)
	v.sees(http.StatusForbidden, "This invitation was used, replaced by a newer one, or is too old.")
	v.visit(strings.Replace(link, "token=", "token=A", 1))
	v.sees(http.StatusBadRequest, "begin again")
	v.visit(link)
	v.sees(http.StatusOK, "Welcome, alice")
	s := v.secret()
	v.submit("password", "short", "again", "short")
	v.sees(http.StatusBadRequest, "A password has 8 bytes at least.")
	v.submit("password", secret, "again", secret+"x")
	v.sees(http.StatusBadRequest, "These are two different passwords.")
	v.submit("password", secret, "again", secret, "code", "12345")
	v.sees(http.StatusBadRequest, "The code is not what the app shows")
	if got := v.secret(); string(got) != string(s) {
		t.Error("a typing error gives another secret: the app would have to scan again")
	}
	code := mfa.Code(s, mfa.Step(clk.now()))
	v.submit("password", secret, "again", secret, "code", code)
	v.sees(http.StatusOK, "You can sign in now")
	v.visit(link)
	v.sees(http.StatusForbidden, "This invitation was used")

	// The code that registered the app is used up too.
	if err := loginTOTP(t, b, "alice", secret, code); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("with the code of the registration: %v", err)
	}
	enrolled := find[*events.CredentialEnrolled](history(t, j))
	if len(enrolled) != 1 || len(enrolled[0].Factors) != 1 || enrolled[0].Factors[0].Kind != "totp" || enrolled[0].ClientAddr != "127.0.0.1" {
		t.Errorf("enrolled: %+v", enrolled)
	}
	for _, e := range history(t, j) {
		if raw := string(e.Raw); strings.Contains(raw, secret) || strings.Contains(raw, mfa.SecretText(s)) {
			t.Errorf("a secret in the stream: %s", raw)
		}
	}

	// Another link, not used in time.
	late := invite(t, b, "alice")
	clk.advance(24 * time.Hour)
	v.visit(late)
	v.sees(http.StatusBadRequest, "too old")
}

// An invitation that two use at once is used once; so is a code at two brokers.
func TestOnce(t *testing.T) {
	j, clk, dir := eventstest.Journal(t), newClock(), t.TempDir()
	b, _ := startIn(t, j, clk, dir)
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	s := enrol(t, b, clk, "alice")
	other, _ := startIn(t, j, clk, dir) // another broker with the same secrets
	clk.advance(time.Minute)
	code := mfa.Code(s, mfa.Step(clk.now()))
	tries := make(chan error)
	for _, at := range []*Broker{b, other, b, other} {
		go func() { tries <- loginTOTP(t, at, "alice", secret, code) }()
	}
	taken := 0
	for range 4 {
		if err := <-tries; err == nil {
			taken++
		} else if !strings.Contains(err.Error(), "used already") {
			t.Error(err)
		}
	}
	if taken != 1 {
		t.Errorf("one code signed in %d times", taken)
	}
	// What one broker began, another carries on, and the first one ends.
	clk.advance(time.Minute)
	to, finish := beginAt(t, b, "")
	v := newVisitor(t, other)
	v.visit(to[strings.Index(to, "/web/"):])
	v.submit("user", "alice", "password", secret)
	v.submit("code", mfa.Code(s, mfa.Step(clk.now())))
	if cert, err := finish(v.code("12345")); err != nil || cert.User != "alice" {
		t.Errorf("a sign-in at two brokers: %+v, %v", cert, err)
	}
	if used := find[*events.CredentialFactorUsed](history(t, j)); len(used) != 2 || used[0].Purpose != "signin" {
		t.Errorf("used: %+v", used)
	}
}

func loginTOTP(t *testing.T, b *Broker, user, password, code string) error {
	_, csr := newCSR(t, elliptic.P256())
	_, err := stranger(t, b).Login(t.Context(), api.Login{User: user, Password: password, CSR: csr, TOTP: code})
	return err
}

func TestSecondFactor(t *testing.T) {
	b, j, clk := demoBroker(t)
	s := enrol(t, b, clk, "alice")
	now := func() string { return mfa.Code(s, mfa.Step(clk.now())) }
	clk.advance(time.Minute)
	if err := loginTOTP(t, b, "alice", secret, ""); code(err) != api.CodeNoFactor || !strings.Contains(err.Error(), "totp") {
		t.Errorf("without a code: %v", err)
	}
	if err := loginTOTP(t, b, "alice", secret+"x", now()); code(err) != api.CodeUnauthenticated || !strings.Contains(err.Error(), "wrong user name or password") {
		t.Errorf("a wrong password with the right code: %v", err)
	}
	if err := loginTOTP(t, b, "alice", secret, "000000"); code(err) != api.CodeUnauthenticated {
		t.Errorf("with a wrong code: %v", err)
	}
	if err := loginTOTP(t, b, "alice", secret, now()); err != nil {
		t.Errorf("with the right code: %v", err)
	}
	if err := loginTOTP(t, b, "alice", secret, now()); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("with a code that was used: %v", err)
	}
	in := find[*events.SigninSucceeded](history(t, j))
	if last := in[len(in)-1]; last.Method != "password" || last.SecondFactor == "" {
		t.Errorf("sign-in: %+v", last)
	}
	out := find[*events.SigninFailed](history(t, j))
	if len(out) != 3 || out[1].Method != "totp" || out[1].Reason != "the code is wrong, or too old" {
		t.Errorf("failed: %+v", out)
	}

	// Guessing is slow for whoever has the password, from wherever.
	for range 5 {
		_ = loginTOTP(t, b, "alice", secret, "000000")
	}
	clk.advance(500 * time.Millisecond)
	if err := loginTOTP(t, b, "alice", secret, now()); code(err) != api.CodeThrottled {
		t.Errorf("after many wrong codes: %v", err)
	}

	// The settings decide who is asked.
	admin := as(t, b, "admin")
	settings := func(v string) {
		t.Helper()
		if _, err := admin.Apply(t.Context(), "f", []byte("kind: cluster_settings\nspec: {second_factor: "+v+"}\n"), true); err != nil {
			t.Fatal(err)
		}
	}
	clk.advance(time.Hour)
	settings("off")
	if err := loginTOTP(t, b, "alice", secret, ""); err != nil {
		t.Errorf("off: %v", err)
	}
	settings("required")
	if err := b.SetPassword(t.Context(), "test", "bob", secret); err != nil {
		t.Fatal(err)
	}
	if err := loginTOTP(t, b, "bob", secret, ""); code(err) != api.CodeNoFactor || !strings.Contains(err.Error(), "you have none") {
		t.Errorf("bob, who has none: %v", err)
	}
	v := newVisitor(t, b)
	v.visit(invite(t, b, "bob"))
	v.submit("password", secret, "again", secret)
	v.sees(http.StatusBadRequest, "A second factor is required here.")
}

// Whose only second factor is a security key, where browsers know none, reads why it goes
// on no further.
func TestKeyAtAnAddress(t *testing.T) {
	j, clk := eventstest.Journal(t), newClock()
	b, _ := startIn(t, j, clk, "", func(c *Config) { c.PublicURL = "https://127.0.0.1:3080" })
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	newWriter(t, j).append(&events.CredentialEnrolled{User: "alice", Factors: []events.Factor{{ID: "K", Kind: "webauthn", PublicKey: &events.PublicKey{CredentialID: "AA", COSE: "AA"}}}})
	if err := b.SetPassword(t.Context(), "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	to, _ := beginAt(t, b, "")
	v := newVisitor(t, b)
	v.visit(to[strings.Index(to, "/web/"):])
	v.submit("user", "alice", "password", secret)
	v.sees(http.StatusConflict, "Your second factor is a security key, and security keys need the pages to be at a host name")
}

func TestBrowserLogin(t *testing.T) {
	b, _, clk := demoBroker(t)
	s := enrol(t, b, clk, "alice")
	clk.advance(time.Minute)
	_, csr := newCSR(t, elliptic.P256())
	anybody := stranger(t, b)
	begin := func() string {
		t.Helper()
		to, err := anybody.BrowserLogin(t.Context(), api.BrowserLogin{CSR: csr, Port: 12345, Challenge: challenge()})
		if err != nil {
			t.Fatal(err)
		}
		return to.URL
	}
	v := newVisitor(t, b)
	v.visit(begin())
	v.submit("user", "alice", "password", "wrong wrong")
	v.sees(http.StatusUnauthorized, "Wrong user name or password.")
	v.submit("user", "alice", "password", secret)
	v.sees(http.StatusOK, "Your password was right.")
	v.submit("code", "000000")
	v.sees(http.StatusUnauthorized, "The code is wrong, or too old.")
	v.submit("code", mfa.Code(s, mfa.Step(clk.now())))
	got := v.code("12345")
	if _, err := anybody.FinishLogin(t.Context(), api.FinishLogin{Code: got, Verifier: "another"}); err == nil {
		t.Error("a stolen code was redeemed without the verifier")
	}
	cert, err := anybody.FinishLogin(t.Context(), api.FinishLogin{Code: got, Verifier: verifier})
	if err != nil || cert.User != "alice" {
		t.Fatalf("%+v, %v", cert, err)
	}
	if _, err := anybody.FinishLogin(t.Context(), api.FinishLogin{Code: got, Verifier: verifier}); err == nil {
		t.Error("a code was redeemed twice")
	}

	// Forms of other sites, and what does not fit, are refused.
	v.visit(begin())
	form := url.Values{"flow": {hiddenForm.FindStringSubmatch(v.page)[2]}, "user": {"alice"}, "password": {secret}}
	req, err := http.NewRequestWithContext(t.Context(), "POST", v.base+"/web/login", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://evil.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := v.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a form of another site: %s", resp.Status)
	}
	for name, in := range map[string]api.BrowserLogin{
		"no port":              {CSR: csr, Challenge: challenge()},
		"no challenge":         {CSR: csr, Port: 1},
		"a plain challenge":    {CSR: csr, Port: 1, Challenge: verifier},
		"no CSR":               {Port: 1, Challenge: challenge()},
		"an unknown connector": {CSR: csr, Port: 1, Challenge: challenge(), Auth: "nowhere"},
	} {
		if _, err := anybody.BrowserLogin(t.Context(), in); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	late := begin()
	clk.advance(flowTTL)
	v.visit(late)
	v.sees(http.StatusBadRequest, "too old")
}

func TestRevokeSignin(t *testing.T) {
	b, j, _ := demoBroker(t)
	ctx := t.Context()
	if err := b.SetPassword(ctx, "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	stolen, _, err := login(t, b, "alice", secret, "")
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := login(t, b, "alice", secret, "")
	if err != nil {
		t.Fatal(err)
	}
	thief, alice := dial(t, b, stolen), dial(t, b, kept)
	running, err := thief.StartSession(ctx, api.StartSession{App: "awsconsole"})
	if err != nil {
		t.Fatal(err)
	}
	mine, err := alice.StartSession(ctx, api.StartSession{App: "awsconsole"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := alice.Signins(ctx, "")
	if err != nil || len(list) != 2 || list[0].Current == list[1].Current || list[0].Method != "password" {
		t.Fatalf("sign-ins: %+v, %v", list, err)
	}
	serial := list[0].Serial
	if list[0].Current {
		serial = list[1].Serial
	}
	if _, err := as(t, b, "bob").Signins(ctx, "*"); code(err) != api.CodeDenied {
		t.Errorf("bob lists everybody's: %v", err)
	}
	if err := as(t, b, "bob").RevokeSignin(ctx, serial); code(err) != api.CodeNotFound {
		t.Errorf("bob revokes alice's: %v", err)
	}
	if err := alice.RevokeSignin(ctx, serial); err != nil {
		t.Fatal(err)
	}
	if err := alice.RevokeSignin(ctx, serial); err != nil {
		t.Errorf("once more: %v", err)
	}
	if _, err := thief.Status(ctx); code(err) != api.CodeDenied || !strings.Contains(err.Error(), "revoked by alice") {
		t.Errorf("the revoked certificate: %v", err)
	}
	if ended := await[*events.SessionEnded](t, j); ended.SessionID != running.ID {
		t.Errorf("ended: %+v", ended)
	}
	if s, err := alice.Session(ctx, mine.ID); err != nil || s.State != "running" {
		t.Errorf("the session of the other sign-in: %+v, %v", s, err)
	}
	es := history(t, j)
	if revoked := find[*events.SigninRevoked](es); len(revoked) != 1 || revoked[0].By != "alice" || revoked[0].User != "alice" {
		t.Errorf("revoked: %+v", revoked)
	}
	if ended := find[*events.SessionEnded](es); len(ended) != 1 || ended[0].Reason != "its sign-in was revoked by alice" {
		t.Errorf("ended: %+v", ended)
	}
	if after, err := alice.Signins(ctx, ""); err != nil || len(after) != 1 {
		t.Errorf("left: %+v, %v", after, err)
	}
}

func TestSessionFactor(t *testing.T) {
	b, j, clk := demoBroker(t)
	ctx := t.Context()
	s := enrol(t, b, clk, "alice")
	now := func() string { clk.advance(time.Minute); return mfa.Code(s, mfa.Step(clk.now())) }
	role := strings.Replace(strings.Split(demo, "---")[1], "max_session_ttl: 8h", "max_session_ttl: 8h, require_session_mfa: true", 1)
	if _, err := as(t, b, "admin").Apply(ctx, "f", []byte(role), true); err != nil {
		t.Fatal(err)
	}
	alice := as(t, b, "alice")
	want := api.StartSession{App: "awsconsole"}
	if _, err := alice.StartSession(ctx, want); code(err) != api.CodeNoFactor || !strings.Contains(err.Error(), "role aws-reader asks for a second factor") {
		t.Fatalf("without: %v", err)
	}
	want.TOTP = now()
	if _, err := alice.StartSession(ctx, want); err != nil {
		t.Fatalf("with a code: %v", err)
	}
	if _, err := alice.StartSession(ctx, want); code(err) != api.CodeUnauthenticated {
		t.Errorf("with a code that was used: %v", err)
	}

	// In a browser, as security keys need it.
	v := newVisitor(t, b)
	prove := func(app string) string {
		t.Helper()
		to, err := alice.FactorInBrowser(ctx, api.BrowserProof{Purpose: "session", App: app, Port: 12345, Challenge: challenge()})
		if err != nil {
			t.Fatal(err)
		}
		v.visit(to.URL)
		v.sees(http.StatusOK, "A role asks for it")
		v.submit("code", now())
		return v.code("12345")
	}
	other := api.StartSession{App: "awsconsole", Code: prove("payments"), Verifier: verifier}
	if _, err := alice.StartSession(ctx, other); code(err) != api.CodeDenied {
		t.Errorf("a proof for another app: %v", err)
	}
	proved := api.StartSession{App: "awsconsole", Code: prove("awsconsole"), Verifier: verifier}
	if _, err := as(t, b, "admin").StartSession(ctx, proved); code(err) != api.CodeDenied {
		t.Errorf("somebody else's proof: %v", err)
	}
	if _, err := stranger(t, b).FinishLogin(ctx, api.FinishLogin{Code: proved.Code, Verifier: verifier}); err == nil {
		t.Error("a proof for a session was taken for a sign-in")
	}
	if _, err := alice.StartSession(ctx, proved); err != nil {
		t.Fatalf("with a proof: %v", err)
	}
	if _, err := alice.StartSession(ctx, proved); code(err) != api.CodeDenied || !strings.Contains(err.Error(), "used already") {
		t.Errorf("with a proof that was used: %v", err)
	}
	es := history(t, j)
	used, started := map[string]bool{}, find[*events.SessionStarted](es)
	for _, e := range es {
		if d, ok := e.Data.(*events.CredentialFactorUsed); ok && d.Purpose == "session" {
			used[e.ID] = true
		}
	}
	if len(started) != 2 || !used[started[0].SecondFactor] || !used[started[1].SecondFactor] || started[0].Certificate == "" {
		t.Errorf("started: %+v", started)
	}
}

func TestManageFactors(t *testing.T) {
	b, _, clk := demoBroker(t)
	ctx := t.Context()
	alice := as(t, b, "alice")
	v := newVisitor(t, b)
	begin := func(in api.BrowserProof) {
		t.Helper()
		in.Purpose, in.Port, in.Challenge = "factor", 12345, challenge()
		to, err := alice.FactorInBrowser(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		v.visit(to.URL)
	}
	// The first one needs no other, later ones do.
	begin(api.BrowserProof{})
	first := v.secret()
	firstForm := v.page
	v.submit("code", mfa.Code(first, mfa.Step(clk.now())))
	v.code("12345")
	v.page = firstForm
	v.submit("code", mfa.Code(first, mfa.Step(clk.now())))
	v.sees(http.StatusForbidden, "begin again")
	clk.advance(time.Minute)
	begin(api.BrowserProof{})
	v.sees(http.StatusOK, "use one of them")
	v.submit("code", mfa.Code(first, mfa.Step(clk.now())))
	second := v.secret()
	v.submit("code", mfa.Code(second, mfa.Step(clk.now())))
	v.code("12345")
	have, err := alice.Factors(ctx)
	if err != nil || len(have) != 2 || have[0].Kind != "totp" {
		t.Fatalf("%+v, %v", have, err)
	}
	clk.advance(time.Minute)
	begin(api.BrowserProof{Remove: have[0].ID})
	v.submit("code", mfa.Code(second, mfa.Step(clk.now())))
	v.code("12345")
	if left, err := alice.Factors(ctx); err != nil || len(left) != 1 || left[0].ID != have[1].ID {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// Who signed in on a machine that is lost by now registers no second factor from there.
func TestManageFactorsRevoked(t *testing.T) {
	b, _, clk := demoBroker(t)
	ctx := t.Context()
	admin, alice := as(t, b, "admin"), as(t, b, "alice")
	v := newVisitor(t, b)
	to, err := alice.FactorInBrowser(ctx, api.BrowserProof{Purpose: "factor", Port: 12345, Challenge: challenge()})
	if err != nil {
		t.Fatal(err)
	}
	v.visit(to.URL)
	secret := v.secret()
	signins, err := admin.Signins(ctx, "alice")
	if err != nil || len(signins) != 1 {
		t.Fatalf("%+v, %v", signins, err)
	}
	if err := admin.RevokeSignin(ctx, signins[0].Serial); err != nil {
		t.Fatal(err)
	}
	v.submit("code", mfa.Code(secret, mfa.Step(clk.now())))
	v.sees(http.StatusForbidden, "revoked by admin")
	v.visit(to.URL)
	v.sees(http.StatusForbidden, "revoked by admin")
	if have, _ := b.factors("alice"); len(have) != 0 {
		t.Errorf("a sign-in that was revoked gave alice a second factor: %+v", have)
	}
}

// await returns the first payload of a type, once the stream has it.
func await[P events.Payload](t *testing.T, j *journal.Journal) (p P) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for e, err := range j.Follow(ctx, events.Access, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := e.Data.(P); ok {
			return p
		}
	}
	t.Fatalf("the stream has no %T", p)
	return p
}
