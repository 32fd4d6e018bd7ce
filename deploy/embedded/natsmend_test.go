//go:build unix

package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// TestNATSStartsAgainWhenThereIsRoom: nats-server takes nothing any more after one write
// that failed. Once the disk has room, the server starts again, at the same address, with
// all that it acknowledged. A limit on the size of files stands for the full disk.
func TestNATSStartsAgainWhenThereIsRoom(t *testing.T) {
	r, w := io.Pipe()
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: t.TempDir(), LazySync: true, Log: zerolog.New(w).Level(zerolog.InfoLevel)})
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 100)
	go func() {
		for lines := json.NewDecoder(r); ; {
			var line struct{ Message string }
			if lines.Decode(&line) != nil {
				return
			}
			select {
			case said <- line.Message:
			default: // nobody waits
			}
		}
	}()
	t.Cleanup(func() { r.Close() }) // after the server, which Run stops
	embeddedtest.Run(t, n)
	nc := embeddedtest.Connect(t, n, "admin", embedded.Admin(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	makeStreams(t, nc)
	if err := n.StageInMemory(); err != nil {
		t.Fatal(err)
	}
	js := stream(t, nc)
	publish := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "audit.big", bytes.Repeat([]byte("x"), 100<<10), jetstream.WithRetryAttempts(0))
		return err
	}
	url, stored := n.URL(), uint64(1)
	signal.Ignore(unix.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(unix.SIGXFSZ) })
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	lift := func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(lift)
	low := limit
	low.Cur = 2 << 20
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	for publish() == nil {
		if stored++; stored > 100 {
			t.Fatal("the disk is not full")
		}
	}
	until := func(what string) {
		t.Helper()
		for late := time.After(time.Minute); ; {
			select {
			case s := <-said:
				if strings.Contains(s, what) {
					return
				}
			case <-late:
				t.Fatalf("the log does not say %q", what)
			}
		}
	}
	until("make room on this disk")
	if publish() == nil {
		t.Error("the full disk took something")
	}
	lift()
	until("runs again")
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := publish(); err != nil {
		t.Errorf("there is room: %v", err)
	}
	s, err := js.Stream(t.Context(), "AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	if info := s.CachedInfo(); info.State.Msgs < stored+1 || n.URL() != url || nc.ConnectedUrl() != url {
		t.Errorf("%d messages, %d were acknowledged; at %s, was %s", info.State.Msgs, stored+1, nc.ConnectedUrl(), url)
	}
}

// A port that is taken is said at once.
func TestNATSPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: t.TempDir(), Port: l.Addr().(*net.TCPAddr).Port, LazySync: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	// Less than the two minutes that a start may take.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Run(ctx); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the port is taken: %v", err)
	}
}

// Who is told to stop while the server starts, stops.
func TestNATSStopsWhileItStarts(t *testing.T) {
	n := newNATS(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
}
