package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func issue(t *testing.T, ca *CA, user string, ttl time.Duration) []*x509.Certificate {
	t.Helper()
	key, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.IssueUser(key, user, []string{"r1", "r2"}, at, ttl)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(issued.PEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{cert}
}

func TestUserCertificate(t *testing.T) {
	ca := openCA(t)
	for user, uri := range map[string]string{
		"alice":             "postern://user/alice",
		"alice@example.com": "postern://user/alice@example.com",
		"zoë|ad":            "postern://user/zo%C3%AB%7Cad",
	} {
		chain := issue(t, ca, user, time.Hour)
		if got := chain[0].URIs[0].String(); got != uri {
			t.Errorf("%s: uri %s, want %s", user, got, uri)
		}
		p, err := ca.Verify(chain, at)
		if err != nil || p.User != user || !p.ExpiresAt.Equal(at.Add(time.Hour)) || !p.IssuedAt.Equal(at) {
			t.Errorf("%s: %+v, %v", user, p, err)
		}
		if o := chain[0].Subject.Organization; len(o) != 2 || o[0] != "r1" || o[1] != "r2" {
			t.Errorf("%s: roles %v", user, o)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	ca, foreign := openCA(t), openCA(t)
	if _, err := ca.Verify(issue(t, ca, "alice", time.Hour), at.Add(2*time.Hour)); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}
	if _, err := ca.Verify(issue(t, ca, "alice", time.Hour), at.Add(-time.Hour)); err == nil {
		t.Error("not yet valid: taken")
	}
	if _, err := ca.Verify(issue(t, foreign, "alice", time.Hour), at); err == nil {
		t.Error("another CA's: taken")
	}
	if _, err := ca.Verify(nil, at); err == nil {
		t.Error("no certificate: taken")
	}
	server, err := ca.IssueServer([]string{"localhost", "127.0.0.1"}, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Verify([]*x509.Certificate{server.Leaf}, at); err == nil {
		t.Error("a server's certificate was taken for a user's")
	}
	if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "127.0.0.1", CurrentTime: at}); err != nil {
		t.Errorf("server certificate: %v", err)
	}
	user := issue(t, ca, "localhost", time.Hour)
	if _, err := user[0].Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: at}); err == nil {
		t.Error("a user's certificate serves as a server's")
	}
}

func TestTTL(t *testing.T) {
	for _, c := range []struct{ asked, roles, want time.Duration }{
		{0, 0, DefaultTTL},
		{0, 8 * time.Hour, 8 * time.Hour},
		{0, 100 * time.Hour, DefaultTTL},
		{20 * time.Hour, 0, 20 * time.Hour},
		{100 * time.Hour, 0, MaxTTL},
		{100 * time.Hour, time.Hour, time.Hour},
		{time.Hour, 8 * time.Hour, time.Hour},
	} {
		if got, err := TTL(c.asked, c.roles); err != nil || got != c.want {
			t.Errorf("asked %s, roles %s: %s, %v; want %s", c.asked, c.roles, got, err, c.want)
		}
	}
	if _, err := TTL(time.Second, 0); err == nil {
		t.Error("a certificate of a second was allowed")
	}
}

func csr(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestParseCSR(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	good := csr(t, key)
	got, err := ParseCSR(good)
	if err != nil || !got.Equal(&key.PublicKey) {
		t.Fatalf("%v", err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	forged := append([]byte(nil), block.Bytes...)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"another curve":    {csr(t, ecKey(t, elliptic.P384())), "P-256"},
		"another key":      {csr(t, ed), "P-256"},
		"bad signature":    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}), "csr: "},
		"no PEM":           {[]byte("hello"), "want one CERTIFICATE REQUEST"},
		"two":              {append(good, good...), "want one CERTIFICATE REQUEST"},
		"not a request":    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}), "want one CERTIFICATE REQUEST"},
		"empty":            {nil, "want one CERTIFICATE REQUEST"},
		"something behind": {append(append([]byte(nil), good...), "x"...), "want one CERTIFICATE REQUEST"},
	} {
		if _, err := ParseCSR(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestThrottle(t *testing.T) {
	th, now := NewThrottle(), at
	for range freeFailures {
		if d := th.Wait("alice", "10.0.0.1", now); d != 0 {
			t.Fatalf("waits %s before %d failures", d, freeFailures)
		}
		th.Failed("alice", "10.0.0.1", now)
	}
	for _, want := range []time.Duration{1, 2, 4, 8} {
		if d := th.Wait("alice", "10.0.0.1", now); d != want*time.Second {
			t.Errorf("waits %s, want %s", d, want*time.Second)
		}
		now = now.Add(want * time.Second)
		if d := th.Wait("alice", "10.0.0.1", now); d != 0 {
			t.Errorf("still waits %s after the wait", d)
		}
		th.Failed("alice", "10.0.0.1", now)
	}
	if d := th.Wait("alice", "10.0.0.2", now); d != 0 {
		t.Errorf("alice at another address waits %s", d)
	}
	if d := th.Wait("bob", "10.0.0.1", now); d != 0 {
		t.Errorf("bob at the address waits %s", d)
	}
	for range 60 {
		th.Failed("alice", "10.0.0.1", now)
	}
	if d := th.Wait("alice", "10.0.0.1", now); d != longestWait {
		t.Errorf("waits %s, want %s", d, longestWait)
	}
	if d := th.Wait("bob", "10.0.0.1", now); d == 0 {
		t.Error("an address that tried 69 times may go on with other users")
	}
	th.Succeeded("alice", "10.0.0.1", now.Add(-time.Hour)) // as a copy of a success is
	if d := th.Wait("alice", "10.0.0.1", now); d != longestWait {
		t.Errorf("after a success long before, waits %s, want %s", d, longestWait)
	}
	th.Succeeded("alice", "10.0.0.1", now)
	if d := th.Wait("alice", "10.0.0.9", now); d != 0 {
		t.Errorf("after success waits %s", d)
	}
	if d := th.Wait("alice", "10.0.0.1", now.Add(ThrottleMemory+longestWait)); d != 0 {
		t.Errorf("long after, waits %s", d)
	}
}

// Who has an address of IPv6 has as many as they like.
func TestThrottleIPv6(t *testing.T) {
	th := NewThrottle()
	for _, addr := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::2%eth0", "2001:DB8:0::3"} {
		th.Failed("alice", addr, at)
	}
	for range freeFailures {
		th.Failed("alice", "::ffff:10.0.0.1", at)
	}
	for addr, waits := range map[string]bool{"2001:db8::9": true, "2001:db8:0:1::1": false, "10.0.0.1": true, "10.0.0.2": false} {
		if d := th.Wait("alice", addr, at); d > 0 != waits {
			t.Errorf("%s waits %s", addr, d)
		}
	}
}

// One attempt of an address at a time; who stops waiting leaves nothing behind.
func TestTurns(t *testing.T) {
	th := NewThrottle()
	done, err := th.Turn(t.Context(), "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := th.Turn(t.Context(), "10.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := th.Turn(ctx, "10.0.0.1"); !errors.Is(err, context.Canceled) {
		t.Errorf("two at once: %v", err)
	}
	next := make(chan struct{})
	go func() {
		done, err := th.Turn(t.Context(), "10.0.0.1")
		if err != nil {
			t.Error(err)
		} else {
			done()
		}
		close(next)
	}()
	done()
	<-next
	if len(th.turns) > 0 {
		t.Errorf("%d turns are kept", len(th.turns))
	}
}
