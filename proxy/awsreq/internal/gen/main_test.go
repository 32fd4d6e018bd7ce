package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

// TestTablesAreFresh: the committed tables are what the generator makes now.
func TestTablesAreFresh(t *testing.T) {
	data := datatest.File(t, "data")
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

// TestUnlisted: what IAM lists no action for is what unlisted.tsv says, and no more.
func TestUnlisted(t *testing.T) {
	why := map[string]string{}
	if err := columns("unlisted.tsv", 3, 3, func(f []string) {
		for op := range strings.SplitSeq(f[2], ",") {
			why[f[0]+" "+op] = f[1]
		}
	}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "tables", "operations.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	total, counts, service := 0, map[string]int{}, ""
	for line := range strings.Lines(string(text)) {
		switch f := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); {
		case f[0] == "S":
			service = f[1]
		case f[0] == "O":
			total++
			id := service + " " + f[1]
			if unlisted := strings.ContainsAny(f[5], "rlwt"); unlisted != (why[id] != "") {
				t.Errorf("%s: IAM lists no %s: %v; unlisted.tsv says %q", id, f[4], unlisted, why[id])
			} else if unlisted {
				counts[why[id]]++
				delete(why, id)
			}
		}
	}
	t.Logf("of %d operations IAM lists no action for: %v", total, counts)
	for id := range why {
		t.Errorf("unlisted.tsv: there is no operation %s", id)
	}
	for kind := range counts {
		if kind != "retired" && kind != "token" && kind != "unlisted" {
			t.Errorf("unlisted.tsv: %q is no reason", kind)
		}
	}
}
