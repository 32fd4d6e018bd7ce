package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
)

// TestJoinedFileFollowsConfiguration: a proxy that has joined takes other names, and
// another postern, from its configuration when it starts; and nothing from a file that
// others may read or that is damaged.
func TestJoinedFileFollowsConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs two posterns")
	}
	c := newCluster(t, plainBinary(t))
	c.startCore(`listen: "` + c.ports["nats"] + `"`)
	c.startProxy()
	c.stop("proxy")
	conf, err := os.ReadFile(filepath.Join(c.dir, "proxy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	conf = bytes.Replace(conf, []byte("  name: p1\n"), []byte("  name: p1\n  public_names: [proxy.example.com]\n"), 1)
	c.write("proxy.yaml", conf)
	c.start("proxy")
	// The token is used up: it renewed.
	conn, err := tls.Dial("tcp", c.ports["proxy"], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if names := conn.ConnectionState().PeerCertificates[0].DNSNames; !slices.Contains(names, "proxy.example.com") {
		t.Errorf("the proxy shows a certificate for %v", names)
	}
	conn.Close()
	c.stop("proxy")

	other := newCluster(t, c.bin)
	other.startCore(`listen: "` + other.ports["nats"] + `"`)
	pin := other.token("proxy")
	var ca api.CA
	if err := json.Unmarshal([]byte(other.run("ca", "show", "--format=json")), &ca); err != nil {
		t.Fatal(err)
	}
	var mine api.CA
	if err := json.Unmarshal([]byte(c.run("ca", "show", "--format=json")), &mine); err != nil {
		t.Fatal(err)
	}
	conf = []byte(strings.NewReplacer(c.ports["broker"], other.ports["broker"], mine.Authorities[0].Pin, pin,
		filepath.Join(c.dir, "proxy.token"), filepath.Join(other.dir, "proxy.token")).Replace(string(conf)))
	c.write("proxy.yaml", conf)
	c.start("proxy")
	c.stop("proxy")
	file := filepath.Join(c.dir, "proxy", "proxy", "joined.json")
	var g given
	if text, err := os.ReadFile(file); err != nil || json.Unmarshal(text, &g) != nil || g.CA != ca.CA {
		t.Errorf("%v: the proxy is of the postern that its configuration no longer names", err)
	}

	refused := func(want string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), c.bin, "serve", "--config", filepath.Join(c.dir, "proxy.yaml"))
		cmd.Env = c.env
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s: want %q", err, out, want)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	refused("chmod 600")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.write("proxy/proxy/joined.json", nil)
	refused("remove it and start again")
}

// A broker that is away is asked less and less often; one that refuses less often still.
func TestPausesOfMembership(t *testing.T) {
	now := time.Now()
	away, no := &net.OpError{Op: "dial", Err: errors.New("refused")}, &api.Error{Code: api.CodeDenied, Message: "no"}
	for _, c := range []struct {
		name   string
		life   time.Duration
		failed int
		err    error
		want   time.Duration
	}{
		{"all is well", 6 * time.Hour, 0, nil, lookEvery},
		{"the first failure", 6 * time.Hour, 0, away, time.Second},
		{"the fourth", 6 * time.Hour, 3, away, 8 * time.Second},
		{"away for long", 6 * time.Hour, 40, away, longestRetry},
		{"refused for long", 6 * time.Hour, 40, no, longestRefused},
		{"a short life", 5 * time.Minute, 40, no, 10 * time.Second},
		{"expired, and refused for long", -time.Minute, 40, no, longestRefused},
	} {
		m := &membership{}
		m.given.Store(&given{IssuedAt: now, Joined: api.Joined{ExpiresAt: now.Add(c.life)}})
		if got := m.pause(false, c.failed, c.err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Credentials that cannot be used yet, because NATS is away, say, are tried again and again,
// which is said once.
func TestNewCredentialsWait(t *testing.T) {
	ca := newAuthority(t)
	m := wantsIn(t, ca.Pin(), letIn(t, ca).addr())
	if err := m.join(t.Context()); err != nil {
		t.Fatal(err)
	}
	due := *m.given.Load()
	due.IssuedAt, due.ExpiresAt = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	m.given.Store(&due)
	var said bytes.Buffer
	m.log = zerolog.New(&said)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	tries := 0
	m.renewed = func(*given) error {
		if tries++; tries < 4 {
			return errors.New("NATS is away")
		}
		stop()
		return nil
	}
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(said.String(), "cannot use the new credentials yet"); n != 1 {
		t.Errorf("said %d times in %d tries:\n%s", n, tries, said.String())
	}
}
