package auditor_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
)

// ClickHouse is away while all goes on. An hour is no different: what waits is on
// the stream, and a batch that waits is the same one until it is in.
func TestClickHouseAway(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	config := func(c *embedded.ClickHouseConfig) { c.Dir, c.TCPPort, c.Log = dir, port, zerolog.Nop() }
	ch := embeddedtest.NewClickHouse(t, config)
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := ch.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		<-ch.Ready()
		stop = func() { cancel(); wg.Wait() }
		t.Cleanup(stop)
		return stop
	}
	stop := run()
	w := &world{t: t, dsn: ch.DSN(embedded.Owner), nc: eventstest.Connect(t)}
	w.j = eventstest.Open(t, w.nc)
	var log noted
	w.start(func(c *auditor.Config) { c.Log = zerolog.New(&log).Level(zerolog.InfoLevel) })
	const portion = 2_000
	publishFrom(t, w.j, 0, portion)
	w.until("some is stored", func() bool { return w.a.Floor(events.Audit) > 0 })
	stop()
	publishFrom(t, w.j, portion, 2*portion)
	w.until("it is said", func() bool { return strings.Contains(log.String(), "batch is not stored") })
	begun := time.Now()
	w.until("it was tried several times", func() bool { return time.Since(begun) > 3*time.Second })
	said := map[string]int{}
	for line := range strings.Lines(log.String()) {
		if said[line]++; said[line] == 2 {
			t.Errorf("said again and again: %s", line)
		}
	}
	ch = embeddedtest.NewClickHouse(t, config)
	run()
	w.conn = embeddedtest.Open(t, w.dsn)
	w.check(2 * portion)
	w.until("it is said that it is over", func() bool { return strings.Contains(log.String(), "batches are stored again") })
}

// The disk is full in the middle: nothing is stored until there is room, and all
// of it then.
func TestDiskFull(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs to mount a small file system: run as root on Linux")
	}
	dir := t.TempDir()
	unmount, err := mountSmall(dir, "192m")
	if err != nil {
		t.Skip("needs to mount a small file system: ", err)
	}
	t.Cleanup(unmount)
	ch := embeddedtest.StartClickHouse(t, func(c *embedded.ClickHouseConfig) { c.Dir, c.Log = filepath.Join(dir, "clickhouse"), zerolog.Nop() })
	w := &world{t: t, dsn: ch.DSN(embedded.Owner), nc: eventstest.Connect(t)}
	w.j = eventstest.Open(t, w.nc)
	w.conn = embeddedtest.Open(t, w.dsn)
	refused := make(chan struct{}, 1)
	w.start(func(c *auditor.Config) {
		c.Log = zerolog.New(zerolog.ConsoleWriter{Out: writerFunc(func(b []byte) (int, error) {
			select {
			case refused <- struct{}{}:
			default:
			}
			return len(b), nil
		})}).Level(zerolog.WarnLevel)
	})
	const portion = 2_000
	publishFrom(t, w.j, 0, portion)
	w.settle(events.Audit)
	fill(t, filepath.Join(dir, "filler"))
	for len(refused) > 0 {
		<-refused
	}
	publishFrom(t, w.j, portion, 2*portion)
	select {
	case <-refused:
	case <-time.After(time.Minute):
		t.Fatal("nothing was refused: the disk is not full")
	}
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	w.check(2 * portion)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// fill takes all the room there is.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
