package main

import (
	"strings"
	"testing"
)

// Without an address of NATS the next step is said, not that no server is there.
func TestWhereIsNATS(t *testing.T) {
	s := &services{cfg: &Config{}}
	if _, err := s.connectGiven(&given{}); err == nil || !strings.Contains(err.Error(), "set nats.url here") {
		t.Error(err)
	}
}

// Who joins gets credentials of their own, never those in the broker's addresses.
func TestPublicNATSHasNoPassword(t *testing.T) {
	for url, want := range map[string]string{
		"": "", "n": "n", "nats://n:4222": "nats://n:4222",
		"tls://broker:p@ss@n:4222, nats://token@m:4222,u:secret@k:4222": "tls://n:4222,nats://m:4222,k:4222",
	} {
		s := &services{cfg: &Config{NATS: NATSConfig{URL: url}}}
		if got := s.publicNATS(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
	s := &services{cfg: &Config{NATS: NATSConfig{URL: "nats://n:4222", PublicURL: "nats://x:secret@p:4222"}}}
	if got := s.publicNATS(); got != "nats://p:4222" {
		t.Errorf("public_url: %s", got)
	}
}
