package embedded

import (
	"math"
	"testing"

	"github.com/rs/zerolog"
)

// What bounds the streams is the disk, whose being full is known and mended, and no limit
// of the server's own, which nobody could lift.
func TestNATSTakesTheWholeDisk(t *testing.T) {
	for most, want := range map[int64]int64{0: math.MaxInt64, 1 << 20: 1 << 20} {
		n, err := NewNATS(NATSConfig{Dir: t.TempDir(), LazySync: true, MaxStore: most, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- n.Run(t.Context()) }()
		select {
		case <-n.Ready():
		case err := <-ended:
			t.Fatal(err)
		}
		if got := n.srv.Load().JetStreamConfig().MaxStore; got != want {
			t.Errorf("MaxStore %d: the server takes %d bytes, want %d", most, got, want)
		}
	}
}
