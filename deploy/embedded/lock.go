package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrInUse tells that another process holds the data directory.
var ErrInUse = errors.New("another postern uses this directory")

var errLocked = errors.New("locked")

// LockDir creates dir (0700) and takes its lock, which ends with the returned
// file or with this process, whichever is first. The error wraps [ErrInUse]
// when another process, or another server in this one, holds it.
func LockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := tryLock(f); err != nil {
		_ = f.Close()
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("%s: %w: stop it, or choose another data directory", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
