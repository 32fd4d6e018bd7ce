package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// TestWaitIsSeen: on a terminal, `postern aws --request` shows that it waits, and
// goes on once somebody has decided.
func TestWaitIsSeen(t *testing.T) {
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skipf("needs the AWS CLI: %v", err)
	}
	dev := startDev(t)
	if dev == nil {
		t.Skip("postern dev does not run here: see the lines above")
	}
	c := &clients{dev: dev, home: t.TempDir()}
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	cmd := c.postern(t, "alice", c.home, "aws", "--request", "--reason", "INC-42", "s3", "ls")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close() // the command's own is what keeps it open
	frames, id := map[string]bool{}, ""
	line := regexp.MustCompile(`\r\x1b\[K([|/\\-]) waiting for a decision on request (\w+), `)
	var seen strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := terminal.Read(buf)
		seen.Write(buf[:n])
		for _, m := range line.FindAllStringSubmatch(seen.String(), -1) {
			frames[m[1]] = true
			if id == "" && len(frames) == 4 {
				id = m[2]
				c.must(t, "bob", "request", "review", "--approve", id)
			}
		}
		if err != nil { // Linux says EIO, others io.EOF
			break
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), devTrailBucket) {
		t.Errorf("%v: %s\n%s", err, out.String(), seen.String())
	}
	if len(frames) != 4 {
		t.Errorf("of what moves there were %d: %q", len(frames), seen.String())
	}
}
