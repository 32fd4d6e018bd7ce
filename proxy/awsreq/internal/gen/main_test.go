package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestTablesAreFresh: the committed tables are what the generator makes now.
func TestTablesAreFresh(t *testing.T) {
	root := os.Getenv("POSTERN_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "..", "shared")
	}
	data := filepath.Join(root, "data")
	for _, name := range []string{"aws-operations.tsv.gz", "aws-endpoints.tsv.gz", "iam-actions.tsv.gz", "iam-resources.tsv.gz"} {
		if _, err := os.Stat(filepath.Join(data, name)); err != nil {
			t.Skipf("shared data is absent (set POSTERN_SHARED): %v", err)
		}
	}
	out := t.TempDir()
	if err := run(data, out, "."); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hosts.tsv", "operations.tsv", "resources.tsv"} {
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("..", "..", "tables", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("tables/%s is stale: run go generate ./proxy/awsreq", name)
		}
		if len(want) >= 2<<20 {
			t.Errorf("tables/%s has %d bytes, at most 2 MiB are wanted", name, len(want))
		}
	}
}
