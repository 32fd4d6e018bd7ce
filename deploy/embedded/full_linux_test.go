package embedded_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// A message that the full disk did not take leaves no gap in its stream: that would be one
// for who follows it, as if somebody had taken an event out.
func TestFullDiskLeavesNoGap(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skip("needs to mount a small file system: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: filepath.Join(dir, "nats"), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, n)
	nc := embeddedtest.Connect(t, n, "admin", embedded.Admin(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	js := stream(t, nc)
	publish := func(subject string) (uint64, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ack, err := js.Publish(ctx, subject, bytes.Repeat([]byte("x"), 1_000_000), jetstream.WithRetryAttempts(0))
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	// One that is empty, and one whose next message begins a block of 8 MiB.
	before := map[string]uint64{"empty": 0, "whole": 8}
	for name, n := range before {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := publish(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for size := 1 << 20; size > 0; {
		if _, err := filler.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	for name := range before {
		if _, err := publish(name); err == nil {
			t.Fatalf("the full disk took a message of %s", name)
		}
	}
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	filler.Close()
	for name, n := range before {
		for end := time.Now().Add(time.Minute); ; {
			seq, err := publish(name)
			if err == nil {
				if seq != n+1 {
					t.Errorf("%s goes on with %d after %d", name, seq, n)
				}
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}
