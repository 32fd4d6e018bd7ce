package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// ifTaken says what to do about an address that can't be listened on, such as one that
// another program has.
func ifTaken(err error, instead string) error {
	op, _ := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: stop what listens there, or choose %s", err, instead)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine has no such address: choose %s", err, instead)
	case errors.Is(err, syscall.EACCES) && op != nil && op.Op == "listen":
		return fmt.Errorf("%w: a port below 1024 takes the capability CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities): give it, or choose %s", err, instead)
	}
	return err
}

// isFree tries whether addr can be listened on.
func isFree(ctx context.Context, addr string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return ln.Close()
}

// aPort is what a port can be.
const aPort = "a port is a number from 1 to 65535, or 0 for any that is free"

// badAddr says what is wrong with an address to listen on; "" if nothing is.
func badAddr(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "want HOST:PORT, such as 127.0.0.1:3080; port 0 takes a free one"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return aPort
	}
	return ""
}
