package broker

import (
	"bufio"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

// idp runs an identity provider of testdata/idp until the test ends, and returns
// where it is.
func idp(t *testing.T, env []string, script string, args ...string) string {
	t.Helper()
	for _, need := range []string{"node", "npm"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("needs %s", need)
		}
	}
	cmd := exec.Command("node", append([]string{script}, args...)...)
	cmd.Dir = idpModules(t)
	cmd.Env = append(os.Environ(), env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "http://127.0.0.1:") {
			return lines.Text()
		}
	}
	t.Fatalf("%s does not run:\n%s", script, errs.String())
	return ""
}

// idpModules is testdata/idp with what its package.json names, kept from run to run.
func idpModules(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	names := []string{"package.json", "oidc.mjs", "saml.mjs"}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join("testdata/idp", name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%d %s", len(b), b)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no place to keep npm packages: %v", err)
	}
	dir := filepath.Join(cache, "postern-tests", "idp-"+hex.EncodeToString(sum.Sum(nil)[:6]))
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, _ := os.ReadFile(filepath.Join("testdata/idp", name))
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	npm := exec.CommandContext(t.Context(), "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Skipf("the identity providers can't be installed: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "complete"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	anyForm  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>`)
	anyInput = regexp.MustCompile(`<input[^>]*>`)
	anyAttr  = regexp.MustCompile(`(name|value|type)="([^"]*)"`)
)

// fill sends the first form of somebody else's page.
func (v *visitor) fill(base *url.URL, filled ...string) {
	v.t.Helper()
	f := anyForm.FindStringSubmatch(v.page)
	if f == nil {
		v.t.Fatalf("no form on this page (%d):\n%s", v.status, v.page)
	}
	to, err := base.Parse(html.UnescapeString(f[1]))
	if err != nil {
		v.t.Fatal(err)
	}
	form := url.Values{}
	for _, input := range anyInput.FindAllString(f[2], -1) {
		attr := map[string]string{}
		for _, m := range anyAttr.FindAllStringSubmatch(input, -1) {
			attr[m[1]] = html.UnescapeString(m[2])
		}
		if attr["name"] != "" {
			form.Set(attr["name"], attr["value"])
		}
	}
	for i := 0; i < len(filled); i += 2 {
		form.Set(filled[i], filled[i+1])
	}
	v.elsewhere("POST", to.String(), form)
}

// elsewhere is do for pages that are not the broker's, following where they send to
// as long as that is elsewhere.
func (v *visitor) elsewhere(method, to string, form url.Values) {
	v.t.Helper()
	for range 10 {
		req, err := http.NewRequestWithContext(v.t.Context(), method, to, strings.NewReader(form.Encode()))
		if err != nil {
			v.t.Fatal(err)
		}
		if method == "POST" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := v.http.Do(req)
		if err != nil {
			v.t.Fatal(err)
		}
		v.read(resp)
		if v.away == nil || strings.HasPrefix(v.away.String(), v.base) || v.away.Port() == "12345" {
			return
		}
		method, to, form = "GET", v.away.String(), nil
	}
	v.t.Fatal("sent around in circles")
}

// atOpenID signs a person in at the OpenID provider, until it sends them back.
func (v *visitor) atOpenID(issuer, name string) {
	v.t.Helper()
	base, err := url.Parse(issuer)
	if err != nil {
		v.t.Fatal(err)
	}
	v.fill(base, "login", name, "password", "whatever")
	for v.away == nil && strings.Contains(v.page, "<form") { // consent
		v.fill(base)
	}
}

