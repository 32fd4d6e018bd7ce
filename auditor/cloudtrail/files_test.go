package cloudtrail_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/posternhq/postern/auditor/cloudtrail"
)

// A directory's files are those that `postern audit ingest` takes of it.
func TestList(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(`{"Records":[]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, path string) {
		t.Helper()
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a.json", "b.json.gz", "c/d.ndjson", "e.ndjson.gz", "f.jsonl", "g.jsonl.gz", ".h.json", "i.txt", "j.gz", "k.json.part",
		"1_CloudTrail-Digest_eu.json.gz"} {
		write(filepath.Join(dir, name))
	}
	write(filepath.Join(elsewhere, "x.json"))
	link(filepath.Join(elsewhere, "x.json"), filepath.Join(dir, "l.json"))
	link(filepath.Join(elsewhere, "nothing"), filepath.Join(dir, "m.json"))
	link(elsewhere, filepath.Join(dir, "n.json")) // a folder
	link(dir, filepath.Join(elsewhere, "dir"))
	for _, root := range []string{dir, dir + "/", filepath.Join(elsewhere, "dir")} {
		got, err := cloudtrail.List(root)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, name := range []string{"a.json", "b.json.gz", "c/d.ndjson", "e.ndjson.gz", "f.jsonl", "g.jsonl.gz", "l.json"} {
			want = append(want, filepath.Join(root, name))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", root, got, want)
		}
	}
	if got, err := cloudtrail.List(filepath.Join(dir, "i.txt")); err != nil || len(got) != 1 {
		t.Errorf("a file that is named: %q, %v", got, err)
	}
}
