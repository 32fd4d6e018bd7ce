//go:build unix

package embedded

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps the terminal's Ctrl-C from the engine: it must outlive what
// writes to it, and stops when it is told.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
