package main

import (
	"bytes"
	"encoding/json"
	"io"
	stdlog "log"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// What a connection complains about is a line of the log, not of standard error.
func TestNATSErrorsAreLogged(t *testing.T) {
	r, w := io.Pipe()
	nc := embeddedtest.Connect(t, embeddedtest.StartNATS(t), "nobody", embedded.Permissions{}, natsErrors(zerolog.New(w)))
	if err := nc.Publish("access.user.alice", nil); err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Error, Message string }
	if err := json.NewDecoder(r).Decode(&line); err != nil || line.Level != "warn" || line.Message != "NATS" || line.Error == "" {
		t.Errorf("%+v, %v", line, err)
	}
}

// The log says when NATS is lost and when it is there again, once, however many
// connections there are; and nothing of those that this process closes.
func TestNATSAwayIsLogged(t *testing.T) {
	r, w := io.Pipe()
	s := &services{log: zerolog.New(w)}
	cfg := embedded.NATSConfig{Dir: t.TempDir(), LazySync: true, Log: zerolog.Nop()}
	n, err := embedded.NewNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := embeddedtest.Run(t, n)
	opts := []nats.Option{s.watchNATS(), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}
	for range 3 {
		embeddedtest.Connect(t, n, "one", embedded.Admin(), opts...)
	}
	embeddedtest.Connect(t, n, "closed", embedded.Admin(), opts...).Close()
	u, err := url.Parse(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(r)
	said := func(want string) {
		t.Helper()
		var line struct{ Message string }
		if err := lines.Decode(&line); err != nil || line.Message != want {
			t.Errorf("the log says %q, want %q; %v", line.Message, want, err)
		}
	}
	stop()
	said("NATS is away; trying again")
	if n, err = embedded.NewNATS(cfg); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, n)
	said("NATS is back")
	s.stopping.Store(true) // what the end of the test brings about is not logged
}

func TestLibrariesLog(t *testing.T) {
	flags, out := stdlog.Flags(), stdlog.Writer()
	t.Cleanup(func() { stdlog.SetFlags(flags); stdlog.SetOutput(out) })
	var b bytes.Buffer
	(&cli{stderr: &b}).logger(LogConfig{})
	stdlog.Printf("Unsolicited response")
	var line struct{ Level, Message string }
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Level != "warn" || line.Message != "Unsolicited response" {
		t.Errorf("%s: %v", b.Bytes(), err)
	}
}
