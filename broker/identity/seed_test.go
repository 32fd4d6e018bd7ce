package identity

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func TestSeed(t *testing.T) {
	shared := store(t)
	seed, err := OpenSeed(t.Context(), shared)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenSeed(t.Context(), shared)
	if err != nil || string(again.Derive("a", 20)) != string(seed.Derive("a", 20)) {
		t.Fatalf("opened again it is another one: %v", err)
	}
	if string(seed.Derive("a", 20)) == string(seed.Derive("b", 20)) {
		t.Error("two purposes share a secret")
	}
	token, err := seed.Seal("flow", at.Add(time.Minute), "what was said")
	if err != nil {
		t.Fatal(err)
	}
	open := func(s *Seed, purpose, token string, now time.Time) error {
		var said string
		err := s.Open(purpose, token, now, &said)
		if err == nil && said != "what was said" {
			t.Errorf("opened to %q", said)
		}
		return err
	}
	if err := open(again, "flow", token, at); err != nil {
		t.Errorf("another broker cannot read it: %v", err)
	}
	foreign, err := OpenSeed(t.Context(), store(t))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || strings.Contains(string(raw), "said") {
		t.Fatalf("it can be read: %q, %v", raw, err)
	}
	raw[len(raw)-1] ^= 1
	for name, err := range map[string]error{
		"too old":         open(seed, "flow", token, at.Add(time.Minute)),
		"another purpose": open(seed, "code", token, at),
		"another postern": open(foreign, "flow", token, at),
		"changed":         open(seed, "flow", base64.RawURLEncoding.EncodeToString(raw), at),
		"empty":           open(seed, "flow", "", at),
		"not base64":      open(seed, "flow", "%", at),
	} {
		if err == nil {
			t.Errorf("a token that is %s was taken", name)
		}
	}
}
