//go:build unix

package sealed_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/posternhq/postern/broker/sealed"
)

// A file that is not ours to change may be read by its group: that is how systemd and
// Kubernetes pass secrets.
func TestReadPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	for _, c := range []struct {
		name        string
		mode        os.FileMode
		foreign     bool // of another user
		credentials string
		good        bool
	}{
		{"the owner's alone", 0o600, false, "", true},
		{"the owner's to read", 0o400, false, "", true},
		{"ours, for the group", 0o640, false, "", false},
		{"a credential of systemd's", 0o440, false, dir, true},
		{"beside the credentials", 0o440, false, elsewhere, false},
		{"a credential for all", 0o444, false, dir, false},
		{"of another user, for our group", 0o440, true, "", true},
		{"of another user, for our group to write", 0o460, true, "", false},
		{"of another user, for all", 0o444, true, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.foreign {
				if os.Geteuid() != 0 {
					t.Skip("only root can give files away")
				}
				if err := os.Chown(path, 65534, 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			t.Setenv("CREDENTIALS_DIRECTORY", c.credentials)
			if _, err := sealed.ReadPrivate(path); (err == nil) != c.good {
				t.Errorf("mode %04o: %v", c.mode, err)
			}
		})
	}
}
