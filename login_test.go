package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity/mfa"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// TestSignIn plays a new user's first day with the real program: an invitation, a
// sign-in on the terminal and one in the browser, a session that asks for a second
// factor, and the end of a sign-in.
func TestSignIn(t *testing.T) {
	embeddedtest.Lib(t)
	dev := startDevWith(t, plainBinary(t), nil, nil)
	home := t.TempDir()
	c := &clients{dev: dev, home: home}
	file := filepath.Join(t.TempDir(), "role.yaml")
	role := "kind: role\nversion: v7\nmetadata: {name: careful}\nspec:\n  options: {require_session_mfa: true}\n" +
		"  allow: {app_labels: {'*': '*'}, aws_role_arns: ['arn:aws:iam::" + devAccount + ":role/PosternReadOnly']}\n"
	if err := os.WriteFile(file, []byte(role), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must(t, "admin", "create", "-f", file)
	var invited api.Invitation
	if err := json.Unmarshal([]byte(c.must(t, "admin", "users", "add", "erin", "--roles", "careful", "--format=json")), &invited); err != nil {
		t.Fatal(err)
	}

	ca, err := os.ReadFile(dev.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	page := read(t, web, invited.URL)
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(regexp.MustCompile(`class="secret">([A-Z2-7]+)<`).FindStringSubmatch(page)[1])
	if err != nil {
		t.Fatal(err)
	}
	// Each code counts once: the tests take those of the steps before, at and after now.
	step := mfa.Step(time.Now()) - 1
	code := func() string { step++; return mfa.Code(secret, step-1) }
	const password = "correct horse battery staple"
	base, err := url.Parse(invited.URL)
	if err != nil {
		t.Fatal(err)
	}
	if done := send(t, web, base, page, "password", password, "again", password, "code", code()); !strings.Contains(done, "postern login --proxy") {
		t.Fatalf("after the invitation:\n%s", done)
	}

	// On the terminal: password and code, line by line.
	postern := func(stdin string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), dev.bin, args...)
		cmd.Env = append(os.Environ(), "POSTERN_HOME="+home, "BROWSER=none")
		cmd.Stdin = strings.NewReader(stdin)
		return cmd
	}
	broker := strings.TrimPrefix(dev.BrokerURL, "https://")
	output(t, postern(password+"\n"+code()+"\n", "login", "--proxy", broker, "--ca-file", dev.CAFile, "--user", "erin"))
	if got := output(t, postern("", "status")); !strings.Contains(got, "erin") {
		t.Errorf("status: %s", got)
	}
	if out, err := postern("", "apps", "login", "awsconsole").CombinedOutput(); err == nil || !strings.Contains(string(out), "role careful asks for a second factor") {
		t.Errorf("a session without a second factor: %v\n%s", err, out)
	}
	output(t, postern(code()+"\n", "apps", "login", "awsconsole"))

	// In the browser, which the terminal waits for. There is no fourth code within
	// this minute, so none is asked for.
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(settings, []byte("kind: cluster_settings\nspec: {second_factor: 'off'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must(t, "admin", "create", "--force", "-f", settings)
	cmd := postern("", "login", "--proxy", broker, "--ca-file", dev.CAFile, "--auth", "browser")
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	link := regexp.MustCompile(`https://localhost:\S+`)
	for buf := make([]byte, 4096); link.FindString(told.String()) == "" || !strings.HasSuffix(told.String(), "\n"); {
		n, err := errs.Read(buf)
		if told.Write(buf[:n]); err != nil {
			t.Fatalf("%v: %s", err, told.String())
		}
	}
	page = read(t, web, link.FindString(told.String()))
	page = send(t, web, base, page, "user", "erin", "password", password)
	if !strings.Contains(page, "Go back to the terminal") {
		t.Fatalf("after the password:\n%s", page)
	}
	rest, _ := io.ReadAll(errs)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(rest), "Signed in as erin") {
		t.Fatalf("%v: %s%s", err, told.String(), rest)
	}

	// Two sign-ins and a session; revoking the first ends its session.
	var rows []sessionRow
	list := func() string {
		t.Helper()
		out := output(t, postern("", "sessions", "ls", "--format=json"))
		rows = nil
		for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
			var row sessionRow
			if err := d.Decode(&row); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		return out
	}
	if out := list(); len(rows) != 3 || rows[0].Current || !rows[1].Current || rows[2].Kind != "app" {
		t.Fatalf("sessions: %s", out)
	}
	output(t, postern("", "sessions", "rm", rows[0].ID))
	for deadline := time.Now().Add(time.Minute); len(rows) != 1 && time.Now().Before(deadline); {
		list()
	}
	if len(rows) != 1 || !rows[0].Current {
		t.Errorf("left: %+v", rows)
	}
}

func read(t *testing.T, web *http.Client, to string) string {
	t.Helper()
	resp, err := web.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// send fills in a page's form.
func send(t *testing.T, web *http.Client, base *url.URL, page string, filled ...string) string {
	t.Helper()
	action := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(page)
	if action == nil {
		t.Fatalf("no form on this page:\n%s", page)
	}
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`).FindAllStringSubmatch(page, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	for i := 0; i < len(filled); i += 2 {
		form.Set(filled[i], filled[i+1])
	}
	resp, err := web.PostForm(base.ResolveReference(&url.URL{Path: action[1]}).String(), form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
