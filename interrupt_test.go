//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/posternhq/postern/broker/api"
)

// someIdentity writes an identity file that no broker knows.
func someIdentity(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "alice"}, NotAfter: time.Now().Add(time.Hour)},
		&x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	id := identity{BrokerURL: "https://127.0.0.1:1", Identity: api.Identity{KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), CertPEM: certPEM, CAPEM: certPEM}}
	file := filepath.Join(t.TempDir(), "alice.pem")
	if err := writePrivateBytes(file, id.file()); err != nil {
		t.Fatal(err)
	}
	return file
}

// program is postern with a home of its own. It is killed if it does not end.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, plainBinary(t), args...)
	cmd.Env = append(os.Environ(), "POSTERN_HOME="+t.TempDir(), "POSTERN_IDENTITY=")
	return cmd
}

// endsWith wants an exit code.
func endsWith(t *testing.T, err error, code int) {
	t.Helper()
	if exited, ok := errors.AsType[*exec.ExitError](err); !ok || exited.ExitCode() != code {
		t.Errorf("ended with %v, want exit code %d", err, code)
	}
}

// A signal ends postern where it waits for stdin.
func TestSignalWhileStdinIsRead(t *testing.T) {
	for _, c := range []struct {
		signal os.Signal
		code   int
		args   []string
	}{
		{syscall.SIGTERM, 143, []string{"create", "-f", "-"}},
		{os.Interrupt, 130, []string{"create", "-f", "-"}},
		{syscall.SIGHUP, 129, []string{"create", "-f", "-"}},
		{os.Interrupt, 130, []string{"consumers", "add", "x", "--filter", "audit.>", "--webhook", "https://siem.example.com/", "--secret-file", "/dev/stdin"}},
	} {
		cmd := program(t, append([]string{"--identity", someIdentity(t)}, c.args...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(bytes.Repeat([]byte("#\n"), 1<<20)); err != nil { // more than a pipe holds: it is reading
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		endsWith(t, cmd.Wait(), c.code)
		_ = in.Close()
	}
}

// A signal ends postern where it waits for a file that is a FIFO.
func TestSignalWhileFIFOIsRead(t *testing.T) {
	for _, args := range [][]string{{"status", "--identity"}, {"serve", "--config"}, {"config", "check"}} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := program(t, append(args, fifo)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for who reads
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		endsWith(t, cmd.Wait(), 143)
		_ = w.Close()
	}
}

// Ctrl-C at a password leaves a terminal that shows what is typed.
func TestInterruptAtPassword(t *testing.T) {
	outside, terminal, err := pty.Open()
	if err != nil {
		t.Skipf("there are no pseudo terminals here: %v", err)
	}
	defer outside.Close()
	defer terminal.Close()
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "--identity", someIdentity(t), "passwd", "alice")
	prompts, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(prompts, make([]byte, len("New password of alice: "))); err != nil {
		t.Fatal(err)
	}
	for { // until it doesn't show what is typed
		hidden, err := term.GetState(int(terminal.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(hidden, before) {
			break
		}
	}
	if _, err := outside.Write([]byte("secr\x03")); err != nil {
		t.Fatal(err)
	}
	endsWith(t, cmd.Wait(), 130)
	after, err := term.GetState(int(terminal.Fd()))
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("the terminal was left %+v, %v; it was %+v", after, err, before)
	}
}
