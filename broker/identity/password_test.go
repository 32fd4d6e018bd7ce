package identity

import (
	"context"
	"errors"
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

// What one broker sets, another checks.
func TestPasswords(t *testing.T) {
	ctx, s := t.Context(), store(t)
	open := func() *Passwords {
		t.Helper()
		p, err := OpenPasswords(ctx, s, "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p, again := open(), open()
	if err := p.Set(ctx, "alice", 7, "short"); err == nil {
		t.Error("a password of 5 bytes was taken")
	}
	if err := p.Set(ctx, "alice", 7, "a former password"); err != nil {
		t.Fatal(err)
	}
	if ok, err := again.Verify(ctx, "alice", 7, "a former password"); !ok || err != nil {
		t.Errorf("at another broker: %v, %v", ok, err)
	}
	if err := p.Set(ctx, "alice", 7, "a long password"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, user, password string
		since                uint64
		want                 bool
	}{
		{"right", "alice", "a long password", 7, true},
		{"the former one", "alice", "a former password", 7, false},
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
	if err := again.Delete(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Verify(ctx, "alice", 7, "a long password"); err != nil || ok {
		t.Errorf("after it was deleted: %v, %v", ok, err)
	}
	if err := s.Put(ctx, passwordName("alice"), []byte(`{"hash":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Verify(ctx, "alice", 7, "a long password"); err == nil || ok {
		t.Errorf("a damaged hash: %v, %v", ok, err)
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
