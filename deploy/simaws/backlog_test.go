package simaws

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a killed one had not delivered, the next does, to the same places.
func TestBacklog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pending.jsonl")
	var put []string
	open := func() *trail {
		t.Helper()
		tr, err := openTrail(filepath.Join(dir, "trail"), filepath.Join(dir, "tmp"), time.Minute, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		tr.put = func(bucket, _ string, _ []byte, _ map[string]string) error { put = append(put, bucket); return nil }
		tr.state.Trails = []*trailState{{Trail: Trail{Account: testAccount, HomeRegion: "us-east-1", Name: "t", Bucket: "b"}, Chains: map[string]*digestChain{}}}
		if err := tr.keep(file); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	killed := open()
	killed.take(testRecord(testAccount, "us-east-1"), false, "", true)
	if err := killed.deliver(time.Time{}); err != nil {
		t.Fatal(err)
	}
	killed.take(testRecord(testAccount, "us-east-1"), false, "", true)
	killed.take(testRecord(otherAccount, "us-east-1"), false, "", true) // not the trail's
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(`{"Due":"2026-`); err != nil { // cut short
		t.Fatal(err)
	}
	files := countFiles(t, filepath.Join(dir, "trail"))

	next := open()
	if len(next.pending) != 2 {
		t.Fatalf("%d are left, want 2", len(next.pending))
	}
	if err := next.deliver(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if n := countFiles(t, filepath.Join(dir, "trail")) - files; n != 2 || strings.Join(put, " ") != "b b" {
		t.Errorf("%d files, and objects in %v", n, put)
	}
	if again := open(); len(again.pending) != 0 {
		t.Errorf("%d are left in the end", len(again.pending))
	}
}
