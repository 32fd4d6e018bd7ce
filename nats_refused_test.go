package main

import (
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// dials counts connections that are tried.
type dials struct{ atomic.Int64 }

func (d *dials) Dial(network, addr string) (net.Conn, error) {
	d.Add(1)
	return net.Dial(network, addr)
}

// logText is a log that is read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *logText) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *logText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// A NATS server that does not know a service's credentials, such as one whose accounts
// are not there yet, is asked until it does, and the log does not say that all is well.
func TestNATSRefusesForAWhile(t *testing.T) {
	run := func(dir string, port int) (*embedded.NATS, func()) {
		t.Helper()
		n, err := embedded.NewNATS(embedded.NATSConfig{Dir: dir, Port: port, LazySync: true, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		return n, embeddedtest.Run(t, n)
	}
	own := t.TempDir()
	server, stop := run(own, 0)
	creds, err := server.Mint("proxy", embedded.Proxy(), 0)
	file := filepath.Join(t.TempDir(), "proxy.creds")
	if err == nil {
		err = writePrivateBytes(file, creds)
	}
	if err != nil {
		t.Fatal(err)
	}
	var said logText
	var tries dials
	s := &services{log: zerolog.New(&said)}
	nc, err := connectNATS(server.URL(), file, "", s.watchNATS(), nats.SetCustomDialer(&tries))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never happened: %s; the log:\n%s", what, &said)
			}
		}
	}
	port := embeddedtest.PortOf(t, server.URL())
	stop()
	until("it is missed", func() bool { return strings.Contains(said.String(), "NATS is away") })
	_, stop = run(t.TempDir(), port)
	until("it is refused", func() bool { return strings.Contains(said.String(), "does not take") || nc.IsClosed() })
	before := tries.Load()
	until("it is tried again and again", func() bool { return tries.Load() >= before+2 || nc.IsClosed() })
	stop()
	if log := said.String(); nc.IsClosed() || strings.Contains(log, "NATS is back") || strings.Count(log, "does not take") != 1 {
		t.Errorf("closed: %t; the log:\n%s", nc.IsClosed(), log)
	}
	run(own, port)
	until("it goes on", nc.IsConnected)
	until("the log says so", func() bool { return strings.Contains(said.String(), "NATS is back") })
}
