//go:build !windows

package local

import (
	"fmt"
	"os"
)

// checkPrivate refuses a directory that others may enter or write: whoever
// can replace the CA bundle can stand between the user's AWS client and AWS.
func checkPrivate(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("directory of the local proxy: %w", err)
	}
	if m := st.Mode().Perm(); m&0o077 != 0 {
		return fmt.Errorf("directory of the local proxy: %s has mode %#o and is open to others; run: chmod 700 %s", dir, m, dir)
	}
	return nil
}
