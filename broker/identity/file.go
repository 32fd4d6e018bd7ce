package identity

import (
	"fmt"
	"os"
)

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if loose := info.Mode().Perm() &^ 0o600; loose != 0 && modesCount {
		return nil, fmt.Errorf("%s has mode %04o and others may read it: chmod 600 it, and think about replacing it", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}
