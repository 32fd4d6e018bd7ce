package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// spillAt is how many bytes of a body HashBody keeps in memory.
const spillAt = 1 << 20

// EmptyHash is the SHA-256 of an empty body, in hex.
const EmptyHash = emptyHash

// HashedBody is a body that was read once for its hash and can be read again.
// Close frees it.
type HashedBody struct {
	io.ReadSeeker
	Hash string // SHA-256, lower-case hex
	Size int64  // bytes
	file *os.File
	name string // set where an open file cannot be unlinked
}

// HashBody reads body to its end. Up to 1 MiB stays in memory; more goes to a
// file in dir ("" for the system's), which is unlinked as soon as it exists, so
// that nothing is left behind even by a kill. It does not close body.
func HashBody(body io.Reader, dir string) (_ *HashedBody, err error) {
	h := sha256.New()
	var head bytes.Buffer
	n, err := io.Copy(io.MultiWriter(h, &head), io.LimitReader(body, spillAt))
	if err != nil {
		return nil, fmt.Errorf("read body to hash: %w", err)
	}
	out := &HashedBody{Size: n}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close())
		}
	}()
	if n < spillAt {
		out.ReadSeeker = bytes.NewReader(head.Bytes())
		out.Hash = hex.EncodeToString(h.Sum(nil))
		return out, nil
	}
	f, err := os.CreateTemp(dir, "postern-body-") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("spill body: %w", err)
	}
	out.file, out.ReadSeeker = f, f
	if os.Remove(f.Name()) != nil { // Windows: when closed, then
		out.name = f.Name()
	}
	if _, err := f.Write(head.Bytes()); err != nil {
		return nil, fmt.Errorf("spill body: %w", err)
	}
	n, err = io.Copy(io.MultiWriter(h, f), body)
	if err != nil {
		return nil, fmt.Errorf("spill body: %w", err)
	}
	out.Size += n
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("spill body: %w", err)
	}
	out.Hash = hex.EncodeToString(h.Sum(nil))
	return out, nil
}

// Reader reads the body from its beginning, apart from all other readers.
func (b *HashedBody) Reader() io.ReadSeeker {
	return io.NewSectionReader(b.ReadSeeker.(io.ReaderAt), 0, b.Size) // a file, or bytes
}

// Close frees the body's file, if it has one.
func (b *HashedBody) Close() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	if b.name != "" {
		err = errors.Join(err, os.Remove(b.name))
	}
	return err
}
