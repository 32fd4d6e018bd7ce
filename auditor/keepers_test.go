package auditor_test

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/events"
)

// A witness that hangs, such as a repository that is pushed to where nobody answers, holds
// up neither the other witnesses nor what is published, nor the auditor's end for long.
func TestWitnessHangs(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	t.Parallel()
	dir, repo := t.TempDir(), t.TempDir()
	if out, err := exec.Command("git", "init", "-q", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "witness"), 0o700); err != nil {
		t.Fatal(err)
	}
	begun := filepath.Join(dir, "begun")
	hook := "#!/bin/sh\ntouch '" + begun + "'\nexec sleep 30\n"
	if err := os.WriteFile(filepath.Join(repo, ".git", "hooks", "pre-commit"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	w := newWorld(t, func(c *auditor.Config) {
		c.DataDir = filepath.Join(dir, "auditor")
		c.Notary = auditor.NotaryConfig{PublishEvery: 50 * time.Millisecond, Dirs: []string{filepath.Join(dir, "witness")}, Repos: []string{repo}}
		c.Listen = "127.0.0.1:0"
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue("auditor")}}
	})
	s, err := ca.client(w, "sec", "auditor").LogStatus(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	has := func(size uint64) bool {
		cs, _ := s.Key.Kept(filepath.Join(dir, "witness"), []string{events.Audit})
		for _, c := range cs {
			if c.Size >= size {
				return true
			}
		}
		return false
	}
	w.say("first", "", &events.AWSRequestAdmitted{AWSRequest: awsRequest("first", "alice", time.Now())})
	w.until("the repository hangs", func() bool { _, err := os.Stat(begun); return err == nil })
	w.say("second", "", &events.AWSRequestAdmitted{AWSRequest: awsRequest("second", "alice", time.Now())})
	w.until("the other witness has the next checkpoint", func() bool { return has(2) })
	begin := time.Now()
	w.stop()
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("it took %s to end", d)
	}
	if _, err := os.Stat(filepath.Join(repo, ".git", "index.lock")); err == nil {
		t.Error("git left its lock, and nothing can be committed any more")
	}
}
