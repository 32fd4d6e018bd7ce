package embedded_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// TestStageInMemory also tells when a new nats-server stages elsewhere.
func TestStageInMemory(t *testing.T) {
	dir := t.TempDir()
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: dir, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, n)
	nc := embeddedtest.Connect(t, n, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), nc, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	if err := n.StageInMemory(); err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", events.Access, "batches"))
	if err != nil || len(links) != 1 {
		t.Fatalf("links %v, %v", links, err)
	}
	staged, err := os.Readlink(links[0])
	if err != nil {
		t.Skipf("no file system in memory here: %v", err)
	}
	if !strings.HasPrefix(staged, "/dev/shm/") {
		t.Fatalf("staged in %s", staged)
	}
	before, err := os.Stat(staged)
	if err != nil {
		t.Fatal(err)
	}
	j := eventstest.Open(t, nc)
	const count = 256
	appendAll(t, j, count)
	after, err := os.Stat(staged)
	if err != nil {
		t.Fatal(err)
	}
	if !after.ModTime().After(before.ModTime()) {
		t.Error("no batch was staged in memory")
	}
	// Someone tidies the memory up: batches go on, one by one.
	if err := os.RemoveAll(filepath.Dir(staged)); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, count)
}

func appendAll(t *testing.T, j *journal.Journal, n int) {
	t.Helper()
	first, err := j.Last(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			e := events.Event{Data: &events.SessionEnded{SessionID: journal.NewID(), Reason: "logout"}}
			if _, err := j.Append(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	last, err := j.Last(t.Context(), events.Access)
	if err != nil {
		t.Fatal(err)
	}
	if last-first != uint64(n) {
		t.Errorf("%d events stored, %d appended", last-first, n)
	}
}
