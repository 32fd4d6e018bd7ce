package journal_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// A message that the server counts and cannot read, because its disk has changed it, ends
// a replay with an error: it is neither waited for nor left out without a word.
func TestUnreadableMessage(t *testing.T) {
	dir := t.TempDir()
	run := func() (*embedded.NATS, func()) {
		n, err := embedded.NewNATS(embedded.NATSConfig{Dir: dir, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		return n, embeddedtest.Run(t, n)
	}
	server, stop := run()
	nc := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), nc, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	j := eventstest.Open(t, nc)
	for i := range 9 {
		if _, err := j.Append(t.Context(), drop(1000+i)); err != nil {
			t.Fatal(err)
		}
	}
	nc.Close()
	stop()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", events.Access, "msgs", "1.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	b, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(`"1005"`))
	if at < 0 {
		t.Fatal("no event in the block")
	}
	b[at+1] ^= 1
	if err := os.WriteFile(blocks[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	server, _ = run()
	j = eventstest.Open(t, embeddedtest.Connect(t, server, "test", embedded.Admin()))
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var seen []uint64
	var failed error
	for e, err := range j.Replay(ctx, events.Access) {
		if e.Seq == 0 {
			failed = err
			break
		}
		seen = append(seen, e.Seq)
	}
	if failed == nil || ctx.Err() != nil || !strings.Contains(failed.Error(), "cannot read") {
		t.Errorf("after %v: %v", seen, failed)
	}
}
