package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events/journal"
)

// store is a sealed store on a server of its own.
func store(t *testing.T) *sealed.Store {
	t.Helper()
	nc := embeddedtest.Connect(t, embeddedtest.StartNATS(t), "sealed", embedded.Sealed())
	bucket, err := journal.OpenBucket(t.Context(), nc, sealed.Bucket, 1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sealed.Open(t.Context(), bucket, sealed.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openCA(t *testing.T) *CA { return openShared(t, store(t)) }

func openShared(t *testing.T, s *sealed.Store) *CA {
	t.Helper()
	ca, err := OpenCA(t.Context(), s, "", at)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// Whoever opens the CA first makes it; all brokers get the same, and keep it.
func TestCAIsMadeOnce(t *testing.T) {
	s := store(t)
	prints := make([]string, 8)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			ca, err := OpenCA(t.Context(), s, "", at)
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = ca.SHA256()
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] || p == "" {
			t.Fatalf("different CAs: %q", prints)
		}
	}
	if err := s.Put(t.Context(), caName, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(t.Context(), s, "", at); err == nil {
		t.Error("a damaged CA was opened, or replaced")
	}
}

// The files of earlier versions go into the store, once.
func TestFormerFiles(t *testing.T) {
	dir, s, ctx := t.TempDir(), store(t), t.Context()
	former, err := NewAuthority(at)
	if err != nil {
		t.Fatal(err)
	}
	caPath, passwords := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "passwords.json")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(caPath, string(former.PEM()))
	write(passwords, `{"alice": {"hash": "`+reference+`", "since": 7}}`)
	for range 2 {
		ca, err := OpenCA(ctx, s, dir, at)
		if err != nil || ca.SHA256() != former.SHA256() {
			t.Fatalf("%v", err)
		}
		p, err := OpenPasswords(ctx, s, dir)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Verify(ctx, "alice", 7, "correct horse battery"); !ok || err != nil {
			t.Errorf("alice's former password: %v, %v", ok, err)
		}
		for _, path := range []string{caPath, passwords} {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", path, err)
			}
		}
	}

	other, err := NewAuthority(at)
	if err != nil {
		t.Fatal(err)
	}
	write(caPath, string(other.PEM()))
	if _, err := OpenCA(ctx, s, dir, at); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a CA that is not the shared one: %v", err)
	}
	if err := os.Chmod(caPath, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(ctx, s, dir, at); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a CA that others can read: %v", err)
	}
	write(passwords, `{"alice":{"hash":"x"}}`)
	if _, err := OpenPasswords(ctx, s, dir); err == nil || !strings.Contains(err.Error(), "user alice") {
		t.Errorf("damaged passwords: %v", err)
	}
}

// A rotation goes from phase to phase: at every moment what either broker has
// issued is good at the other, until the old CA is dropped.
func TestRotate(t *testing.T) {
	s, ctx := store(t), t.Context()
	one, two := openShared(t, s), openShared(t, s)
	follow, stop := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() { followed <- two.Follow(follow, zerolog.Nop()) }()
	defer func() { stop(); <-followed }()

	now := at
	old := one.Signing()
	certOfOld := issue(t, one, "alice", 30*time.Hour)
	rotate := func(step Step) (Status, error) {
		t.Helper()
		st, err := one.Rotate(ctx, step, now, func(Status) error { return nil })
		if err == nil {
			for two.Status().Phase != st.Phase || two.SHA256() != st.Signing.SHA256() {
				if err := two.load(ctx); err != nil { // what Follow does when it is told
					t.Fatal(err)
				}
			}
		}
		return st, err
	}
	good := func(what string, cert []*x509.Certificate, want bool) {
		t.Helper()
		for _, ca := range []*CA{one, two} {
			if _, err := ca.Verify(cert, now); (err == nil) != want {
				t.Errorf("%s: %v, want good: %v", what, err, want)
			}
		}
	}
	if _, err := rotate(Step{Back: true}); err == nil {
		t.Error("a rotation that never began was taken back")
	}
	refused := errors.New("not recorded")
	if _, err := one.Rotate(ctx, Step{}, now, func(Status) error { return refused }); !errors.Is(err, refused) || one.Status().Phase != Steady {
		t.Errorf("what was not recorded happened: %v, %s", err, one.Status().Phase)
	}

	st, err := rotate(Step{})
	if err != nil || st.Phase != Introduced || st.Signing.SHA256() != old.SHA256() {
		t.Fatalf("%+v, %v", st, err)
	}
	var early *TooEarly
	if _, err := rotate(Step{}); !errors.As(err, &early) {
		t.Errorf("switched before anybody could know: %v", err)
	}
	if st, err = rotate(Step{Back: true}); err != nil || st.Phase != Steady || st.Other != nil {
		t.Fatalf("taken back: %+v, %v", st, err)
	}
	if st, err = rotate(Step{}); err != nil {
		t.Fatal(err)
	}
	next := st.Other
	now = now.Add(introducedFor)
	if st, err = rotate(Step{}); err != nil || st.Phase != Switched || st.Signing.SHA256() != next.SHA256() {
		t.Fatalf("%+v, %v", st, err)
	}
	certOfNew := issue(t, two, "alice", 30*time.Hour)
	// Who knows the old CA alone trusts servers of the new one as long as both are.
	server, err := two.IssueServer([]string{"postern.test"}, now)
	if err != nil {
		t.Fatal(err)
	}
	former, intermediates := x509.NewCertPool(), x509.NewCertPool()
	former.AddCert(old.cert)
	for _, der := range server.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		intermediates.AddCert(c)
	}
	if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: former, Intermediates: intermediates, DNSName: "postern.test", CurrentTime: now}); err != nil {
		t.Errorf("a server of the new CA, to who knows the old one: %v", err)
	}
	good("of the old CA", certOfOld, true)
	good("of the new CA", certOfNew, true)
	if st, err = rotate(Step{Back: true}); err != nil || st.Phase != Introduced || st.Signing.SHA256() != old.SHA256() {
		t.Fatalf("switched back: %+v, %v", st, err)
	}
	good("of the new CA, after it was switched back", certOfNew, true)
	now = now.Add(introducedFor)
	if _, err = rotate(Step{}); err != nil {
		t.Fatal(err)
	}
	if _, err := rotate(Step{}); !errors.As(err, &early) || !early.Until.Equal(now.Add(MaxTTL)) {
		t.Errorf("the old CA was dropped while certificates of it live: %v", err)
	}
	if st, err = rotate(Step{Force: true}); err != nil || st.Phase != Steady || st.Other != nil {
		t.Fatalf("%+v, %v", st, err)
	}
	good("of the old CA, after it was dropped", certOfOld, false)
	if server, err = one.IssueServer([]string{"postern.test"}, now); err != nil || len(server.Certificate) != 2 {
		t.Errorf("after it was dropped it still vouches: %d certificates, %v", len(server.Certificate), err)
	}
	good("of the new CA", certOfNew, true)
}

// Of brokers that rotate at once, one does; the others are told.
func TestRotateOnce(t *testing.T) {
	s := store(t)
	const brokers = 6
	var cas []*CA
	for range brokers {
		cas = append(cas, openShared(t, s))
	}
	errs := make([]error, brokers)
	all := sync.WaitGroup{}
	all.Add(brokers)
	var wg sync.WaitGroup
	for i, ca := range cas {
		wg.Go(func() {
			_, errs[i] = ca.Rotate(t.Context(), Step{}, at, func(Status) error { all.Done(); all.Wait(); return nil })
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, sealed.ErrConflict) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d rotated", won)
	}
}
