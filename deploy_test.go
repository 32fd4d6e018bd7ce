package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestDeployedConfigurations: the configurations that ship are good ones.
func TestDeployedConfigurations(t *testing.T) {
	b, err := os.ReadFile("deploy/kubernetes/postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var object struct {
			Kind       string
			Metadata   struct{ Name string }
			Data       map[string]string
			StringData map[string]string `yaml:"stringData"`
		}
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		text := object.Data["postern.yaml"] + object.StringData["postern.yaml"]
		if text == "" {
			continue
		}
		seen++
		file := filepath.Join(t.TempDir(), "postern.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readConfig(file); err != nil {
			t.Errorf("%s/%s: %v", object.Kind, object.Metadata.Name, err)
		}
	}
	if seen != 2 {
		t.Errorf("%d configurations in the manifests, want the core's and the proxy's", seen)
	}
}

// The unit starts every service, a broker, too, which has no token: systemd starts none
// that lacks the file of a credential, and knows no optional ones (systemd.exec(5)).
func TestUnitNeedsNoToken(t *testing.T) {
	b, err := os.ReadFile("deploy/systemd/postern.service")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "LoadCredential") {
			t.Errorf("a service without it does not start: %s", line)
		}
	}
}
