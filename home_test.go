//go:build unix

package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// The way to sign in again is the way of the last sign-in.
func TestLoginAgain(t *testing.T) {
	id, err := readIdentity(someIdentity(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home{t.TempDir()}.profileDir(id), "identity.pem")
	for auth, want := range map[string]string{"okta": "postern login --proxy 127.0.0.1:1 --auth okta", "": "postern login --proxy 127.0.0.1:1 --user alice"} {
		id.Auth = auth
		if err := writePrivateBytes(file, id.file()); err != nil {
			t.Fatal(err)
		}
		again, err := readIdentity(file)
		if err != nil || loginCommand(again) != want {
			t.Errorf("after %q: %v, %v; want %s", auth, again, err, want)
		}
	}
}

// A home may have any name: what is in it is found again.
func TestHomeWithBrackets(t *testing.T) {
	p := &profile{dir: filepath.Join(t.TempDir(), "home [old]*", "profiles", "x")}
	if err := p.saveApp(&appSession{SessionID: "S", App: "payments", ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if s, err := p.running("payments"); err != nil || s == nil || s.SessionID != "S" {
		t.Errorf("its session: %+v, %v", s, err)
	}
	left := filepath.Join(p.dir, "proxy-1")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.sweepAway(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what a killed helper left: %v", err)
	}
}

// A session's file that a crash has cut off is none, and holds up no command.
func TestSessionCutOff(t *testing.T) {
	p := &profile{dir: t.TempDir()}
	whole := &appSession{SessionID: "S", App: "whole", ExpiresAt: time.Now().Add(time.Hour)}
	if err := p.saveApp(whole); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p.appFile("whole"))
	if err != nil {
		t.Fatal(err)
	}
	for app, content := range map[string][]byte{"empty": nil, "half": b[:len(b)/2], "zeros": make([]byte, 50)} {
		if err := writePrivateBytes(p.appFile(app), content); err != nil {
			t.Fatal(err)
		}
	}
	sessions, err := p.sessions()
	if err != nil || len(sessions) != 1 || sessions[0].App != "whole" {
		t.Errorf("%v, %v", sessions, err)
	}
	for _, app := range []string{"whole", ""} {
		if s, err := p.running(app); err != nil || s == nil || s.SessionID != "S" {
			t.Errorf("on %q: %v, %v", app, s, err)
		}
	}
}

// Who signs in again at a broker that is of another CA by now hears what to do.
func TestLoginAtAnotherCA(t *testing.T) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	var former identity
	if id, err := readIdentity(someIdentity(t)); err != nil {
		t.Fatal(err)
	} else {
		former = *id
	}
	former.BrokerURL = srv.URL
	h := home{t.TempDir()}
	if err := writePrivateBytes(filepath.Join(h.profileDir(&former), "identity.pem"), former.file()); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	code := run([]string{"login", "--home", h.dir, "--proxy", strings.TrimPrefix(srv.URL, "https://"), "--user", "bob"}, strings.NewReader("password\n"), &out, &out)
	if code != 1 || !strings.Contains(out.String(), "--ca-pin") || !strings.Contains(out.String(), "last sign-in") {
		t.Errorf("code %d: %s", code, out.String())
	}
}

// An identity may come through a pipe, which holds it once: a shell's --identity <(…).
func TestIdentityThroughPipe(t *testing.T) {
	text, err := os.ReadFile(someIdentity(t))
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.Write(text); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	c := &cli{ctx: t.Context(), homeDir: t.TempDir(), identity: fmt.Sprintf("/dev/fd/%d", r.Fd())}
	for range 2 { // commands that ask broker and auditor, or sign for the AWS CLI, look twice
		if p, err := c.profile(); err != nil || p.User != "alice" || p.file != "" {
			t.Fatalf("%+v, %v", p, err)
		}
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
	if _, err := p.startMeant(t.Context(), "", ""); err == nil || !strings.HasPrefix(err.Error(), "you reach one, two: start a session") {
		t.Error(err)
	}
}

// Modes say who may read an identity file, but on Windows, where Go makes them up.
func TestOthersRead(t *testing.T) {
	for _, c := range []struct {
		goos string
		mode os.FileMode
		want bool
	}{{"linux", 0o600, false}, {"linux", 0o640, true}, {"darwin", 0o604, true}, {"windows", 0o666, false}, {"windows", 0o444, false}} {
		if got := othersRead(c.goos, c.mode); got != c.want {
			t.Errorf("%s, %04o: %v", c.goos, c.mode, got)
		}
	}
}
