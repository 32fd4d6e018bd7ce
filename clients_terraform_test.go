package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// terraform: apply, a clean plan, destroy.
func (c *clients) terraform(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts the AWS provider four times")
	}
	plugins := terraformPlugins()
	if _, err := exec.LookPath("terraform"); err != nil || plugins == "" {
		t.Skipf("needs terraform with its AWS provider: %v", err)
	}
	dir := t.TempDir()
	config, err := os.ReadFile("testdata/clients/main.tf")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "main.tf"), config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-plugin-dir=" + plugins},
		{"apply", "-auto-approve", "-input=false"},
		{"plan", "-detailed-exitcode", "-input=false"}, // 2 when there is something to change
		{"destroy", "-auto-approve", "-input=false"},
	} {
		cmd := c.postern(t, "alice", c.home, append([]string{"exec", "--app", "clients", "--", "terraform", "-chdir=" + dir}, append(args, "-no-color")...)...)
		cmd.Env = append(cmd.Env, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
		out := output(t, cmd)
		if args[0] == "apply" && !strings.Contains(out, "3 added") {
			t.Errorf("apply: %s", out)
		}
	}
	if left := output(t, c.aws(t, "s3", "ls")); strings.Contains(left, "terraform-clients") {
		t.Errorf("destroy left the bucket: %s", left)
	}
}
