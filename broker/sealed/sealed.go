// Package sealed keeps what brokers share and no event may hold: the CA's keys,
// hashes of passwords, secrets of second factors. Values lie in a JetStream
// bucket, each sealed under a key that only the brokers' machines have, and
// bound to its name.
//
// Whoever can write to the bucket can destroy a value or put an earlier one of
// the same name back; they can neither read one nor make one up.
package sealed

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/posternhq/postern/events/journal"
)

// Bucket is the JetStream bucket of the sealed values; its stream is
// KV_postern_sealed.
const Bucket = "postern_sealed"

var (
	// ErrNotFound is wrapped by Get's error for a name without a value.
	ErrNotFound = journal.ErrNoKey
	// ErrConflict is wrapped by Update's error when somebody was faster: read,
	// decide and try again.
	ErrConflict = journal.ErrConflict
)

// Store is the shared store. It is safe for concurrent use, by any number of
// brokers.
type Store struct {
	bucket *journal.Bucket
	aead   cipher.AEAD
}

// checkName holds a value that proves the seal key right.
const checkName = "seal"

// Open returns the store of a bucket under a seal key. A key other than the one
// that sealed what is there is refused.
func Open(ctx context.Context, bucket *journal.Bucket, key Key) (*Store, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	s := &Store{bucket: bucket, aead: aead}
	_, err = s.Update(ctx, checkName, nil, 0)
	if errors.Is(err, ErrConflict) {
		_, _, err = s.Get(ctx, checkName)
	}
	if err != nil {
		return nil, fmt.Errorf("sealed store: %w", err)
	}
	return s, nil
}

// Get returns the value of a name and the revision to update it from.
func (s *Store) Get(ctx context.Context, name string) ([]byte, uint64, error) {
	box, rev, err := s.bucket.Get(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	n := s.aead.NonceSize()
	if len(box) < n {
		return nil, 0, fmt.Errorf("open %s: what is stored is too short", name)
	}
	value, err := s.aead.Open(nil, box[:n], box[n:], bound(name))
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: it was sealed under another key, or damaged: every broker needs the same seal key (broker.seal_key_file)", name)
	}
	return value, rev, nil
}

// Put sets the value of a name whatever it was.
func (s *Store) Put(ctx context.Context, name string, value []byte) error {
	return s.bucket.Put(ctx, name, s.seal(name, value))
}

// Update sets the value of a name if it still has the revision last (0: it has
// none) and returns the new revision. Of several brokers at once, one succeeds;
// the error of the others wraps ErrConflict.
func (s *Store) Update(ctx context.Context, name string, value []byte, last uint64) (uint64, error) {
	return s.bucket.Update(ctx, name, s.seal(name, value), last)
}

// Keep returns the value of a name, which the first to ask makes. Of several brokers
// at once all get the same.
func (s *Store) Keep(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error) {
	value, _, err := s.Get(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return value, err
	}
	made, err := make()
	if err != nil {
		return nil, err
	}
	if _, err = s.Update(ctx, name, made, 0); errors.Is(err, ErrConflict) {
		made, _, err = s.Get(ctx, name) // another one was faster
	}
	return made, err
}

// Delete forgets the value of a name, if there is one.
func (s *Store) Delete(ctx context.Context, name string) error { return s.bucket.Delete(ctx, name) }

// List returns the names that begin with prefix and have a value, sorted.
func (s *Store) List(ctx context.Context, prefix string) ([]string, error) {
	keys, err := s.bucket.Keys(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, k := range keys {
		if strings.HasPrefix(k, prefix) && k != checkName {
			out = append(out, k)
		}
	}
	return out, nil
}

// Watch calls changed when a name has got a value, and at once if it has one,
// until ctx ends (nil) or the bucket is lost.
func (s *Store) Watch(ctx context.Context, name string, changed func()) error {
	return s.bucket.Watch(ctx, name, changed)
}

func (s *Store) seal(name string, value []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(value)+s.aead.Overhead())
	rand.Read(nonce) // never fails: crypto/rand
	return s.aead.Seal(nonce, nonce, value, bound(name))
}

// bound ties a value to its name, so that none can be put in another's place.
func bound(name string) []byte { return []byte("postern sealed v1\x00" + name) }
