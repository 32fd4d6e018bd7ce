package main

import (
	"bytes"
	"encoding/json"
	"io"
	stdlog "log"
	"testing"

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
