//go:build unix

package main

import (
	"bufio"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// A command that postern runs hears of Ctrl-C once, of each signal that is sent to postern,
// and ends when it wants to.
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
		`n=0; trap 'echo INT' INT; trap 'n=$((n+1)); echo TERM $n; [ $n -lt 2 ] || exit 7' TERM; echo ready; while :; do sleep 0.05; done`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close() // the command's own is what keeps it open
	said := bufio.NewScanner(terminal)
	hears := func(want string) {
		t.Helper()
		if !said.Scan() {
			t.Fatalf("it ended before %q: %v", want, said.Err())
		}
		if got := strings.TrimPrefix(strings.TrimSpace(said.Text()), "^C"); got != want {
			t.Fatalf("it says %q, want %q", got, want)
		}
	}
	hears("ready")
	for range 2 {
		if _, err := terminal.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		hears("INT")
	}
	for _, want := range []string{"TERM 1", "TERM 2"} {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		hears(want)
	}
	endsWith(t, cmd.Wait(), 7)
}
