package tlog_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/tlog"
)

// leafOf is what the test's stream has at a sequence.
func leafOf(seq uint64) tlog.Leaf {
	body := binary.BigEndian.AppendUint64(nil, seq)
	return tlog.Leaf{Stream: "AUDIT", Seq: seq, Hash: tlog.HashOf("audit.x", time.Unix(0, int64(seq)), body)}
}

func leaves(from, to uint64) []tlog.Leaf {
	var out []tlog.Leaf
	for seq := from; seq <= to; seq++ {
		out = append(out, leafOf(seq))
	}
	return out
}

func key(t testing.TB, dir string) *tlog.Key {
	t.Helper()
	k, err := tlog.LoadKey(filepath.Join(dir, "key"), "example.com/log")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, dir string, ws ...tlog.Witness) *tlog.Log {
	t.Helper()
	l, err := tlog.Open(t.Context(), tlog.Config{Dir: filepath.Join(dir, "AUDIT"), Stream: "AUDIT", Key: key(t, dir), Witnesses: ws})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// settled waits for the checkpoint of a size.
func settled(t testing.TB, dir string, size uint64) tlog.Checkpoint {
	t.Helper()
	pub, tiles := key(t, dir).Public(), tlog.Files(filepath.Join(dir, "AUDIT"))
	for {
		c, err := pub.Latest(t.Context(), "AUDIT", tiles)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if c.Size >= size {
			return c
		}
		select {
		case <-t.Context().Done():
			t.Fatal("no checkpoint")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// walk returns what is wrong with a log, and how many leaves were right.
func walk(t testing.TB, dir string, after uint64, to tlog.Checkpoint, earlier ...tlog.Checkpoint) (good uint64, wrong []error) {
	t.Helper()
	next := after + 1
	for l, err := range tlog.Walk(t.Context(), tlog.Files(filepath.Join(dir, "AUDIT")), after, to, earlier) {
		switch {
		case err != nil:
			wrong = append(wrong, err)
		case l == leafOf(l.Seq):
			good++
		}
		if err == nil && l.Seq != next {
			t.Fatalf("leaf %d in place of %d", l.Seq, next)
		}
		if err == nil || strings.Contains(err.Error(), "log entry") {
			next = l.Seq + 1
		}
	}
	return good, wrong
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	if _, wrong := walk(t, dir, 0, func() tlog.Checkpoint { open(t, dir); return settled(t, dir, 0) }()); wrong != nil {
		t.Error("an empty log:", wrong)
	}
	var past []tlog.Checkpoint
	const size = 70_000 // three levels of tiles
	at := uint64(0)
	for _, to := range []uint64{1, 255, 256, 300, size} {
		l := open(t, dir)
		if l.Size() != at {
			t.Fatalf("size %d, want %d", l.Size(), at)
		}
		if err := l.Append(t.Context(), leaves(at+1, to)); err != nil {
			t.Fatal(err)
		}
		if x, err := l.Leaf(t.Context(), to); err != nil || x != leafOf(to) {
			t.Errorf("leaf %v, %v", x, err)
		}
		past = append(past, settled(t, dir, to))
		at = to
	}
	last := past[len(past)-1]
	for _, after := range []uint64{0, 1, 254, 256, 65_536, 66_000, size} {
		if good, wrong := walk(t, dir, after, last, past...); good != size-after || wrong != nil {
			t.Errorf("after %d: %d leaves are right, and %v", after, good, wrong)
		}
	}
	tiles := tlog.Files(filepath.Join(dir, "AUDIT"))
	for _, c := range past {
		if err := last.Extends(t.Context(), tiles, c); err != nil {
			t.Error(err)
		}
		prover, err := tlog.NewProver(t.Context(), tiles, c)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := prover.Prove(t.Context(), leafOf(1))
		if err != nil {
			t.Fatal(err)
		}
		read, err := tlog.ParseProof(proof.Text())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Included(leafOf(1), read.Path); err != nil {
			t.Error(err)
		}
		forged := leafOf(1)
		forged.Hash[31] ^= 1
		if c.Included(leafOf(2), read.Path) == nil || c.Included(forged, read.Path) == nil {
			t.Error("another leaf is included by the same proof")
		}
	}
	if err := open(t, dir).Append(t.Context(), leaves(size+2, size+2)); err == nil {
		t.Error("a leaf past the log's end was taken")
	}
}

// Each change to any file of the log is seen, and so is a log that was another
// one before.
func TestWalkFindsEveryChange(t *testing.T) {
	dir := t.TempDir()
	const size = 600
	if err := open(t, dir).Append(t.Context(), leaves(1, size)); err != nil {
		t.Fatal(err)
	}
	last := settled(t, dir, size)
	var files []string
	root := filepath.Join(dir, "AUDIT", "tile")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, p)
		}
		return err
	})
	if err != nil || len(files) < 7 {
		t.Fatalf("files %v, error %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, len(b) / 2, len(b) - 1} {
			b[i] ^= 1
			write(t, f, b)
			if _, wrong := walk(t, dir, 0, last); len(wrong) == 0 {
				t.Errorf("byte %d of %s: nothing is wrong", i, f)
			}
			b[i] ^= 1
		}
		write(t, f, b)
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
		if _, wrong := walk(t, dir, 0, last); len(wrong) == 0 {
			t.Errorf("without %s: nothing is wrong", f)
		}
		write(t, f, b)
	}
	if good, wrong := walk(t, dir, 0, last); good != size || wrong != nil {
		t.Errorf("%d leaves are right, and %v", good, wrong)
	}

	other := t.TempDir()
	copyFile(t, filepath.Join(dir, "key"), filepath.Join(other, "key"))
	forged := leaves(1, size+1)
	forged[16].Hash[0] ^= 1
	if err := open(t, other).Append(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	fork := settled(t, other, size+1)
	if good, wrong := walk(t, other, 0, fork, last); good != size || len(wrong) != 1 || !errors.Is(wrong[0], tlog.ErrFork) {
		t.Errorf("of a fork %d leaves are right, and %v", good, wrong)
	}
	if err := fork.Extends(t.Context(), tlog.Files(filepath.Join(other, "AUDIT")), last); err == nil {
		t.Error("a fork extends what it forked from")
	}
	if err := last.Extends(t.Context(), tlog.Files(filepath.Join(dir, "AUDIT")), fork); err == nil {
		t.Error("a log that was cut extends what it was")
	}
}

// TestKeyOfSeveral: of auditors that start together on one directory none makes the key
// of another void, and none reads half of it.
func TestKeyOfSeveral(t *testing.T) {
	for range 20 {
		file := filepath.Join(t.TempDir(), "log", "key")
		keys := make([]tlog.PublicKey, 8)
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				k, err := tlog.LoadKey(file, "")
				if err != nil {
					t.Error(err)
					return
				}
				keys[i] = k.Public()
			})
		}
		wg.Wait()
		if slices.Sort(keys); keys[0] != keys[len(keys)-1] {
			t.Fatalf("several keys: %q", keys)
		}
		if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
			t.Fatalf("beside the key: %v, %v", left, err)
		}
	}
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	k := key(t, dir)
	if info, err := os.Stat(filepath.Join(dir, "key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file %v, %v", info.Mode(), err)
	}
	if again := key(t, dir); again.Public() != k.Public() {
		t.Error("another key the second time")
	}
	if _, err := tlog.LoadKey(filepath.Join(dir, "key"), "example.com/other"); err == nil {
		t.Error("the log changed its name")
	}
	if _, err := tlog.LoadKey(filepath.Join(dir, "new"), "has space"); err == nil {
		t.Error("a name with a space")
	}
	signed, err := k.Sign("bundle", "text\n")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := k.Public().Open("bundle", signed); err != nil || text != "text\n" {
		t.Errorf("text %q, error %v", text, err)
	}
	if _, err := k.Public().Open("AUDIT", signed); err == nil {
		t.Error("a signature for one thing was taken for another")
	}
	if _, err := key(t, t.TempDir()).Public().Open("bundle", signed); err == nil {
		t.Error("a stranger's signature was taken")
	}
	for _, bad := range []tlog.PublicKey{"", "x", "a+b+c", k.Public()[1:]} {
		if bad.Check() == nil {
			t.Errorf("key %q is good", bad)
		}
	}
}

