package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// javaScript: the AWS SDK for JavaScript v3, installed by npm once a version.
func (c *clients) javaScript(t *testing.T) {
	c.script(t, "node", nodeScript(t, "client.mjs"))
}

// nodeScript is a script of testdata/clients beside the modules that it needs, which is
// where node looks for them.
func nodeScript(t *testing.T, name string) string {
	t.Helper()
	needs(t, "node", "--version")
	dir := t.TempDir()
	script, err := os.ReadFile("testdata/clients/" + name)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), script, 0o600)
	}
	if err == nil {
		err = os.Symlink(filepath.Join(nodeModules(t), "node_modules"), filepath.Join(dir, "node_modules"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// nodeModules is a directory with what package.json names, kept from run to run.
func nodeModules(t *testing.T) string {
	t.Helper()
	needs(t, "npm", "--version")
	manifest, err := os.ReadFile("testdata/clients/package.json")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no place to keep npm packages: %v", err)
	}
	sum := sha256.Sum256(manifest)
	dir := filepath.Join(cache, "postern-tests", "npm-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	npm := exec.CommandContext(t.Context(), "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Skipf("the AWS SDK for JavaScript can't be installed: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "complete"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// boto3, in all its ways to sign a payload and to address a bucket.
func (c *clients) boto3(t *testing.T) {
	needs(t, "python3", "-c", "import boto3")
	c.script(t, "python3", "testdata/clients/client.py")
}

// script runs a client and checks what it says of its calls.
func (c *clients) script(t *testing.T, argv ...string) {
	t.Helper()
	dir := t.TempDir()
	keys, err := json.Marshal(oddKeys)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "keys.json"), keys, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(dir, "big")
	randomFile(t, big, 64<<20)
	cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], filepath.Join(dir, "keys.json"), big)...)
	cmd.Env = environ(c.vars, "NODE_EXTRA_CA_CERTS="+c.vars["AWS_CA_BUNDLE"])
	c.told(t, output(t, cmd))
}

// told checks what a client says of its calls, in lines of JSON.
func (c *clients) told(t *testing.T, out string) {
	t.Helper()
	var calls []clientCall
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var call clientCall
		if err := d.Decode(&call); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, call)
	}
	c.recorded(t, calls)
	t.Logf("%d calls, one attempt each, all on record", len(calls))
}
