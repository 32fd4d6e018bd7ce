package embedded

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// A directory of an earlier version gets a password for the user it did not know,
// and keeps the others.
func TestPasswordsOfEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passwords.json")
	if err := os.WriteFile(path, []byte(`{"postern":"o","reader":"r"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := openPasswords(dir)
	if err != nil || first[Owner] != "o" || first[Reader] != "r" || len(first[Scoped]) < 26 {
		t.Fatalf("%d passwords, %v", len(first), err)
	}
	var kept map[string]string
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &kept); err != nil || kept[Scoped] != first[Scoped] {
		t.Errorf("the new password is not kept: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := openPasswords(dir)
	if err != nil || again[Scoped] != first[Scoped] {
		t.Errorf("another password at the second start: %v", err)
	}
}