// A process that is killed at any moment leaves no leaf out of place.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("POSTERN_TEST_LOG"); dir != "" {
		l := open(t, dir)
		for {
			if err := l.Append(t.Context(), leaves(l.Size()+1, l.Size()+1500)); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	key(t, dir)
	size := uint64(0)
	var seen []tlog.Checkpoint
	for i := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "POSTERN_TEST_LOG="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c := settled(t, dir, size+1)
		seen = append(seen, c)
		<-time.After(time.Duration(i*7) * time.Millisecond) // another moment each time
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		size = settled(t, dir, 0).Size
	}
	l := open(t, dir)
	if err := l.Append(t.Context(), leaves(l.Size()+1, l.Size()+1)); err != nil {
		t.Fatal(err)
	}
	last := settled(t, dir, l.Size())
	if good, wrong := walk(t, dir, 0, last, seen...); good != last.Size || wrong != nil {
		t.Errorf("%d of %d leaves are right, and %v", good, last.Size, wrong)
	}
}

func FuzzParseProof(f *testing.F) {
	f.Add(tlog.Proof{Seq: 18, Path: [][]byte{make([]byte, 32)}, Note: []byte("a\n1\n\n— a x\n")}.Text())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := tlog.ParseProof(b); err == nil && string(p.Text()) != string(b) {
			t.Errorf("%q became %q", b, p.Text())
		}
	})
}

