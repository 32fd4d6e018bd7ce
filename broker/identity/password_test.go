package identity

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Made by the reference implementation (github.com/P-H-C/phc-winner-argon2):
// printf 'correct horse battery' | argon2 0123456789abcdef -id -t 3 -k 65536 -p 4 -l 32 -e
const reference = "$argon2id$v=19$m=65536,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg$UiBIPUuhY3xdXfQ7N3p/au05phWWk9ACmj5PdtUGaas"

func TestReferenceHash(t *testing.T) {
	want, err := parseHash(reference)
	if err != nil {
		t.Fatal(err)
	}
	if want.String() != reference {
		t.Errorf("written as %s", want)
	}
	h := newHasher()
	for password, expect := range map[string]bool{"correct horse battery": true, "correct horse batterz": false, "": false} {
		got, err := h.verify(t.Context(), password, want, true)
		if err != nil || got != expect {
			t.Errorf("%q: %v, %v", password, got, err)
		}
	}
	if got, err := h.verify(t.Context(), "correct horse battery", want, false); err != nil || got {
		t.Errorf("the right password of an unknown user: %v, %v", got, err)
	}
	for _, bad := range []string{"", "plain", strings.Replace(reference, "m=65536", "m=8", 1), strings.Replace(reference, "argon2id", "argon2i", 1), reference + "A"} {
		if _, err := parseHash(bad); err == nil {
			t.Errorf("%q is taken for a hash", bad)
		}
	}
}

func TestPasswords(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPasswords(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := p.Set(ctx, "alice", 7, "short"); err == nil {
		t.Error("a password of 5 bytes was taken")
	}
	if err := p.Set(ctx, "alice", 7, "a long password"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "passwords.json")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := OpenPasswords(dir) // as after a restart
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, user, password string
		since                uint64
		want                 bool
	}{
		{"right", "alice", "a long password", 7, true},
		{"wrong", "alice", "a long passwort", 7, false},
		{"a later user of the name", "alice", "a long password", 9, false},
		{"a user that does not exist", "alice", "a long password", 0, false},
		{"another user", "bob", "a long password", 7, false},
		{"too long to look at", "alice", strings.Repeat("x", maxPassword+1), 7, false},
	} {
		got, err := again.Verify(ctx, c.user, c.since, c.password)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	if err := again.Delete("alice"); err != nil {
		t.Fatal(err)
	}
	if ok, err := again.Verify(ctx, "alice", 7, "a long password"); err != nil || ok {
		t.Errorf("after it was deleted: %v, %v", ok, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPasswords(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"alice":{"hash":"x"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPasswords(dir); err == nil || !strings.Contains(err.Error(), "user alice") {
		t.Errorf("a damaged file: %v", err)
	}
}

// Hashes beyond the slots wait, and give up when nobody waits for them.
func TestHashSlots(t *testing.T) {
	h := newHasher()
	for range parallelHash {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.tag(ctx, "password", make([]byte, argonSalt)); !errors.Is(err, context.Canceled) {
		t.Errorf("with all slots taken: %v", err)
	}
}
