//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// passedOn are the signals that postern does not take for its own while it runs a command:
// some mean something else to that than to end.
func passedOn() []os.Signal {
	return append(ending(), unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
}

// typed tells a signal that the terminal sent, to all of the processes in its foreground,
// this one among them.
func typed(s os.Signal) bool {
	if s != os.Interrupt && s != unix.SIGQUIT {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false // there is none
	}
	defer tty.Close()
	front, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && front == unix.Getpgrp()
}
