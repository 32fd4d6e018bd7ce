package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Who may publish can't have consumers take a part of a message for an event, stop them,
// or make what they got look as if it were not all.
func TestReadersOfForgeries(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	if dev == nil {
		t.Skip("postern dev does not run here: see the lines above")
	}
	genuine, err := os.ReadFile("events/eventstest/golden/io.postern.aws.request.denied.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	// From one account to another NATS takes an empty message for the end of what answers a
	// pull: what follows it comes again, after half a minute.
	messages := []string{"no JSON\n{\"specversion\":\"1.0\",\"id\":\"forged\"}\n", `{"no":"event"}`, "", string(genuine)}
	nc, err := connectNATS(dev.NATSURL, dev.NATSCreds, "")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, m := range messages {
		ack, err := nc.RequestWithContext(t.Context(), "audit.denied.forged", []byte(m))
		if err != nil || bytes.Contains(ack.Data, []byte(`"error"`)) {
			t.Fatalf("publish: %v, %+v", err, ack)
		}
	}
	c := &clients{dev: dev, home: t.TempDir()}
	dir := t.TempDir()
	output := func(args ...string) (string, string, error) {
		var stdout, stderr strings.Builder
		cmd := c.postern(t, "admin", c.home, args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		return stdout.String(), stderr.String(), err
	}
	type read struct {
		stdout, stderr string
		err            error
	}
	var cloudevents, ocsf, record read
	var all sync.WaitGroup // at once, for the half minute
	for format, to := range map[string]*read{"cloudevents": &cloudevents, "ocsf": &ocsf, "record": &record} {
		creds := filepath.Join(dir, format)
		c.must(t, "admin", "consumers", "add", "forged-"+format, "--filter", "audit.denied.forged", "--out", creds)
		all.Go(func() {
			to.stdout, to.stderr, to.err = output("consumers", "read", "--creds", creds, "--nats", dev.NATSURL, "--no-follow", "--format="+format)
		})
	}
	all.Wait()
	leavesOut := func(what string, stdout, stderr string, err error) {
		t.Helper()
		if exited, ok := errors.AsType[*exec.ExitError](err); !ok || exited.ExitCode() != 1 || strings.Count(stderr, "is left out") != len(messages)-1 {
			t.Errorf("%s ended with %v:\n%s", what, err, stderr)
		}
		if lines := strings.Split(strings.TrimSpace(stdout), "\n"); len(lines) != 1 || !strings.Contains(lines[0], "DeleteObject") {
			t.Errorf("%s told %q, want the one event", what, lines)
		}
	}

	lines := strings.Split(strings.TrimSpace(cloudevents.stdout), "\n")
	if cloudevents.err != nil || len(lines) != len(messages) {
		t.Errorf("%d lines of %d messages: %+v", len(lines), len(messages), cloudevents)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %q", line)
		}
	}
	leavesOut("consumers read --format=ocsf", ocsf.stdout, ocsf.stderr, ocsf.err)
	for _, format := range []string{"ocsf", "json"} {
		stdout, stderr, err := output("events", "tail", "--subject", "audit.denied.forged", "--since", "1h", "--no-follow", "--format="+format)
		leavesOut("events tail --format="+format, stdout, stderr, err)
	}

	if record.err != nil {
		t.Fatalf("%v: %s", record.err, record.stderr)
	}
	file := filepath.Join(dir, "got.jsonl")
	if err := os.WriteFile(file, []byte(record.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := c.must(t, "admin", "events", "verify", file, "--filter", "audit.denied.forged"); !strings.Contains(out, "whole: 4 events") {
		t.Error(out)
	}
}