// openID runs a provider and makes it a connector of b's; spec are more lines of it.
func openID(t *testing.T, b *Broker, spec ...string) string {
	t.Helper()
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte("the client's secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	redirect := "https://localhost:" + portOf(b.Addr()) + "/v1/webapi/oidc/callback"
	issuer := idp(t, nil, "oidc.mjs", redirect, "the client's secret")
	connector(t, b, `kind: oidc
version: v3
metadata: {name: corp}
spec:
  display: The company
  issuer_url: `+issuer+`
  client_id: postern
  client_secret: file://`+secretFile+`
  redirect_url: `+redirect+`
  scope: [groups]
  claims_to_roles:
  - {claim: groups, value: "team-*", roles: ["$1"]}
  - {claim: groups, value: admins, roles: [admin]}
`+strings.Join(spec, "\n"))
	return issuer
}

func connector(t *testing.T, b *Broker, yaml string) {
	t.Helper()
	if _, err := as(t, b, "admin").Apply(t.Context(), "connector.yaml", []byte(yaml), true); err != nil {
		t.Fatal(err)
	}
}

// beginAt begins a sign-in with a connector and returns what finishes it.
func beginAt(t *testing.T, b *Broker, auth string) (to string, finish func(code string) (api.Certificate, error)) {
	t.Helper()
	_, csr := newCSR(t, elliptic.P256())
	anybody := stranger(t, b)
	flow, err := anybody.BrowserLogin(t.Context(), api.BrowserLogin{Auth: auth, CSR: csr, Port: 12345, Challenge: challenge()})
	if err != nil {
		t.Fatal(err)
	}
	return flow.URL, func(code string) (api.Certificate, error) {
		return anybody.FinishLogin(t.Context(), api.FinishLogin{Code: code, Verifier: verifier})
	}
}

// byOpenID is a browser in which somebody has just come back from the OpenID provider.
func byOpenID(t *testing.T, b *Broker, issuer, name string) (v *visitor, finish func(code string) (api.Certificate, error)) {
	t.Helper()
	to, finish := beginAt(t, b, "corp")
	v = newVisitor(t, b)
	v.visit(to)
	v.elsewhere("GET", v.away.String(), nil)
	v.atOpenID(issuer, name)
	v.visit(v.away.String())
	return v, finish
}

func TestOpenID(t *testing.T) {
	b, j, _ := demoBroker(t)
	issuer := openID(t, b)
	ways, err := stranger(t, b).SigninWays(t.Context())
	if err != nil || len(ways) != 1 || ways[0].Display != "The company" {
		t.Fatalf("ways: %+v, %v", ways, err)
	}

	to, finish := beginAt(t, b, "corp")
	v := newVisitor(t, b)
	v.visit(to)
	if v.away == nil || v.away.Query().Get("code_challenge_method") != "S256" || v.away.Query().Get("nonce") == "" {
		t.Fatalf("sent to %v", v.away)
	}
	v.elsewhere("GET", v.away.String(), nil)
	v.atOpenID(issuer, "dana@example.com")
	callback := v.away.String()
	v.visit(callback)
	cert, err := finish(v.code("12345"))
	if err != nil || cert.User != "dana@example.com" || len(cert.Roles) != 1 || cert.Roles[0] != "aws-reader" {
		t.Fatalf("%+v, %v", cert, err)
	}
	es := history(t, j)
	users := find[*events.UserCreated](es)
	u := users[len(users)-1]
	if u.Name != "dana@example.com" || u.Connector != "corp" || u.ExpiresAt == nil || u.By != "connector/corp" ||
		len(u.Traits["groups"]) != 2 || u.Traits["level"][0] != "7" || len(u.Traits["nonce"])+len(u.Traits["aud"]) != 0 {
		t.Errorf("user: %+v", u)
	}
	in := find[*events.SigninSucceeded](es)
	if last := in[len(in)-1]; last.Method != "oidc" || last.Connector != "corp" || last.ExpiresAt.After(*u.ExpiresAt) {
		t.Errorf("sign-in: %+v", last)
	}
	for _, e := range es {
		if strings.Contains(string(e.Raw), "the client's secret") {
			t.Errorf("a secret in the stream: %s", e.Raw)
		}
	}

	// The callback once more: the cookie is gone, and another browser never had it.
	v.visit(callback)
	v.sees(http.StatusBadRequest, "not the browser")
	stolen := newVisitor(t, b)
	stolen.visit(callback)
	stolen.sees(http.StatusBadRequest, "not the browser")

	// A code that was used, in a sign-in of one's own: the state is right, the code is not.
	old, _ := url.Parse(callback)
	to, _ = beginAt(t, b, "corp")
	v.visit(to)
	q := url.Values{"code": {old.Query().Get("code")}, "state": {v.away.Query().Get("state")}}
	v.visit("/v1/webapi/oidc/callback?" + q.Encode())
	v.sees(http.StatusUnauthorized, "invalid_grant")
	// A wrong state.
	to, _ = beginAt(t, b, "corp")
	v.visit(to)
	v.visit("/v1/webapi/oidc/callback?code=x&state=y")
	v.sees(http.StatusBadRequest, "not the browser")

	failed := find[*events.SigninFailed](history(t, j))
	if len(failed) != 4 || failed[2].Connector != "corp" || failed[2].Method != "oidc" {
		t.Errorf("failed: %+v", failed)
	}
}

// Who is refused time and again, for want of a role say, keeps nobody else at the same
// address from signing in.
func TestRefusedAlone(t *testing.T) {
	b, _, _ := demoBroker(t)
	issuer := openID(t, b)
	signIn := func(name string) *visitor {
		t.Helper()
		v, _ := byOpenID(t, b, issuer, name)
		return v
	}
	for range 5 {
		signIn("nobody@example.com").sees(http.StatusForbidden, "gives a role")
	}
	signIn("nobody@example.com").sees(http.StatusTooManyRequests, "Too many failed sign-ins")
	signIn("dana@example.com").code("12345")
}

// Answers of identity providers that nobody was sent to do not fill the history, nor do
// they write into it what they like.
func TestStrayAnswers(t *testing.T) {
	b, j, _ := demoBroker(t)
	v := newVisitor(t, b)
	for range 20 {
		v.visit("/v1/webapi/oidc/callback?code=x&state=y")
		v.do("POST", samlPath+"no%0asuch%1b", url.Values{"RelayState": {"y"}, "SAMLResponse": {"x"}})
	}
	v.sees(http.StatusTooManyRequests, "Too many failed sign-ins")
	failed := find[*events.SigninFailed](history(t, j))
	if len(failed) != 5 {
		t.Errorf("of 40 stray answers, %d are recorded", len(failed))
	}
	for _, f := range failed {
		if f.Connector != "" {
			t.Errorf("there is no connector, and one is recorded: %+v", f)
		}
	}
}

// An answer that comes to another host than the one that has the cookie says which.
func TestAnswerElsewhere(t *testing.T) {
	b, _, _ := demoBroker(t)
	v := newVisitor(t, b)
	v.visit("/v1/webapi/oidc/callback?code=x&state=y")
	v.sees(http.StatusBadRequest, "begin again in the terminal.")
	v.base = strings.Replace(v.base, "localhost", "127.0.0.1", 1)
	v.visit("/v1/webapi/oidc/callback?code=x&state=y")
	v.sees(http.StatusBadRequest, "sign-ins begin at localhost, this came to another host")
}

// Wherever a link, a form or an identity provider's answer names a place to go on to,
// the browser comes to the provider that is configured, and then to its own terminal.
func TestOpenRedirect(t *testing.T) {
	b, _, _ := demoBroker(t)
	issuer := openID(t, b)
	evil := url.Values{}
	for _, name := range []string{"redirect_uri", "redirect_url", "redirect", "return_to", "next", "url", "RelayState", "port", "to"} {
		evil[name] = []string{"https://evil.example/", "//evil.example"}
	}
	more := func(to string) string {
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		return u.Scheme + "://" + u.Host + u.Path + "?" + u.RawQuery + "&" + evil.Encode()
	}
	to, finish := beginAt(t, b, "corp")
	v := newVisitor(t, b)
	v.visit(more(to))
	if v.away == nil || !strings.HasPrefix(v.away.String(), issuer+"/") || v.away.Query().Get("redirect_uri") != v.base+"/v1/webapi/oidc/callback" {
		t.Fatalf("sent to %v (%d):\n%s", v.away, v.status, v.page)
	}
	v.elsewhere("GET", v.away.String(), nil)
	v.atOpenID(issuer, "dana@example.com")
	v.visit(more(v.away.String()))
	if _, err := finish(v.code("12345")); err != nil {
		t.Error(err)
	}

	if err := b.SetPassword(t.Context(), "test", "alice", secret); err != nil {
		t.Fatal(err)
	}
	to, finish = beginAt(t, b, "")
	v = newVisitor(t, b)
	v.visit(more(to))
	fields := []string{"user", "alice", "password", secret}
	for name := range evil {
		fields = append(fields, name, "https://evil.example/")
	}
	v.submit(fields...)
	if cert, err := finish(v.code("12345")); err != nil || cert.User != "alice" {
		t.Errorf("%+v, %v", cert, err)
	}
	// Nor is a port a host.
	_, csr := newCSR(t, elliptic.P256())
	for _, port := range []int{0, -1, 65536} {
		if to, err := stranger(t, b).BrowserLogin(t.Context(), api.BrowserLogin{CSR: csr, Port: port, Challenge: challenge()}); err == nil {
			t.Errorf("port %d: %s", port, to.URL)
		}
	}
}

func TestOpenIDRefuses(t *testing.T) {
	b, j, clk := demoBroker(t)
	issuer := openID(t, b)
	for name, want := range map[string]string{
		"unverified@example.com": "does not say that it verified the email address",
		"nobody@example.com":     "says nothing of nobody@example.com that gives a role",
	} {
		v, _ := byOpenID(t, b, issuer, name)
		if v.away != nil || !strings.Contains(html.UnescapeString(v.page), want) {
			t.Errorf("%s: sent to %v, %d:\n%s", name, v.away, v.status, v.page)
		}
	}
	if failed := find[*events.SigninFailed](history(t, j)); len(failed) != 2 {
		t.Errorf("failed: %+v", failed)
	}

	// A local user's name is not the provider's to take; nor is a password theirs.
	connector(t, b, "kind: user\nmetadata: {name: local@example.com}\nspec: {roles: [admin]}\n")
	v, _ := byOpenID(t, b, issuer, "local@example.com")
	v.sees(http.StatusConflict, "the user of that name has a password here")

	// Nor is that of somebody who left, whose address the provider gave to another account.
	corp, err := b.connector("corp")
	if err != nil {
		t.Fatal(err)
	}
	former := access.SignOn{User: "erin@example.com", Account: "7", Traits: map[string][]string{"sub": {"7"}, "groups": {"team-aws-reader"}}, ID: "former"}
	if _, err := b.signOn(t.Context(), time.Hour, corp, former, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	v, _ = byOpenID(t, b, issuer, "erin@example.com")
	v.sees(http.StatusConflict, "the user of that name is another account there: its sub differs")
	if failed := find[*events.SigninFailed](history(t, j)); failed[len(failed)-1].User != "erin@example.com" {
		t.Errorf("failed: %+v", failed)
	}
	if err := as(t, b, "admin").DeleteResource(t.Context(), "user", "erin@example.com"); err != nil {
		t.Fatal(err)
	}
	v, finish := byOpenID(t, b, issuer, "erin@example.com")
	if cert, err := finish(v.code("12345")); err != nil || cert.User != "erin@example.com" {
		t.Errorf("once removed: %+v, %v", cert, err)
	}

	// What the provider said ends.
	v, finish = byOpenID(t, b, issuer, "dana@example.com")
	if _, err := finish(v.code("12345")); err != nil {
		t.Fatal(err)
	}
	if err := b.SetPassword(t.Context(), "test", "dana@example.com", secret); err == nil {
		t.Error("a user of a connector got a password")
	}
	clk.advance(31 * time.Hour)
	if _, err := b.IssueIdentity(t.Context(), "dana@example.com", 0); err == nil || !strings.Contains(err.Error(), "held until") {
		t.Errorf("a day later: %v", err)
	}
}

func TestOpenIDDevice(t *testing.T) {
	b, j, _ := demoBroker(t)
	issuer := openID(t, b)
	_, csr := newCSR(t, elliptic.P256())
	anybody := stranger(t, b)
	d, err := anybody.DeviceLogin(t.Context(), api.DeviceLogin{Auth: "corp", CSR: csr, Device: newMachine(t).prove(csr)})
	if err != nil || d.UserCode == "" || d.Interval < 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := anybody.FinishDevice(t.Context(), api.FinishDevice{Device: d.Device}); code(err) != api.CodePending {
		t.Errorf("before the person: %v", err)
	}
	base, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	v := newVisitor(t, b) // on another machine
	v.elsewhere("GET", d.URL, nil)
	v.fill(base, "user_code", d.UserCode)
	v.fill(base, "confirm", "yes")
	v.atOpenID(issuer, "dana@example.com")
	cert, err := anybody.FinishDevice(t.Context(), api.FinishDevice{Device: d.Device})
	if err != nil || cert.User != "dana@example.com" {
		t.Fatalf("%+v, %v; the last page:\n%s", cert, err, v.page)
	}
	if _, err := anybody.FinishDevice(t.Context(), api.FinishDevice{Device: d.Device}); err == nil {
		t.Error("a device code gave two certificates")
	}
	in := find[*events.SigninSucceeded](history(t, j))
	if last := in[len(in)-1]; last.Method != "oidc" || last.Connector != "corp" || last.User != "dana@example.com" || last.Device == "" || last.DeviceName != "laptop" {
		t.Errorf("sign-in: %+v", last)
	}
	// The provider's tokens of one second are the same: two sign-ins are two all the same.
	codes := [2]string{}
	for i := range codes {
		d, err := anybody.DeviceLogin(t.Context(), api.DeviceLogin{Auth: "corp", CSR: csr})
		if err != nil {
			t.Fatal(err)
		}
		v.elsewhere("GET", d.URL, nil)
		v.fill(base, "user_code", d.UserCode)
		v.fill(base, "confirm", "yes")
		if i == 0 { // the provider knows her by now
			v.atOpenID(issuer, "dana@example.com")
		}
		codes[i] = d.Device
	}
	for i, device := range codes {
		if cert, err := anybody.FinishDevice(t.Context(), api.FinishDevice{Device: device}); err != nil || cert.User != "dana@example.com" {
			t.Errorf("sign-in %d of one second: %+v, %v", i, cert, err)
		}
	}
}

// samlIDP runs a SAML provider and makes it a connector of b's. sign says what it
// signs. A secret one wants signed requests and encrypts what it says; spec are more lines
// of the connector.
func samlIDP(t *testing.T, b *Broker, sign string, secret bool, spec ...string) {
	t.Helper()
	dir := t.TempDir()
	env := []string{"SIGN=" + sign}
	sp := filepath.Join(dir, "sp.pem")
	if secret {
		env = append(env, "SP_CERT="+sp)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, text := range map[string][]byte{cert: pemOf("CERTIFICATE", der), keyFile: pemOf("PRIVATE KEY", keyDER)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	acs := "https://localhost:" + portOf(b.Addr()) + samlPath + "corp"
	at := idp(t, env, "saml.mjs", acs, cert, keyFile, acs)
	v := newVisitor(t, b)
	v.elsewhere("GET", at+"/metadata", nil)
	if secret {
		v.page = strings.Replace(v.page, "<IDPSSODescriptor ", `<IDPSSODescriptor WantAuthnRequestsSigned="true" `, 1)
	}
	connector(t, b, `kind: saml
version: v2
metadata: {name: corp}
spec:
  acs: `+acs+`
  attributes_to_roles:
  - {name: groups, value: "team-*", roles: ["$1"]}
  entity_descriptor: |
    `+strings.ReplaceAll(v.page, "\n", "\n    ")+`
`+strings.Join(spec, "\n"))
	if !secret {
		return
	}
	v.elsewhere("GET", v.base+samlMetadataPath+"corp", nil)
	ours := regexp.MustCompile(`X509Certificate[^>]*>([^<]+)<`).FindStringSubmatch(v.page)
	if ours == nil {
		t.Fatalf("metadata: %s", v.page)
	}
	der, err = base64.StdEncoding.DecodeString(ours[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sp, pemOf("CERTIFICATE", der), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSAML(t *testing.T) {
	for _, sign := range []string{"assertion", "response", "encrypted assertion"} {
		t.Run(sign, func(t *testing.T) {
			b, j, _ := demoBroker(t)
			sign, secret := strings.CutPrefix(sign, "encrypted ")
			samlIDP(t, b, sign, secret)
			to, finish := beginAt(t, b, "corp")
			v := newVisitor(t, b)
			v.visit(to)
			v.elsewhere("GET", v.away.String(), nil)
			posted := v.page
			here, err := url.Parse(v.base)
			if err != nil {
				t.Fatal(err)
			}
			v.fill(here)
			cert, err := finish(v.code("12345"))
			if err != nil || cert.User != "dana@example.com" || len(cert.Roles) != 1 || cert.Roles[0] != "aws-reader" {
				t.Fatalf("%+v, %v", cert, err)
			}
			es := history(t, j)
			in := find[*events.SigninSucceeded](es)
			if last := in[len(in)-1]; last.Method != "saml" || last.Connector != "corp" {
				t.Errorf("sign-in: %+v", last)
			}
			users := find[*events.UserCreated](es)
			if u := users[len(users)-1]; u.Traits["mail"][0] != "dana@example.com" || u.SigninID == "" {
				t.Errorf("user: %+v", u)
			}

			// The same response again, in this browser and in another.
			v.page = posted
			v.fill(here)
			v.sees(http.StatusBadRequest, "not the browser")
			to, _ = beginAt(t, b, "corp")
			other := newVisitor(t, b)
			other.visit(to)
			other.page = posted
			form := anyForm.FindStringSubmatch(posted)
			if form == nil {
				t.Fatal(posted)
			}
			other.fill(here, "RelayState", other.away.Query().Get("RelayState"))
			if other.away != nil || other.status != http.StatusUnauthorized {
				t.Errorf("a response to another request: sent to %v, %d:\n%s", other.away, other.status, other.page)
			}
			want := "InResponseTo"
			if secret {
				want = "encrypted assertion was refused"
			}
			if failed := find[*events.SigninFailed](history(t, j)); len(failed) != 2 || failed[1].Method != "saml" || !strings.Contains(failed[1].Reason, want) {
				t.Errorf("failed: %+v", failed)
			}
		})
	}
}
