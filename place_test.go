package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
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

// A certificate of somebody else's that ends, or is gone, while a server runs is said in
// the log; who connects sees a handshake that fails, and nothing else.
func TestFilesOfTLSThatEnd(t *testing.T) {
	dir := t.TempDir()
	files := &TLSFiles{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), ClientCAFile: filepath.Join(dir, "cert.pem")}
	write := func(ends time.Time) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"proxy"}, NotBefore: ends.Add(-2 * time.Hour), NotAfter: ends}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, block := range map[string]*pem.Block{files.CertFile: {Type: "CERTIFICATE", Bytes: cert}, files.KeyFile: {Type: "PRIVATE KEY", Bytes: der}} {
			if err := writePrivateBytes(name, pem.EncodeToMemory(block)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var said bytes.Buffer
	write(time.Now().Add(-time.Minute))
	if _, err := mutualTLS(fromFiles(files), tls.RequireAndVerifyClientCert, zerolog.New(&said)); err == nil || !strings.Contains(err.Error(), "ended at") || said.Len() > 0 {
		t.Errorf("one that has ended: %v\n%s", err, said.String())
	}
	write(time.Now().Add(time.Hour))
	conf, err := mutualTLS(fromFiles(files), tls.RequireAndVerifyClientCert, zerolog.New(&said))
	if err != nil {
		t.Fatal(err)
	}
	connect := func(good bool) {
		t.Helper()
		if _, err := conf.GetConfigForClient(nil); (err == nil) != good {
			t.Error(err)
		}
	}
	connect(true)
	if said.Len() > 0 {
		t.Error(said.String())
	}
	write(time.Now().Add(-time.Minute))
	connect(false)
	connect(false)
	if n := strings.Count(said.String(), "connections are refused"); n != 1 || !strings.Contains(said.String(), files.CertFile) {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
	if err := os.Remove(files.KeyFile); err != nil {
		t.Fatal(err)
	}
	connect(false)
	if n := strings.Count(said.String(), "connections are refused"); n != 2 || !strings.Contains(said.String(), files.KeyFile) {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
	write(time.Now().Add(time.Hour))
	connect(true)
}

// What is said of a server that is not there, or whose address is none, is for logs.
func TestNATSErrorHasNoPassword(t *testing.T) {
	for _, addr := range []string{"nats://broker:p@ss-word@127.0.0.1:1", "nats://broker:p@ss-word@127.0.0.1:1,nats://ss-word@127.0.0.1:1", "nats://broker:p@ss-word@127.0.0.1:x", "tls://broker:p@ss-word@[::1"} {
		_, err := connectNATS(addr, "", "")
		if err == nil || !strings.Contains(err.Error(), "connect to NATS at ") || strings.HasSuffix(addr, "127.0.0.1:1") && !strings.Contains(err.Error(), "127.0.0.1:1") || strings.Contains(err.Error(), "ss-word") || strings.Contains(err.Error(), "broker") {
			t.Errorf("%v", err)
		}
	}
}
