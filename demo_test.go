package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// Colours are for terminals.
func TestDemoInFiles(t *testing.T) {
	var b strings.Builder
	d := &demonstration{cli: &cli{stderr: &b}}
	d.say("\033[36m%s$\033[0m postern %s \033[1mnow\033[0m", "alice", "status")
	if got := b.String(); got != "alice$ postern status now\n" {
		t.Errorf("%q", got)
	}
}

// TestDemo plays what README's first command plays.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the demo takes a minute")
	}
	embeddedtest.Lib(t)
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("the AWS CLI is not installed here")
	}
	tmp := t.TempDir()
	cmd := exec.Command(plainBinary(t), "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "skipped:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	for _, want := range []string{
		"postern request create --roles payments-engineer", // the denial's offer
		"assumed-role/PosternEngineer/alice",
		"20 MiB went up and came back the same",
		"alice's download was cut",
		"around postern", // the finding
		"AWS request",    // both sides of one call
		"bob said approve",
		"That was the main job",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo did not show %q:\n%s", want, out)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v (error %v)", left, err)
	}
}
