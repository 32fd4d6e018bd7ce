package main

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
)

// serverNames are the names by which a listener can be reached for certain.
func serverNames(listen string) []string {
	host, _, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		names := []string{"localhost", "127.0.0.1", "::1"}
		if name, err := os.Hostname(); err == nil && (host == "" || ip.IsUnspecified()) {
			names = append(names, name)
		}
		return names
	}
	return []string{host}
}

// advertise is where users find a service: as configured, else where it
// listens in this process, once it does.
type advertise struct {
	configured string
	listening  atomic.Pointer[string]
}

func (a *advertise) addr() string {
	if p := a.listening.Load(); a.configured == "" && p != nil {
		return *p
	}
	return a.configured
}

func (a *advertise) at(addr string) {
	addr = reachedAt(addr)
	a.listening.Store(&addr)
}

// warnOfLocalhost says what users on other machines lack.
func (s *services) warnOfLocalhost(key, listen, told string) {
	if host, _, err := net.SplitHostPort(listen); err == nil && everywhere(host) {
		s.log.Warn().Str("told", told).Msg("users are told an address of this machine alone: set " + key + " to HOST:PORT as they reach it")
	}
}

// reachedAt is where a listener is found that listens on all addresses: by the name of
// this machine for itself, for nobody knows by which others reach it.
func reachedAt(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return addr
}

func hostPort(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(p)
	return host, port, err
}
