package broker

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// chromium runs a real browser with an authenticator of its own, in which somebody
// touches the key whenever it is asked for.
func chromium(t *testing.T, b *Broker) (ctx context.Context) {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("needs Chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		// The browser trusts the broker's key, and nothing else that it would not.
		chromedp.Flag("ignore-certificate-errors-spki-list", spki(t, b)))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	run(t, ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: "ctap2", Transport: "usb", HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}})
		return err
	}))
	return ctx
}

// spki is the hash of the broker's public key as Chromium takes it.
func spki(t *testing.T, b *Broker) string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CAPEM())
	conn, err := tls.Dial("tcp", b.Addr(), &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func run(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		page, _ := chromedp.Run(ctx, chromedp.Text("body"))
		t.Fatalf("%v; the page says:\n%s", err, page)
	}
}

// terminal waits on loopback for what a browser brings.
func terminal(t *testing.T) (port int, codes <-chan string) {
	t.Helper()
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := r.URL.Query().Get("code"); code != "" {
			got <- code
		}
		_, _ = w.Write([]byte("<p id=back>back in the terminal</p>"))
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range u.Port() {
		port = port*10 + int(d-'0')
	}
	return port, got
}

// A security key from the invitation to a session, in a real browser.
func TestSecurityKey(t *testing.T) {
	j := eventstest.Journal(t)
	b := start(t, j, newClock())
	if _, err := b.Apply(t.Context(), "test", []byte(strings.Replace(demo, "max_session_ttl: 8h", "max_session_ttl: 8h, require_session_mfa: true", 1))); err != nil {
		t.Fatal(err)
	}
	link := invite(t, b, "alice")
	page := chromium(t, b)
	run(t, page,
		chromedp.Navigate(link),
		chromedp.SendKeys("#password", secret), chromedp.SendKeys("#again", secret),
		chromedp.Click("button.key"),
	)
	done, err := chromedp.Run(page, chromedp.Text("pre code"))
	if err != nil || !strings.Contains(done, "postern login --proxy localhost:") || !strings.Contains(done, "--user alice") {
		t.Errorf("the page ends with %q, %v", done, err)
	}

	port, codes := terminal(t)
	_, csr := newCSR(t, elliptic.P256())
	anybody := stranger(t, b)
	to, err := anybody.BrowserLogin(t.Context(), api.BrowserLogin{CSR: csr, Port: port, Challenge: challenge()})
	if err != nil {
		t.Fatal(err)
	}
	run(t, page,
		chromedp.Navigate(to.URL),
		chromedp.SendKeys("#user", "alice"), chromedp.SendKeys("#password", secret), chromedp.Submit("#password"),
		chromedp.Click("button.key"),
		chromedp.WaitVisible("#back"),
	)
	cert, err := anybody.FinishLogin(t.Context(), api.FinishLogin{Code: <-codes, Verifier: verifier})
	if err != nil || cert.User != "alice" {
		t.Fatalf("%+v, %v", cert, err)
	}

	alice := as(t, b, "alice")
	to, err = alice.FactorInBrowser(t.Context(), api.BrowserProof{Purpose: "session", App: "awsconsole", Port: port, Challenge: challenge()})
	if err != nil {
		t.Fatal(err)
	}
	run(t, page, chromedp.Navigate(to.URL), chromedp.Click("button.key"), chromedp.WaitVisible("#back"))
	if _, err := alice.StartSession(t.Context(), api.StartSession{App: "awsconsole", Code: <-codes, Verifier: verifier}); err != nil {
		t.Errorf("a session with the key: %v", err)
	}
	es := history(t, j)
	used := find[*events.CredentialFactorUsed](es)
	if len(used) != 2 || used[0].Purpose != "signin" || used[1].Purpose != "session" || used[1].Counter <= used[0].Counter || used[0].ChallengeID == "" {
		t.Errorf("used: %+v", used)
	}
	if enrolled := find[*events.CredentialEnrolled](es); len(enrolled) != 1 || enrolled[0].Factors[0].Kind != "webauthn" || enrolled[0].Factors[0].PublicKey.COSE == "" {
		t.Errorf("enrolled: %+v", enrolled)
	}
}
