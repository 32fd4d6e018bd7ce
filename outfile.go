package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// outFile is a file for a secret that is made only once it is known that it can be
// written. Nil is none, where no file is wanted.
type outFile struct {
	f       *os.File
	written bool
}

// newOutFile makes an empty file of mode 0600 at a path where there is nothing yet, in a
// directory that there is; "" is none.
func newOutFile(path string) (*outFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("--out %s: there is a file already: move it away, or name another", path)
	} else if err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	return &outFile{f: f}, nil
}

// write fills the file.
func (o *outFile) write(text string) error {
	_, err := o.f.WriteString(text)
	if err = errors.Join(err, o.f.Sync()); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	o.written = true
	return nil
}

// close ends the work, and removes a file that nothing was written to.
func (o *outFile) close() {
	if o == nil {
		return
	}
	_ = o.f.Close()
	if !o.written {
		_ = os.Remove(o.f.Name())
	}
}
