package journal_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/events/eventstest"
)

// hush is a way to NATS by which, for a while, nothing comes back.
type hush struct {
	net.Conn
	quiet sync.RWMutex // locked: it is
}

func (h *hush) Dial(network, addr string) (_ net.Conn, err error) {
	h.Conn, err = net.Dial(network, addr)
	return h, err
}

func (h *hush) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.quiet.RLock()
	defer h.quiet.RUnlock()
	return n, err
}

// Acknowledgements that are lost on a connection that lasts are not waited for for ever: each
// that is takes a place, and once there is none nothing is published any more.
func TestUnacknowledged(t *testing.T) {
	t.Parallel()
	h := &hush{}
	nc := eventstest.Connect(t, nats.SetCustomDialer(h))
	j := eventstest.Open(t, nc)
	if _, err := j.Append(t.Context(), drop(1)); err != nil {
		t.Fatal(err)
	}
	h.quiet.Lock()
	_, failed, err := j.AppendAll(t.Context(), drop(2), drop(3)) // too few for a batch
	if err == nil && len(failed) != 2 {
		t.Errorf("%d failed, %v", len(failed), err)
	}
	for end := time.Now().Add(time.Minute); j.Unacknowledged() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d are waited for", j.Unacknowledged())
		}
	}
	h.quiet.Unlock()
	if _, err := j.Append(t.Context(), drop(4)); err != nil {
		t.Error(err)
	}
}
