package auditor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// noted is a log that may be read meanwhile.
type noted struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *noted) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *noted) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// An auditor stores nothing of a stream that went back behind what it has of it as it
// was before, as if that led there: it ends with an error, and the next one says what
// it finds at its start.
func TestStreamPutBackMeanwhile(t *testing.T) {
	server, nc := eventstest.Backed(t)
	w := &world{t: t, dsn: embeddedtest.ClickHouse(t), nc: nc}
	w.conn = embeddedtest.Open(t, w.dsn)
	w.j = eventstest.Open(t, w.nc)
	publish(t, w.j, 20)
	w.say("opened", "", &events.LogOpened{Log: "example.com/postern", Key: "x"}) // what is stored of each stream is in the copy, too
	saved, err := w.j.Last(t.Context(), events.Audit)
	if err != nil {
		t.Fatal(err)
	}
	server.Save()
	publish(t, w.j, 5)
	before, err := w.j.Last(t.Context(), events.Audit)
	if err != nil {
		t.Fatal(err)
	}
	start := func(ctx context.Context) (*noted, chan error) {
		log := &noted{}
		a, err := auditor.New(auditor.Config{Journal: eventstest.Open(t, w.nc), ClickHouseDSN: w.dsn, Log: zerolog.New(log)})
		if err != nil {
			t.Fatal(err)
		}
		w.a = a
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		select {
		case <-a.Ready():
		case err := <-ended:
			t.Fatal(err)
		}
		return log, ended
	}
	log, ended := start(t.Context())
	w.settle(events.Audit)
	server.PutBack(func(n *embedded.NATS) {
		publish(t, eventstest.Open(t, embeddedtest.Connect(t, n, "test", embedded.Admin())), 30)
	})
	if err := <-ended; !errors.Is(err, journal.ErrWentBack) {
		t.Errorf("it ended with %v", err)
	}
	if !strings.Contains(log.String(), "nothing more of it is stored") {
		t.Errorf("its log: %s", log)
	}
	if n := w.count(`SELECT max(seq) FROM events WHERE stream = 'AUDIT'`); n != before {
		t.Errorf("%d are stored, of %d before", n, before)
	}

	ctx, stop := context.WithCancel(t.Context())
	log, ended = start(ctx)
	if !strings.Contains(log.String(), "it was put back to an earlier state") {
		t.Errorf("the log of the next one: %s", log)
	}
	if !strings.Contains(log.String(), fmt.Sprintf(`"first":%d,`, saved+1)) {
		t.Errorf("they part at %d, and its log is: %s", saved+1, log)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
