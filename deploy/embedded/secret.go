package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// keepSecret returns the contents of path, or makes them with create and
// writes them first. Of several processes that do so at once, all return what
// the first wrote. A file that others can read is refused: what it holds must
// be taken as known.
func keepSecret(path string, create func() ([]byte, error)) ([]byte, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		secret, err := create()
		if err != nil {
			return nil, fmt.Errorf("make %s: %w", filepath.Base(path), err)
		}
		if err := writePrivate(path, secret, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s is readable by others (mode %04o): remove it to have new secrets made, or chmod 600 it if nobody saw it",
			path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}

// writePrivate writes a file of mode 0600 in one step, so that a crash leaves
// the old contents or the new, never a part. It is on disk when it returns.
// The step is os.Rename to replace, or os.Link to keep what is there already.
func writePrivate(path string, data []byte, step func(from, to string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // CreateTemp's mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = step(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
