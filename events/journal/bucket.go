package journal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoKey is wrapped by the error of a key that a bucket does not hold.
var ErrNoKey = errors.New("no such key")

// Bucket holds the last value of each key, on disk as the streams are: for what
// brokers share and must not be an event. Keys are any text. What is
// overwritten or deleted is gone. It is safe for concurrent use.
type Bucket struct{ kv jetstream.KeyValue }

// OpenBucket opens a bucket, or makes it with as many replicas (0: one).
func OpenBucket(ctx context.Context, nc *nats.Conn, name string, replicas int) (*Bucket, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: name, History: 1, Storage: jetstream.FileStorage, Replicas: max(replicas, 1),
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return &Bucket{kv: kv}, nil
}

// Bucket is OpenBucket on the journal's connection.
func (j *Journal) Bucket(ctx context.Context, name string, replicas int) (*Bucket, error) {
	return OpenBucket(ctx, j.conn.Load().nc, name, replicas)
}

// keyForm makes keys what NATS takes for one token of a subject.
var keyForm = base64.RawURLEncoding

// Get returns a key's value and the revision to update it from. Without a
// value the error wraps ErrNoKey.
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	e, err := b.kv.Get(ctx, keyForm.EncodeToString([]byte(key)))
	if err != nil {
		return nil, 0, bucketError("read", key, err)
	}
	return e.Value(), e.Revision(), nil
}

// Put sets a key's value whatever it was.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	if _, err := b.kv.Put(ctx, keyForm.EncodeToString([]byte(key)), value); err != nil {
		return bucketError("write", key, err)
	}
	return nil
}

// Update sets a key's value if it still has the revision last (0: it has no
// value), and returns the new one. Otherwise the error wraps ErrConflict.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, last uint64) (uint64, error) {
	name := keyForm.EncodeToString([]byte(key))
	var rev uint64
	var err error
	if last == 0 {
		rev, err = b.kv.Create(ctx, name, value) // over a deleted one, too
	} else {
		rev, err = b.kv.Update(ctx, name, value, last)
	}
	if err != nil {
		return 0, bucketError("write", key, err)
	}
	return rev, nil
}

// Delete forgets a key, if it is there.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := b.kv.Delete(ctx, keyForm.EncodeToString([]byte(key))); err != nil {
		return bucketError("delete", key, err)
	}
	return nil
}

// Keys lists the keys that have a value, sorted.
func (b *Bucket) Keys(ctx context.Context) ([]string, error) {
	names, err := b.kv.Keys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the keys of bucket %s: %w", b.kv.Bucket(), err)
	}
	keys := make([]string, 0, len(names))
	for _, n := range names {
		key, err := keyForm.DecodeString(n)
		if err != nil {
			continue // not one of ours
		}
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	return keys, nil
}

// Watch calls changed for a key's value as it is now, if there is one, and for
// every later one, until ctx ends (nil) or the bucket is lost.
func (b *Bucket) Watch(ctx context.Context, key string, changed func()) error {
	w, err := b.kv.Watch(ctx, keyForm.EncodeToString([]byte(key)), jetstream.MetaOnly())
	if err != nil {
		return bucketError("watch", key, err)
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, open := <-w.Updates():
			switch {
			case !open && ctx.Err() == nil:
				return bucketError("watch", key, errors.New("the watch ended"))
			case !open:
				return nil
			case e != nil: // nil: all that was there has come
				changed()
			}
		}
	}
}

func bucketError(what, key string, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		err = ErrNoKey
	case errors.Is(err, jetstream.ErrKeyExists),
		errors.As(err, &api) && (api.ErrorCode == wrongLastSequence || api.ErrorCode == wrongLastSequenceConstant):
		err = fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return fmt.Errorf("%s %s: %w", what, key, err)
}
