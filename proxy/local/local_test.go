package local_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/posternhq/postern/proxy/local"
)

func TestFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("mode bits mean nothing on Windows")
	}
	p := newPKI(t)
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b")
	own := filepath.Join(root, "own.pem")
	ownPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate[0]})
	if err := os.WriteFile(own, ownPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := local.New(local.Config{ProxyAddr: "127.0.0.1:1", ProxyTLS: p.client(), Dir: dir, CABundle: own, Sessions: []local.Session{{ID: "S"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("New made files: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	<-h.Ready()
	bundle := value(t, h.Env(), "AWS_CA_BUNDLE")
	st, err := os.Stat(bundle)
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("%s: %v %v", bundle, st, err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v %v", dir, st, err)
	}
	b, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "PRIVATE") || !strings.Contains(string(b), string(ownPEM)) {
		t.Error("the bundle holds a key, or lacks the user's own roots")
	}
	block, _ := pem.Decode(b)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !ca.IsCA || len(ca.PermittedDNSDomains) == 0 || !ca.PermittedDNSDomainsCritical {
		t.Errorf("CA %+v %v", ca, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("files are left: %v", err)
	}
	if err := h.Cleanup(); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	p := newPKI(t)
	h := run(t, local.Config{ProxyAddr: "127.0.0.1:1", ProxyTLS: p.client(), Sessions: []local.Session{{ID: "S", Region: "us-gov-west-1"}}})
	for name, form := range map[string]string{
		"AWS_ACCESS_KEY_ID":     `^AKIA[A-Z2-7]{16}$`,
		"AWS_SECRET_ACCESS_KEY": `^[A-Za-z0-9+/]{40}$`,
		"AWS_CA_BUNDLE":         `\.pem$`,
		"HTTPS_PROXY":           `^http://127\.0\.0\.1:\d+$`,
		"https_proxy":           `^http://127\.0\.0\.1:\d+$`,
		"NODE_USE_ENV_PROXY":    `^1$`,
		"NODE_EXTRA_CA_CERTS":   `\.pem$`,
		"AWS_REGION":            `^us-gov-west-1$`,
		"AWS_DEFAULT_REGION":    `^us-gov-west-1$`,
	} {
		if v := value(t, h.Env(), name); !regexp.MustCompile(form).MatchString(v) {
			t.Errorf("%s=%s", name, v)
		}
	}
	other, err := local.New(local.Config{ProxyAddr: "127.0.0.1:1", ProxyTLS: p.client(), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if other.Env() != nil {
		t.Error("environment without a session")
	}
}

func TestRefusesConfig(t *testing.T) {
	p := newPKI(t)
	good := local.Config{ProxyAddr: "proxy.example:3081", ProxyTLS: p.client(), Dir: t.TempDir()}
	for name, change := range map[string]func(*local.Config){
		"all interfaces":  func(c *local.Config) { c.Listen = "0.0.0.0:0" },
		"no host":         func(c *local.Config) { c.Listen = ":8080" },
		"a name":          func(c *local.Config) { c.Listen = "example.com:8080" },
		"no port":         func(c *local.Config) { c.ProxyAddr = "proxy.example" },
		"no TLS":          func(c *local.Config) { c.ProxyTLS = nil },
		"no directory":    func(c *local.Config) { c.Dir = "" },
		"nameless":        func(c *local.Config) { c.Sessions = []local.Session{{}} },
		"a session twice": func(c *local.Config) { c.Sessions = []local.Session{{ID: "S"}, {ID: "S"}} },
	} {
		c := good
		change(&c)
		if _, err := local.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(*local.Config){
		"good":            func(*local.Config) {},
		"IPv6":            func(c *local.Config) { c.Listen = "[::1]:0" },
		"told to be open": func(c *local.Config) { c.Listen, c.AllowRemote = "0.0.0.0:0", true },
	} {
		c := good
		change(&c)
		if _, err := local.New(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusesOpenDirectory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("mode bits mean nothing on Windows")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := local.New(local.Config{ProxyAddr: "127.0.0.1:1", ProxyTLS: newPKI(t).client(), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("error %v", err)
	}
}
