package tlog_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/posternhq/postern/auditor/tlog"
)

// witness is one of https://c2sp.org/tlog-witness: it signs what extends the last
// checkpoint that it signed.
type witness struct {
	t      testing.TB
	log    tlog.PublicKey
	signer note.Signer
	mu     sync.Mutex
	last   tlog.Checkpoint
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, _ := io.ReadAll(r.Body)
	head, signed, _ := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	old, err := strconv.ParseUint(strings.TrimPrefix(lines[0], "old "), 10, 64)
	c, err2 := w.log.OpenCheckpoint("AUDIT", signed)
	if r.URL.Path != "/add-checkpoint" || err != nil || err2 != nil {
		http.Error(rw, "no", http.StatusForbidden)
		return
	}
	if old != w.last.Size {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintln(rw, w.last.Size)
		return
	}
	var path [][]byte
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			http.Error(rw, "no", http.StatusBadRequest)
			return
		}
		path = append(path, h)
	}
	if old > 0 && proof.VerifyConsistency(rfc6962.DefaultHasher, old, c.Size, path, w.last.Root[:], c.Root[:]) != nil {
		http.Error(rw, "no", http.StatusUnprocessableEntity)
		return
	}
	n, err := note.Open(signed, note.VerifierList(verifier(w.t, w.log)))
	if err != nil {
		w.t.Error(err)
		return
	}
	own, err := note.Sign(&note.Note{Text: n.Text}, w.signer)
	if err != nil {
		w.t.Error(err)
		return
	}
	w.last = c
	_, _ = rw.Write(own[len(n.Text)+1:])
}

