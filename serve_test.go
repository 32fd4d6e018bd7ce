package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/posternhq/postern/deploy/embedded"
)

func TestReachedAt(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:3080": "localhost:3080", "[::]:3080": "localhost:3080", ":3080": "localhost:3080",
		"127.0.0.1:3080": "127.0.0.1:3080", "postern.example.com:3080": "postern.example.com:3080",
	} {
		if got := reachedAt(addr); got != want {
			t.Errorf("%s is reached at %s, want %s", addr, got, want)
		}
	}
}

// What is no file is never replaced by one.
func TestWritesReplaceFilesAlone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	for _, l := range []struct{ to, at string }{{file, link}, {pipe, filepath.Join(dir, "to-pipe")}, {"nowhere", filepath.Join(dir, "dangling")}} {
		if err := os.Symlink(l.to, l.at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "to-pipe", "dangling", "."} {
		if err := writePrivateBytes(filepath.Join(dir, name), []byte("x")); err == nil {
			t.Errorf("%s was replaced", name)
		}
	}
	if err := writePrivateBytes(link, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); string(b) != "x" {
		t.Errorf("what the link leads to has %q, %v", b, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().IsRegular() {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if err := checkTarget(filepath.Join(dir, "absent", "admin.pem")); err == nil {
		t.Error("a directory that is not there is made")
	}
}

// TestServeSaysWhatItDoes: its lines are of the format configured, errors too; a
// data directory has one broker; who is told to stop while it starts, ends well.
func TestServeSaysWhatItDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs postern")
	}
	c := newCluster(t, plainBinary(t))
	c.ports["broker"] = strings.Replace(c.ports["broker"], "127.0.0.1", "0.0.0.0", 1)
	c.startCore(`listen: "` + c.ports["nats"] + `"`)
	id, err := readIdentity(c.admin)
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://" + reachedAt(c.ports["broker"]); id.BrokerURL != want {
		t.Errorf("the broker is at %s, want %s", id.BrokerURL, want)
	}
	// A second one of that directory.
	last := func(config string, args ...string) (line struct{ Level, Message, Error string }) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), c.bin, append([]string{"serve", "--config", filepath.Join(c.dir, config)}, args...)...)
		out, err := cmd.CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err == nil || json.Unmarshal([]byte(lines[len(lines)-1]), &line) != nil || line.Level != "fatal" {
			t.Errorf("%v: %s", err, out)
		}
		return line
	}
	if line := last("core.yaml"); !strings.Contains(line.Error, "another postern uses this directory") {
		t.Errorf("a second process: %+v", line)
	}
	c.write("second.yaml", fmt.Appendf(nil, "data_dir: %s/second\nnats: {embedded: true, listen: %q}\nbroker: {listen: \"127.0.0.1:0\"}\n", c.dir, c.ports["nats"]))
	if line := last("second.yaml"); !strings.Contains(line.Error, "address already in use") || !strings.Contains(line.Error, "stop what listens there, or choose another address") {
		t.Errorf("the port of NATS is taken: %+v", line)
	}
	if line := last("second.yaml", "--admin-identity", filepath.Join(c.dir, "absent", "admin.pem")); !strings.Contains(line.Error, "is no directory") {
		t.Errorf("--admin-identity: %+v", line)
	}

	// Told to stop while it waits for its broker.
	c.write("proxy.token", []byte("t.x"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	c.write("waits.yaml", fmt.Appendf(nil, `data_dir: %[1]s/waits
proxy: {listen: "127.0.0.1:0", name: waits, join: {broker: %[2]q, ca_pin: "sha256:%064[3]d", token_file: %[1]s/proxy.token}}
`, c.dir, closed, 0))
	cmd := exec.Command(c.bin, "serve", "--config", filepath.Join(c.dir, "waits.yaml"))
	r, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := json.NewDecoder(r); ; {
		var line struct{ Message string }
		if err := lines.Decode(&line); err != nil {
			break
		}
		if strings.Contains(line.Message, "cannot join yet") {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("told to stop while it starts: %v", err)
	}
}

// What a killed postern dev --ephemeral left goes at the next start; nothing else does.
func TestEphemeralIsRemoved(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"ephemeral-123456", "ephemeral-notes", "nats"} {
		if err := os.Mkdir(filepath.Join(home, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeEphemeral(home); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(home)
	if err != nil || len(left) != 2 || left[0].Name() != "ephemeral-notes" || left[1].Name() != "nats" {
		t.Errorf("%v, %v", left, err)
	}
}

// Of directories without a home, those go that nobody has the lock of.
func TestKilledAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"postern-dev-killed", "postern-dev-runs"} {
		lock, err := embedded.LockDir(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "postern-dev-killed" {
			lock.Close()
		} else {
			defer lock.Close()
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "postern-dev-notes"), 0o700); err != nil {
		t.Fatal(err)
	}
	removeKilled(dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "postern-dev-notes" || left[1].Name() != "postern-dev-runs" {
		t.Errorf("%v, %v", left, err)
	}
}

func TestShellQuote(t *testing.T) {
	for word, want := range map[string]string{
		"/home/a/.postern/dev/ca.pem": "/home/a/.postern/dev/ca.pem", "/tmp/a b": "'/tmp/a b'", "it's": `'it'\''s'`, "": "''", "$HOME": "'$HOME'", "~x": "'~x'",
	} {
		if got := shellQuote(word); got != want {
			t.Errorf("%s is quoted as %s, want %s", word, got, want)
		}
	}
}

func TestDevFlags(t *testing.T) {
	for _, args := range [][]string{{"--log-level=loud"}, {"--trail-delay=-5m"}} {
		var b strings.Builder
		if code := run(append([]string{"dev", "--data-dir", t.TempDir()}, args...), strings.NewReader(""), &b, &b); code != 2 || !strings.Contains(b.String(), "must") {
			t.Errorf("%s: code %d: %s", args, code, b.String())
		}
	}
}
