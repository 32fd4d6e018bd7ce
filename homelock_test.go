package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/posternhq/postern/deploy/embedded"
)

// What killed helpers have left goes, what living ones need stays.
func TestSweep(t *testing.T) {
	p := &profile{dir: t.TempDir()}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Skipf("needs true: %v", err)
	}
	gone := ended.Process.Pid
	want := map[string]bool{}
	put := func(name string, locked, stays bool) {
		t.Helper()
		dir := filepath.Join(p.dir, name)
		lock, err := embedded.LockDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if locked {
			t.Cleanup(func() { lock.Close() })
		} else {
			lock.Close()
		}
		if err := os.WriteFile(filepath.Join(dir, "credentials"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		want[dir] = stays
	}
	put("proxy-1", false, false) // of a process that lives, but is no helper
	put("creds-1", false, false)
	put(fmt.Sprintf("proxy-%d", gone), true, true) // of another container
	put("apps", false, true)
	put("proxy-x", true, true)
	// Earlier versions had no lock.
	put(fmt.Sprintf("creds-%d", gone), false, false)
	put(fmt.Sprintf("creds-%d", os.Getpid()), false, true)
	for _, name := range []string{fmt.Sprintf("creds-%d", gone), fmt.Sprintf("creds-%d", os.Getpid())} {
		if err := os.Remove(filepath.Join(p.dir, name, "lock")); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.sweepAway(t.Context()); err != nil {
		t.Fatal(err)
	}
	for dir, stays := range want {
		if _, err := os.Stat(dir); (err == nil) != stays {
			t.Errorf("%s: %v, stays %v", filepath.Base(dir), err, stays)
		}
	}

	dir, free, err := p.ownDir(t.Context(), "proxy")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.sweepAway(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("swept while it runs: %v", err)
	}
	// Of a helper in another container, which has the same id.
	second, freeSecond, err := p.ownDir(t.Context(), "proxy")
	if err != nil || second == dir {
		t.Errorf("%s beside %s: %v", second, dir, err)
	}
	freeSecond()
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("removed with the other: %v", err)
	}
	free()
	for _, dir := range []string{dir, second} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is there when it is over", dir)
		}
	}
}

func TestLockDirWaits(t *testing.T) {
	dir := t.TempDir()
	held, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockDir(over, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("while it is held: %v", err)
	}
	got := make(chan error)
	go func() {
		f, err := lockDir(t.Context(), dir)
		if err == nil {
			err = f.Close()
		}
		got <- err
	}()
	held.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// A bundle of a helper that is gone is forgotten; one that somebody else named and
// that is not there is for them to hear of.
func TestKeptBundle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "proxy-123")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	here := filepath.Join(dir, "aws-ca-1.pem")
	if err := os.WriteFile(here, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(dir, "aws-ca-2.pem")
	for path, want := range map[string]string{"": "", here: here, gone: "", "/nowhere/corporate.pem": "/nowhere/corporate.pem"} {
		t.Setenv("AWS_CA_BUNDLE", path)
		if got := keptBundle(); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// A proxy that starts again takes the port it had, unless that can't be.
func TestLastAddr(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.addr")
	const free = "127.0.0.1:0"
	if got := lastAddr(file); got != free {
		t.Errorf("without a file: %s", got)
	}
	is := func(text string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return lastAddr(file)
	}
	for _, text := range []string{"", "127.0.0.1", "0.0.0.0:8080", "elsewhere:80"} {
		if got := is(text); got != free {
			t.Errorf("%q: %s", text, got)
		}
	}
	again := false
	for range 20 { // somebody else may take the port meanwhile
		ln, err := net.Listen("tcp", free)
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		if got := is(addr); got != free {
			t.Errorf("taken: %s", got)
		}
		ln.Close()
		again = again || lastAddr(file) == addr
	}
	if !again {
		t.Error("no port was found again")
	}
}
