package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// wentBackFile is the mark in a proxy's data directory, see [MarkWentBack].
const wentBackFile = "went-back"

// ErrLocksLost is wrapped by what CheckWentBack returns.
var ErrLocksLost = errors.New("locks may be lost")

// MarkWentBack has proxies not start with this data directory until an operator removes
// its file went-back: a stream went back, and whoever reads it anew does not know the
// locks that it lost. known is the last sequence of ACCESS that was read, 0 where it is
// not known. A mark that is there stays.
func MarkWentBack(dataDir string, known uint64, why error, now time.Time) error {
	if errors.Is(CheckWentBack(dataDir), ErrLocksLost) {
		return nil
	}
	if err := writeMark(dataDir, fmt.Sprintf("stream: ACCESS\nlast sequence read: %d\nfound: %s\nwhy: %v\n", known, now.UTC().Format(time.RFC3339), why)); err != nil {
		return fmt.Errorf("note that the stream went back: %w", err)
	}
	return nil
}

// writeMark makes the file as a whole, and durable.
func writeMark(dir, text string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".went-back-*") // made 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone where it was renamed
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, wentBackFile)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// CheckWentBack returns an error that wraps [ErrLocksLost] while the mark of
// MarkWentBack is there. A proxy without a data directory ("") has none.
func CheckWentBack(dataDir string) error {
	if dataDir == "" {
		return nil
	}
	file := filepath.Join(dataDir, wentBackFile)
	switch _, err := os.Lstat(file); {
	case err == nil:
		return fmt.Errorf("%w: the ACCESS stream went back (%s says when and to where); place again what it lost, see docs/operations.md, \"Streams that went back\", and then remove %s", ErrLocksLost, file, file)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return fmt.Errorf("whether %s is there: %w", file, err)
	}
}
