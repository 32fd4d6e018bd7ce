package sealed

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/posternhq/postern/events/journal"
)

// Key seals the store: 32 bytes, which text and files hold in base64.
type Key []byte

const keySize = 32

// NewKey makes a key.
func NewKey() Key {
	k := make(Key, keySize)
	rand.Read(k) // never fails: crypto/rand
	return k
}

// ParseKey reads a key's text.
func ParseKey(text string) (Key, error) {
	k, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(k) != keySize {
		return nil, fmt.Errorf("a seal key is %d random bytes in base64: make one with openssl rand -base64 %d", keySize, keySize)
	}
	return k, nil
}

// ReadKey reads a key from a file as [ReadPrivate] does.
func ReadKey(path string) (Key, error) {
	keys, err := ReadKeys(path)
	switch {
	case err != nil:
		return nil, err
	case len(keys) > 1:
		return nil, fmt.Errorf("seal key: %s has %d lines, one is wanted", path, len(keys))
	}
	return keys[0], nil
}

// ReadKeys reads keys, one a line, from a file as [ReadPrivate] does.
func ReadKeys(path string) (keys []Key, err error) {
	text, err := ReadPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	for line := range strings.Lines(strings.TrimSpace(string(text)) + "\n") {
		k, err := ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("seal key: %s: line %d: %w", path, len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// KeepKeyFor is KeepKey for a bucket, for which no key is made that would not open what is
// in it.
func KeepKeyFor(ctx context.Context, bucket *journal.Bucket, path string) (Key, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		_, _, err := bucket.Get(ctx, checkName)
		if err == nil {
			return nil, fmt.Errorf("seal key: there is no %s, and other brokers have sealed what they share: every broker needs the same seal key (broker.seal_key_file, or POSTERN_SEAL_KEY)", path)
		}
		if !errors.Is(err, journal.ErrNoKey) {
			return nil, fmt.Errorf("seal key: %w", err)
		}
	}
	return KeepKey(path)
}

// KeepKey reads a key's file or, where there is none, makes a key and writes
// it. Of several that do so at once, all get the same.
func KeepKey(path string) (Key, error) {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return ReadKey(path)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	f, err := os.CreateTemp(dir, ".seal-*") // made 0600
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(NewKey()))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		// A link, unlike a rename, does not replace what is there.
		if err = os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return ReadKey(path)
}
