package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

const natsDir = "POSTERN_TEST_NATS_DIR"

// TestServeNATS is no test: TestFrozenStream runs it as a process that it can stop.
func TestServeNATS(t *testing.T) {
	dir := os.Getenv(natsDir)
	if dir == "" {
		t.Skip("it serves TestFrozenStream")
	}
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: dir, LazySync: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, n)
	for name, perms := range map[string]embedded.Permissions{"admin": embedded.Admin(), "proxy": embedded.Proxy()} {
		creds, err := n.Mint(name, perms, 0)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".creds"), creds, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("serving " + n.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is done
}

// startNATSProcess runs a server in a process of its own.
func startNATSProcess(t *testing.T) (url string, server *os.Process, dial func(name, url string) *nats.Conn) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServeNATS$")
	cmd.Env = append(os.Environ(), natsDir+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = in.Close()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if after, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			url = after
			break
		}
	}
	if url == "" {
		t.Fatal("the server did not start")
	}
	go io.Copy(io.Discard, out)
	return url, cmd.Process, func(name, url string) *nats.Conn {
		creds, err := os.ReadFile(filepath.Join(dir, name+".creds"))
		if err != nil {
			t.Fatal(err)
		}
		return embeddedtest.Dial(t, url, creds, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	}
}

// A server that has stopped without a word, and a network that takes nothing
// any more, look like a quiet stream. The proxy finds out, and refuses.
func TestFrozenStream(t *testing.T) {
	for name, freeze := range map[string]func(*testing.T, *os.Process, *sync.RWMutex) (thaw func()){
		"stopped": func(t *testing.T, server *os.Process, _ *sync.RWMutex) func() {
			if err := server.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := server.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
		},
		"partitioned": func(_ *testing.T, _ *os.Process, network *sync.RWMutex) func() {
			network.Lock()
			return network.Unlock
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, server, dial := startNATSProcess(t)
			admin := dial("admin", url)
			if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
				t.Fatal(err)
			}
			var network sync.RWMutex
			r := newRigOn(t, dial("proxy", relay(t, url, &network)), eventstest.Open(t, admin), func(c *proxy.Config, a *ststest.AWS) {
				a.Serve = echo
				c.MaxSilence = time.Second
				c.Log = zerolog.Nop()
			})
			c := r.client(r.session())
			get := func() (int, string) {
				resp, body := c.do(t, c.request(t, "GET", object, nil))
				return resp.StatusCode, body
			}
			if s, body := get(); s != 200 {
				t.Fatalf("%d %s", s, body)
			}
			thaw := freeze(t, server, &network)
			r.eventually("the proxy refuses", func() bool {
				s, body := get()
				return s == 503 && strings.Contains(body, "has not heard from the ACCESS stream since")
			})
			if name == "partitioned" {
				if _, err := r.j.Append(t.Context(), events.Event{Meta: events.Meta{Sequence: 1}, Data: &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"}}); err != nil {
					t.Fatal(err)
				}
			}
			thaw()
			if name == "partitioned" {
				r.eventually("the lock that it missed holds", func() bool { s, body := get(); return s == 403 && strings.Contains(body, "lock L") })
			} else {
				r.eventually("the proxy recovers", func() bool { s, _ := get(); return s == 200 })
			}
		})
	}
}

// relay is a network between a client and a server: while it is locked, nothing
// passes, and connections stay.
func relay(t *testing.T, url string, network *sync.RWMutex) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	target := strings.TrimPrefix(url, "nats://")
	pipe := func(dst, src net.Conn) {
		defer dst.Close()
		b := make([]byte, 32<<10)
		for {
			n, err := src.Read(b)
			if err != nil {
				return
			}
			network.RLock()
			_, err = dst.Write(b[:n])
			network.RUnlock()
			if err != nil {
				return
			}
		}
	}
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			go pipe(near, far)
			go pipe(far, near)
		}
	}()
	return "nats://" + ln.Addr().String()
}

// A consumer that is there and delivers nothing looks like a quiet stream, too.
func TestPausedConsumer(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	r := newRigOn(t, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), eventstest.Open(t, admin), func(c *proxy.Config, a *ststest.AWS) {
		a.Serve = echo
		c.MaxSilence = time.Second
		c.Log = zerolog.Nop()
	})
	c := r.client(r.session())
	answers := func(status int, text string) func() bool {
		return func() bool {
			resp, body := c.do(t, c.request(t, "GET", object, nil))
			return resp.StatusCode == status && strings.Contains(body, text)
		}
	}
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	var paused []string
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if _, err := stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		paused = append(paused, name)
	}
	if len(paused) != 1 {
		t.Fatalf("the proxy's consumers: %v", paused)
	}
	r.eventually("it goes on", answers(200, "")) // nothing is missing yet
	r.broker.append(&events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	r.eventually("the lock that it missed holds", answers(403, "lock L"))
}
