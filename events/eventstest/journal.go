// Package eventstest gives tests a throw-away journal and golden events.
package eventstest

import (
	"os"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events/journal"
)

// Journal returns a journal on a real NATS server of its own, with the streams
// set up. Both end with the test.
func Journal(t testing.TB) *journal.Journal {
	t.Helper()
	return Open(t, Connect(t))
}

// Connect starts a server of its own, sets the streams up and connects to it
// with all permissions.
func Connect(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return connect(t, embeddedtest.StartNATS(t), opts...)
}

// Backed is Connect to a server whose streams can be put back.
func Backed(t testing.TB) (*embeddedtest.Backup, *nats.Conn) {
	t.Helper()
	b := embeddedtest.StartWithBackup(t)
	return b, connect(t, b.NATS)
}

func connect(t testing.TB, server *embedded.NATS, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc := embeddedtest.Connect(t, server, "test", embedded.Admin(), opts...)
	if err := journal.Setup(t.Context(), nc, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	return nc
}

// Open returns another journal on a connection.
func Open(t testing.TB, nc *nats.Conn) *journal.Journal {
	t.Helper()
	j, err := journal.New(nc, "/postern/test")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// FromEnv opens a journal in a process that a test started: POSTERN_TEST_NATS is
// where the server is, POSTERN_TEST_CREDS the file of credentials for it.
func FromEnv(source string) (*journal.Journal, error) {
	creds, err := os.ReadFile(os.Getenv("POSTERN_TEST_CREDS"))
	if err != nil {
		return nil, err
	}
	opts, err := embedded.ClientOptions(creds)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(os.Getenv("POSTERN_TEST_NATS"), opts...)
	if err != nil {
		return nil, err
	}
	return journal.New(nc, source)
}
