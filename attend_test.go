//go:build unix

package main

import (
	"bufio"
	"regexp"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// A command that postern runs hears of Ctrl-C and Ctrl-\ once, of each signal that is sent to
// postern, and ends when it wants to.
func TestCommandDecides(t *testing.T) {
	dev := startDev(t)
	if dev == nil {
		t.Skip("postern dev does not run here: see the lines above")
	}
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Skipf("there are no pseudo terminals here: %v", err)
	}
	defer terminal.Close() // ends what runs on it
	c := &clients{dev: dev, home: t.TempDir()}
	c.grant(t, clientResources, "clients-engineer")
	cmd := c.postern(t, "alice", c.home, "exec", "--app", "clients", "--", "sh", "-c",
		`n=0; trap 'echo INT' INT; trap 'echo QUIT' QUIT; trap 'echo USR1' USR1; trap 'n=$((n+1)); echo TERM $n; [ $n -lt 2 ] || exit 7' TERM; echo ready; while :; do sleep 0.05; done`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close() // the command's own is what keeps it open
	said := bufio.NewScanner(terminal)
	// Besides, the terminal shows what was typed, and the shell tells what its sleep died of.
	told := regexp.MustCompile(`(ready|INT|QUIT|USR1|TERM \d)\s*$`)
	hears := func(want string) {
		t.Helper()
		for said.Scan() {
			if m := told.FindStringSubmatch(said.Text()); m != nil {
				if m[1] != want {
					t.Fatalf("it says %q, want %q", m[1], want)
				}
				return
			}
		}
		t.Fatalf("it ended before %q: %v", want, said.Err())
	}
	hears("ready")
	for _, c := range []struct{ typed, want string }{{"\x03", "INT"}, {"\x03", "INT"}, {"\x1c", "QUIT"}} {
		if _, err := terminal.WriteString(c.typed); err != nil {
			t.Fatal(err)
		}
		hears(c.want)
	}
	for _, c := range []struct {
		signal syscall.Signal
		want   string
	}{{syscall.SIGUSR1, "USR1"}, {syscall.SIGTERM, "TERM 1"}, {syscall.SIGTERM, "TERM 2"}} {
		if err := cmd.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		hears(c.want)
	}
	endsWith(t, cmd.Wait(), 7)
}