func FuzzParseLeaf(f *testing.F) {
	f.Add(leafOf(17).Entry())
	f.Add([]byte("AUDIT 017 " + strings.Repeat("A", 64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := tlog.ParseLeaf(b); err == nil && string(l.Entry()) != string(b) {
			t.Errorf("%q became %q", b, l.Entry())
		}
	})
}

// BenchmarkAppend is the log's rate, against writing the same entries to one
// file with a sync after each batch.
func BenchmarkAppend(b *testing.B) {
	dir := b.TempDir()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	l, err := tlog.Open(ctx, tlog.Config{Dir: filepath.Join(dir, "AUDIT"), Stream: "AUDIT", Key: key(b, dir)})
	if err != nil {
		b.Fatal(err)
	}
	raw, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	var inLog, inFile, behind time.Duration
	var n uint64
	for b.Loop() {
		batch := leaves(l.Size()+1, l.Size()+tlog.MaxBatch)
		start := time.Now()
		if err := l.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		inLog += time.Since(start)
		n += uint64(len(batch))
		start = time.Now()
		for _, x := range batch {
			if _, err := fmt.Fprintf(raw, "%s\n", x.Entry()); err != nil {
				b.Fatal(err)
			}
		}
		if err := raw.Sync(); err != nil {
			b.Fatal(err)
		}
		inFile += time.Since(start)
	}
	start := time.Now()
	settled(b, dir, l.Size())
	behind = time.Since(start)
	b.ReportMetric(float64(n)/inLog.Seconds(), "entries/s")
	b.ReportMetric(float64(n)/inFile.Seconds(), "one-file/s")
	b.ReportMetric(behind.Seconds(), "checkpoint-behind-s")
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, b)
}

// Auditors whose logs have one name may share a witness directory: of each every checkpoint
// is kept.
func TestKeepDirOfSeveral(t *testing.T) {
	shared := t.TempDir()
	keep := tlog.KeepDir(shared)
	var keys []tlog.PublicKey
	for range 2 {
		dir := t.TempDir()
		if err := open(t, dir).Append(t.Context(), leaves(1, 5)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // again after an error, say
			if err := keep(t.Context(), []tlog.Checkpoint{settled(t, dir, 5)}); err != nil {
				t.Fatal(err)
			}
		}
		keys = append(keys, key(t, dir).Public())
	}
	if keys[0].Name() != keys[1].Name() || keys[0] == keys[1] {
		t.Fatalf("keys %v", keys)
	}
	for _, k := range keys {
		if kept, err := k.Kept(shared, []string{"AUDIT"}); err != nil || len(kept) != 1 || kept[0].Size != 5 {
			t.Errorf("of %s: %v, %v", k, kept, err)
		}
	}
}

// A log whose directory was moved away, or can't be written to, is an error: tessera panics,
// and would take all else in the process along. A new one takes its place.
func TestLogDirectoryGone(t *testing.T) {
	dir := t.TempDir()
	log, away := filepath.Join(dir, "AUDIT"), filepath.Join(dir, "away")
	l := open(t, dir)
	if err := l.Append(t.Context(), leaves(1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(log, away); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), leaves(11, 20)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("appended to a log that is not there: %v", err)
	}
	if l = open(t, dir); l.Size() != 0 {
		t.Errorf("a new log has %d leaves", l.Size())
	}
	if err := l.Append(t.Context(), leaves(1, 20)); err != nil {
		t.Error(err)
	}
	// A directory in its place can't be opened for writing, as nothing can on a disk that is
	// read-only by now.
	lock := filepath.Join(log, ".state", "treeState.lock")
	if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), leaves(21, 30)); err == nil {
		t.Error("appended to what can't be written to")
	}
	if _, err := tlog.Open(t.Context(), tlog.Config{Dir: log, Stream: "AUDIT", Key: key(t, dir)}); err == nil || !strings.Contains(err.Error(), lock) {
		t.Errorf("opened what can't be written to: %v", err)
	}
}

// A witness directory whose disk is not mounted is not made on the auditor's own.
func TestKeepDirNotThere(t *testing.T) {
	dir, absent := t.TempDir(), filepath.Join(t.TempDir(), "checkpoints")
	if err := open(t, dir).Append(t.Context(), leaves(1, 5)); err != nil {
		t.Fatal(err)
	}
	err := tlog.KeepDir(absent)(t.Context(), []tlog.Checkpoint{settled(t, dir, 5)})
	if err == nil || !strings.Contains(err.Error(), absent) || !strings.Contains(err.Error(), "mount its disk, or make it") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(absent); !os.IsNotExist(err) {
		t.Errorf("it was made: %v", err)
	}
}
