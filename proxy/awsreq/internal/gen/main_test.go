package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	out, names := t.TempDir(), []string{"hosts.tsv", "operations.tsv", "resources.tsv"}
	models, err := exec.Command("python3", "-c", "import botocore, os; assert botocore.__version__.startswith('1.43.'); print(os.path.join(os.path.dirname(botocore.__file__), 'data'))").Output()
	if err == nil {
		names = append(names, "members.tsv")
	} else {
		t.Logf("members.tsv is not checked: python3 with botocore 1.43 is needed: %v", err)
	}
	if err := run(data, strings.TrimSpace(string(models)), out, "."); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
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