func verifier(t testing.TB, k tlog.PublicKey) note.Verifier {
	t.Helper()
	v, err := k.Verifier("AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A witness's signature is on every checkpoint; it gives none to a log that is
// another one, and when it is away the log goes on without.
func TestWitness(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "witness.test")
	if err != nil {
		t.Fatal(err)
	}
	if vkey, err = fnote.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &witness{t: t, log: key(t, dir).Public(), signer: signer}
	srv := httptest.NewServer(w)
	defer srv.Close()
	l := open(t, dir, tlog.Witness{URL: srv.URL, Key: vkey})
	for _, to := range []uint64{5, 300} {
		if err := l.Append(t.Context(), leaves(l.Size()+1, to)); err != nil {
			t.Fatal(err)
		}
		if err := settled(t, dir, to).Cosigned(vkey); err != nil {
			t.Error(err)
		}
	}
	other := t.TempDir()
	copyFile(t, filepath.Join(dir, "key"), filepath.Join(other, "key"))
	forged := leaves(1, 301)
	forged[2].Hash[0] ^= 1
	if err := open(t, other, tlog.Witness{URL: srv.URL, Key: vkey}).Append(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if settled(t, other, 301).Cosigned(vkey) == nil {
		t.Error("the witness signed another log of the same name")
	}
	srv.Close()
	if err := l.Append(t.Context(), leaves(301, 302)); err != nil {
		t.Fatal(err)
	}
	if settled(t, dir, 302).Cosigned(vkey) == nil {
		t.Error("a witness that is away has signed")
	}
}

// A witness that answers without end fills nobody's memory, and holds no checkpoint up.
func TestWitnessWithoutEnd(t *testing.T) {
	_, vkey, err := note.GenerateKey(rand.Reader, "witness.test")
	if err != nil {
		t.Fatal(err)
	}
	if vkey, err = fnote.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	var said atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for chunk := make([]byte, 64<<10); ; {
			n, err := w.Write(chunk)
			if said.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	if err := open(t, dir, tlog.Witness{URL: srv.URL, Key: vkey}).Append(t.Context(), leaves(1, 5)); err != nil {
		t.Fatal(err)
	}
	settled(t, dir, 5)
	const most = 64 << 20 // what stands in sockets, of a few tries
	if n := said.Load(); n == 0 || n > most {
		t.Errorf("%d MB were taken from it", n>>20)
	}
}

// Published checkpoints are commits, pushed to where nobody takes them back.
func TestKeepGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	dir, bare, work := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "work")
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q", "--bare", "-b", "main", bare)
	git("clone", "-q", bare, work)
	git("-C", work, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "--allow-empty", "-m", "begin")
	git("-C", work, "push", "-q", "-u", "origin", "HEAD")
	if err := os.WriteFile(filepath.Join(work, "unrelated"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	keep := tlog.KeepGit(work)
	l := open(t, dir)
	for _, to := range []uint64{3, 7} {
		if err := l.Append(t.Context(), leaves(l.Size()+1, to)); err != nil {
			t.Fatal(err)
		}
		c := settled(t, dir, to)
		for range 2 { // again after an error, say
			if err := keep(t.Context(), []tlog.Checkpoint{c}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if log := git("-C", bare, "log", "--format=%s", "main"); log != "checkpoints: AUDIT 7\ncheckpoints: AUDIT 3\nbegin\n" {
		t.Errorf("pushed:\n%s", log)
	}
	kept, err := key(t, dir).Public().Kept(work, []string{"AUDIT"})
	if err != nil || len(kept) != 1 || kept[0].Size != 7 {
		t.Errorf("kept %v, %v", kept, err)
	}
	if err := tlog.KeepGit(t.TempDir())(t.Context(), kept); err == nil {
		t.Error("a folder that is no repository keeps checkpoints")
	}
}

// The clone of a repository in which there is nothing yet is pushed, too; one that is on no
// branch, and could not be, says so.
func TestKeepGitFirst(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	root, dir := t.TempDir(), t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q", "--bare", "-b", "main", "bare")
	git("clone", "-q", "bare", "work")
	l, keep := open(t, dir), tlog.KeepGit(filepath.Join(root, "work"))
	for _, to := range []uint64{3, 5} {
		if err := l.Append(t.Context(), leaves(l.Size()+1, to)); err != nil {
			t.Fatal(err)
		}
		if err := keep(t.Context(), []tlog.Checkpoint{settled(t, dir, to)}); err != nil {
			t.Fatal(err)
		}
	}
	if log := git("-C", "bare", "log", "--format=%s", "main"); log != "checkpoints: AUDIT 5\ncheckpoints: AUDIT 3\n" {
		t.Errorf("pushed:\n%s", log)
	}
	git("-C", "work", "switch", "-q", "--detach")
	if err := keep(t.Context(), []tlog.Checkpoint{settled(t, dir, 5)}); err == nil || !strings.Contains(err.Error(), "on no branch") {
		t.Errorf("on no branch: %v", err)
	}
}

// What others push to the branch of a witness's repository stays, and stops no checkpoint;
// of two auditors that push to one branch, the second is told what to do.
func TestKeepGitBesideOthers(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	root := t.TempDir()
	git := func(clone string, args ...string) string {
		t.Helper()
		args = append([]string{"-C", filepath.Join(root, clone), "-c", "user.name=t", "-c", "user.email=t@localhost"}, args...)
		out, err := exec.Command("git", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	git(".", "init", "-q", "--bare", "-b", "main", "bare")
	for _, clone := range []string{"mine", "person", "other"} {
		git(".", "clone", "-q", "bare", clone)
		if clone == "mine" {
			git(clone, "commit", "-q", "--allow-empty", "-m", "begin")
			git(clone, "push", "-q", "-u", "origin", "HEAD")
		}
	}
	dirs := map[string]string{"mine": t.TempDir(), "other": t.TempDir()}
	logs := map[string]*tlog.Log{"mine": open(t, dirs["mine"]), "other": open(t, dirs["other"])}
	keep := func(clone string, to uint64) error {
		t.Helper()
		l := logs[clone]
		if err := l.Append(t.Context(), leaves(l.Size()+1, to)); err != nil {
			t.Fatal(err)
		}
		return tlog.KeepGit(filepath.Join(root, clone))(t.Context(), []tlog.Checkpoint{settled(t, dirs[clone], to)})
	}
	git("person", "commit", "-q", "--allow-empty", "-m", "a person's")
	git("person", "push", "-q")
	if err := keep("mine", 3); err != nil {
		t.Fatal(err)
	}
	if log := git("bare", "log", "--format=%s", "main"); !strings.Contains(log, "checkpoints: AUDIT 3\n") || !strings.Contains(log, "a person's\n") {
		t.Errorf("pushed:\n%s", log)
	}

	for range 2 { // it is tried again and again
		if err := keep("other", 5); err == nil || !strings.Contains(err.Error(), "need a branch of their own (git -C "+filepath.Join(root, "other")+" push -u origin HEAD:NAME)") {
			t.Fatalf("two auditors push to one branch: %v", err)
		}
	}
	git("other", "push", "-q", "-u", "origin", "HEAD:second")
	if err := errors.Join(keep("other", 7), keep("mine", 4)); err != nil {
		t.Fatal(err)
	}
	for branch, want := range map[string]string{"main": "AUDIT 4", "second": "AUDIT 7"} {
		if log := git("bare", "log", "-1", "--format=%s", branch); log != "checkpoints: "+want+"\n" {
			t.Errorf("%s ends in %q", branch, log)
		}
	}
}
