package main

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// Where the home of a user can't be written, such as that of a container's, the error names
// the way to another; other errors do not.
func TestHomeThatCannotBeWritten(t *testing.T) {
	const home = "/sys/postern" // nobody makes anything there
	if err := os.Mkdir(home, 0o700); err == nil || os.IsNotExist(err) {
		os.Remove(home)
		t.Skipf("no place that root can't write to: %v", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	known := httptest.NewTLSServer(nil)
	defer known.Close()
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: known.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		home string
		want bool
	}{{home, true}, {home + "/below/it", true}, {t.TempDir(), false}} {
		var out strings.Builder
		code := run([]string{"login", "--home", c.home, "--proxy", "127.0.0.1:1", "--user", "x", "--ca-file", ca}, strings.NewReader("password\n"), &out, &out)
		if code != 1 || strings.Contains(out.String(), "POSTERN_HOME") != c.want {
			t.Errorf("%s: code %d: %s", c.home, code, out.String())
		}
	}
}

// A data directory of another user's, of a first start as root say, is named with what to do.
func TestDataDirOfSomebodyElse(t *testing.T) {
	const dir = "/sys/postern"
	if err := os.Mkdir(dir, 0o700); !os.IsPermission(err) {
		os.Remove(dir)
		t.Skipf("no place that is not root's: %v", err)
	}
	s := &services{cfg: &Config{DataDir: dir, Broker: &BrokerConfig{}}, log: zerolog.Nop()}
	if err := s.serve(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "chown") {
		t.Error(err)
	}
}

// Who signs in at an identity provider is called there what nobody here knows before: the
// CA is the postern's all the same, and the way to sign in again is that way.
func TestLoginAgain(t *testing.T) {
	id, err := readIdentity(someIdentity(t))
	if err != nil {
		t.Fatal(err)
	}
	h, c := home{t.TempDir()}, &cli{ctx: t.Context(), stdin: strings.NewReader(""), stderr: io.Discard}
	file := filepath.Join(h.profileDir(id), "identity.pem")
	for auth, want := range map[string]string{"okta": "postern login --proxy 127.0.0.1:1 --auth okta", "": "postern login --proxy 127.0.0.1:1 --user alice"} {
		id.Auth = auth
		if err := writePrivateBytes(file, id.file()); err != nil {
			t.Fatal(err)
		}
		again, err := readIdentity(file)
		if err != nil || loginCommand(again) != want {
			t.Errorf("after %q: %v, %v; want %s", auth, again, err, want)
		}
		pool, err := c.trust(t.Context(), h, id.BrokerURL, loginInput{user: "her-name-on-the-machine", auth: "okta"})
		if err != nil || pool == nil {
			t.Errorf("the CA that was known: %v", err)
		}
	}
	if _, err := c.trust(t.Context(), h, "https://127.0.0.1:2", loginInput{user: "alice"}); err == nil {
		t.Error("another postern's CA is taken")
	}
}

// Who has to choose is told of the apps that they reach, and of none that they could ask for.
func TestAppsToChoose(t *testing.T) {
	broker := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"apps":[{"name":"asked","requestable":[{"arn":"c","roles":["r"]}]},{"name":"one","aws_roles":[{"arn":"a"}]},{"name":"two","aws_roles":[{"arn":"b"}]}]}`)
	}))
	defer broker.Close()
	id, err := readIdentity(someIdentity(t))
	if err != nil {
		t.Fatal(err)
	}
	id.BrokerURL, id.CAPEM = broker.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: broker.Certificate().Raw})
	p := &profile{identity: id, dir: t.TempDir()}
	if _, err := p.startMeant(t.Context(), ""); err == nil || !strings.HasPrefix(err.Error(), "you reach one, two: start a session") {
		t.Error(err)
	}
}
