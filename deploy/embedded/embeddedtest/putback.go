package embeddedtest

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
)

// Backup is a NATS server with a copy of its data that can be put back, as an operator
// does, while its clients stay.
type Backup struct {
	*embedded.NATS // the one that runs

	t         testing.TB
	dir, copy string
	port      int
	stop      func()
}

// StartWithBackup runs a server as StartNATS does.
func StartWithBackup(t testing.TB) *Backup {
	t.Helper()
	b := &Backup{t: t, dir: filepath.Join(t.TempDir(), "nats"), copy: filepath.Join(t.TempDir(), "copy")}
	b.start()
	return b
}

// start goes on with what is in the directory, on the port that clients know.
func (b *Backup) start() {
	b.t.Helper()
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: b.dir, Port: b.port, LazySync: true, Log: zerolog.Nop()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.stop = Run(b.t, n)
	b.NATS = n
	if b.port == 0 {
		b.port = PortOf(b.t, n.URL())
	}
}

// streams is where the data is, beside the server's keys.
func (b *Backup) streams() string { return filepath.Join(b.dir, "jetstream") }

// Save stops the server, copies its data and starts it again.
func (b *Backup) Save() {
	b.t.Helper()
	b.stop()
	if err := os.RemoveAll(b.copy); err != nil {
		b.t.Fatal(err)
	}
	if err := os.CopyFS(b.copy, os.DirFS(b.streams())); err != nil {
		b.t.Fatal(err)
	}
	b.start()
}

// PutBack stops the server, puts the copy in place of its data and starts it again.
// Before that, meanwhile, if not nil, is called with the server on that data, but on a
// port where no client looks for it.
func (b *Backup) PutBack(meanwhile func(*embedded.NATS)) {
	b.t.Helper()
	b.stop()
	if err := os.RemoveAll(b.streams()); err != nil {
		b.t.Fatal(err)
	}
	if err := os.CopyFS(b.streams(), os.DirFS(b.copy)); err != nil {
		b.t.Fatal(err)
	}
	if meanwhile != nil {
		port := b.port
		b.port = 0
		b.start()
		meanwhile(b.NATS)
		b.stop()
		b.port = port
	}
	b.start()
}

// PortOf is the port of a URL.
func PortOf(t testing.TB, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
