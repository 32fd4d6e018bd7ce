package journal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events/journal"
)

// What is broadcast is heard over whichever connections the two ends have by then; who
// may not is told so, once the server has said it, and speaks again over another.
func TestBroadcast(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	connect := func(p embedded.Permissions) *nats.Conn { return embeddedtest.Connect(t, server, "test", p, quiet) }
	open := func(nc *nats.Conn) *journal.Journal {
		t.Helper()
		j, err := journal.New(nc, "/postern/test")
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	may := embedded.Permissions{Pub: []string{"said"}, Sub: []string{"said"}}
	speaker, listener := open(connect(may)), open(connect(may))
	ctx, stop := context.WithCancel(t.Context())
	heard, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		listener.Hear(ctx, "said", func(b []byte) {
			select {
			case heard <- string(b):
			default: // an earlier try is there
			}
		})
	}()
	// Until the server knows of the subscription, what is said is lost.
	say := func(text string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			if err := speaker.Broadcast("said", []byte(text)); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-heard:
				if got == text {
					return
				}
			case <-time.After(10 * time.Millisecond):
			}
		}
		t.Fatalf("%q was never heard", text)
	}
	say("first")
	if err := listener.Use(connect(may)); err != nil {
		t.Fatal(err)
	}
	say("to another connection")
	if err := speaker.Use(connect(embedded.Permissions{Pub: []string{"elsewhere"}})); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		err := speaker.Broadcast("said", []byte("forbidden"))
		if errors.Is(err, journal.ErrMayNot) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("without the permission: %v", err)
		}
	}
	if err := speaker.Broadcast("elsewhere", nil); err != nil {
		t.Errorf("where it may: %v", err)
	}
	if err := speaker.Use(connect(may)); err != nil {
		t.Fatal(err)
	}
	say("from another connection")
	closed := connect(may)
	closed.Close()
	if err := listener.Use(closed); err != nil {
		t.Fatal(err)
	}
	if err := listener.Use(connect(may)); err != nil {
		t.Fatal(err)
	}
	say("after one that was closed")
	stop()
	<-ended
}
