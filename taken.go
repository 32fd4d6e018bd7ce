package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// ifTaken says what to do about an address that another program has.
func ifTaken(err error, instead string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: stop what listens there, or choose %s", err, instead)
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
