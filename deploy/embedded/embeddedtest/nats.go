// Package embeddedtest gives tests throw-away stores: a NATS JetStream server
// and a ClickHouse server, both real, on loopback, with nothing left behind.
package embeddedtest

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
)

// StartNATS runs a server of its own for the test. It acknowledges before
// the disk has it ([embedded.NATSConfig.LazySync]): tests don't survive a power
// failure either, and the sync costs most of their time.
func StartNATS(t testing.TB) *embedded.NATS {
	t.Helper()
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: t.TempDir(), LazySync: true, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	Run(t, n)
	return n
}

// Connect dials with new credentials of that name and those permissions.
func Connect(t testing.TB, n *embedded.NATS, name string, perms embedded.Permissions, opts ...nats.Option) *nats.Conn {
	t.Helper()
	creds, err := n.Mint(name, perms, 0)
	if err != nil {
		t.Fatal(err)
	}
	return Dial(t, n.URL(), creds, opts...)
}

// Dial connects with the contents of a .creds file until the test ends.
func Dial(t testing.TB, url string, creds []byte, opts ...nats.Option) *nats.Conn {
	t.Helper()
	own, err := embedded.ClientOptions(creds)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url, append(own, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Run starts a server and waits until it is ready. It stops it at the end of
// the test, or when the returned function is called, and fails the test if the
// server ends with an error.
func Run(t testing.TB, s interface {
	Run(context.Context) error
	Ready() <-chan struct{}
}) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = s.Run(ctx)
	}()
	stop = func() {
		t.Helper()
		cancel()
		<-ended
		if err != nil {
			t.Errorf("server ended: %v", err)
		}
	}
	select {
	case <-s.Ready():
	case <-ended:
		t.Fatalf("server ended: %v", err)
	}
	t.Cleanup(stop)
	return stop
}

// logger shows the servers' warnings and errors with the test.
func logger(t testing.TB) zerolog.Logger {
	return zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
}
