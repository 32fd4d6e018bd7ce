package embedded_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

func newNATS(t *testing.T, dir string) *embedded.NATS {
	t.Helper()
	n, err := embedded.NewNATS(embedded.NATSConfig{Dir: dir, LazySync: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNATSRestartKeepsCredentialsAndMessages(t *testing.T) {
	dir := t.TempDir()
	n := newNATS(t, dir)
	creds, err := n.Mint("admin", embedded.Admin(), 0) // before the server runs
	if err != nil {
		t.Fatal(err)
	}
	stop := embeddedtest.Run(t, n)
	nc := embeddedtest.Dial(t, n.URL(), creds)
	makeStreams(t, nc)
	if _, err := stream(t, nc).Publish(t.Context(), "access.user.1", []byte("first")); err != nil {
		t.Fatal(err)
	}
	stop()

	n = newNATS(t, dir)
	embeddedtest.Run(t, n)
	js := stream(t, embeddedtest.Dial(t, n.URL(), creds))
	s, err := js.Stream(t.Context(), "ACCESS")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetLastMsgForSubject(t.Context(), "access.user.1")
	if err != nil || string(msg.Data) != "first" {
		t.Fatalf("after restart: %v, %v", msg, err)
	}
}

func TestNATSDirectoryHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	embeddedtest.Run(t, newNATS(t, dir))
	err := newNATS(t, dir).Run(t.Context())
	if !errors.Is(err, embedded.ErrInUse) {
		t.Fatalf("second server on one directory: %v", err)
	}
}

func TestNATSRefusesClearTextBeyondLoopback(t *testing.T) {
	for _, host := range []string{"0.0.0.0", "192.0.2.1", "nats.example.com", "::"} {
		if _, err := embedded.NewNATS(embedded.NATSConfig{Dir: t.TempDir(), Host: host}); err == nil {
			t.Errorf("%s was accepted without TLS", host)
		}
	}
}

func TestNATSSecretsArePrivate(t *testing.T) {
	dir := t.TempDir()
	newNATS(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
	if err != nil || len(files) != 5 {
		t.Fatalf("keys: %v, %v", files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o", f, info.Mode().Perm())
		}
	}
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.NewNATS(embedded.NATSConfig{Dir: dir}); err == nil {
		t.Error("a seed that others can read was used")
	}
}

func TestNATSRefusesWithoutCredentials(t *testing.T) {
	n, other := embeddedtest.StartNATS(t), newNATS(t, t.TempDir())
	if nc, err := nats.Connect(n.URL()); err == nil {
		nc.Close()
		t.Error("connected without credentials")
	}
	foreign, err := other.Mint("admin", embedded.Admin(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect(n.URL(), nats.UserCredentialBytes(foreign)); err == nil {
		nc.Close()
		t.Error("connected with another server's credentials")
	}
	if _, err := n.Mint("admin", embedded.Admin(), -time.Second); err == nil {
		t.Error("minted credentials with a negative lifetime")
	}
	for _, name := range []string{"", "a.b", "a b", "*", ">", "a>"} {
		if _, err := n.Mint(name, embedded.Admin(), 0); err == nil {
			t.Errorf("minted credentials named %q", name)
		}
	}
}

func TestNATSCredentialsEnd(t *testing.T) {
	n := embeddedtest.StartNATS(t)
	ended := make(chan error, 1)
	// A second is the JWT's resolution; on a slow machine it is over before the server looks.
	for life := time.Second; ; life *= 2 {
		creds, err := n.Mint("brief", embedded.Broker(), life)
		if err != nil {
			t.Fatal(err)
		}
		own, err := embedded.ClientOptions(creds)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(n.URL(), append(own, nats.NoReconnect(),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { ended <- err }))...)
		if err != nil && life < time.Minute {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		break
	}
	if err := <-ended; !errors.Is(err, nats.ErrAuthExpired) {
		t.Errorf("the server cut the connection for another reason: %v", err)
	}
}

func TestNATSTakesEightMegabytes(t *testing.T) {
	n := embeddedtest.StartNATS(t)
	nc := embeddedtest.Connect(t, n, "admin", embedded.Admin())
	makeStreams(t, nc)
	if _, err := stream(t, nc).Publish(t.Context(), "audit.big", bytes.Repeat([]byte("x"), embedded.MaxPayload-1024)); err != nil {
		t.Error(err)
	}
	if err := nc.Publish("audit.big", make([]byte, embedded.MaxPayload+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("more than MaxPayload: %v", err)
	}
}

// makeStreams makes the four streams as the journal does, with a message each.
func makeStreams(t *testing.T, admin *nats.Conn) {
	t.Helper()
	js := stream(t, admin)
	for name, subject := range map[string]string{
		"ACCESS": "access.", "AUDIT": "audit.", "CLOUDTRAIL": "cloudtrail.", "FINDINGS": "findings.",
	} {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: name, Subjects: []string{subject + ">"}, AllowDirect: true, DenyDelete: true, DenyPurge: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), subject+"seed", []byte("seed")); err != nil {
			t.Fatal(err)
		}
	}
}

func stream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return js
}
