package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/sts"
)

// Whatever of AWS its user has set up, a postern on the simulated AWS runs with that one's
// credentials, and leads nowhere else.
func TestSimulatedAWSIsTheOnlyOne(t *testing.T) {
	for _, kv := range os.Environ() { // to be restored
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value)
		}
	}
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".aws", "config"), []byte("[default]\nrole_arn = arn:aws:iam::999999999999:role/mine\nsource_profile = default\nendpoint_url = http://127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("AWS_CONFIG_FILE", "") // restored, too
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "")
	for _, theirs := range []struct{ name, value string }{
		{"", ""}, {"AWS_DEFAULT_PROFILE", "work"}, {"AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"}, {"AWS_CA_BUNDLE", "/nowhere.pem"}, {"AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere"},
	} {
		t.Run(theirs.name, func(t *testing.T) {
			if theirs.name != "" {
				t.Setenv(theirs.name, theirs.value)
			}
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::999999999999:role/mine")
			s := &services{log: zerolog.Nop()}
			sim, err := s.startSim(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.stop(); err != nil {
					t.Error(err)
				}
			}()
			roots, err := sts.RootsWith(sim.CAFile())
			if err != nil {
				t.Fatal(err)
			}
			h, err := sts.New(sts.Config{Link: sts.Link{Dial: sim.Addr(), RootCAs: roots}, Record: func(context.Context, events.Event) error { return nil }, Log: zerolog.Nop()})
			if err != nil {
				t.Fatal(err)
			}
			if account, err := h.Account(t.Context()); err != nil || account != devAccount {
				t.Errorf("account %q: %v", account, err)
			}
		})
	}
}
