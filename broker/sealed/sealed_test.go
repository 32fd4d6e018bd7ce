package sealed_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events/journal"
)

func connect(t *testing.T) *nats.Conn {
	return embeddedtest.Connect(t, embeddedtest.StartNATS(t), "sealed", embedded.Sealed())
}

func open(t *testing.T, nc *nats.Conn, key sealed.Key) (*sealed.Store, error) {
	t.Helper()
	b, err := journal.OpenBucket(t.Context(), nc, sealed.Bucket, 1)
	if err != nil {
		t.Fatal(err)
	}
	return sealed.Open(t.Context(), b, key)
}

// Two brokers share values; who has another key gets none.
func TestShared(t *testing.T) {
	ctx, nc, key := t.Context(), connect(t), sealed.NewKey()
	one, err := open(t, nc, key)
	if err != nil {
		t.Fatal(err)
	}
	two, err := open(t, nc, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, nc, sealed.NewKey()); err == nil || !strings.Contains(err.Error(), "same seal key") {
		t.Errorf("another key: %v", err)
	}
	const name, secret = "password/alice@example.com x.*>", "a hash that nobody sees"
	if _, _, err := two.Get(ctx, name); !errors.Is(err, sealed.ErrNotFound) {
		t.Errorf("before it is there: %v", err)
	}
	if err := one.Put(ctx, name, []byte(secret)); err != nil {
		t.Fatal(err)
	}
	got, rev, err := two.Get(ctx, name)
	if err != nil || string(got) != secret {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := one.Update(ctx, name, []byte("new"), rev); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Update(ctx, name, []byte("late"), rev); !errors.Is(err, sealed.ErrConflict) {
		t.Errorf("from an old revision: %v", err)
	}
	if _, err := two.Update(ctx, name, []byte("late"), 0); !errors.Is(err, sealed.ErrConflict) {
		t.Errorf("made a second time: %v", err)
	}
	if names, err := two.List(ctx, "password/"); err != nil || !slices.Equal(names, []string{name}) {
		t.Errorf("listed %q, %v", names, err)
	}
	if err := two.Delete(ctx, name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := one.Get(ctx, name); !errors.Is(err, sealed.ErrNotFound) {
		t.Errorf("after it was deleted: %v", err)
	}
	if _, err := one.Update(ctx, name, []byte("again"), 0); err != nil {
		t.Errorf("made again: %v", err)
	}
}

// What lies in the stream tells nothing, and a value is good under its own
// name only.
func TestSealed(t *testing.T) {
	ctx, nc := t.Context(), connect(t)
	s, err := open(t, nc, sealed.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"password/alice": "the secret of alice", "password/bob": "the secret of bob"} {
		if err := s.Put(ctx, name, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, sealed.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := journal.OpenBucket(ctx, nc, sealed.Bucket, 1)
	if err != nil {
		t.Fatal(err)
	}
	box, _, err := raw.Get(ctx, "password/alice")
	if err != nil || bytes.Contains(box, []byte("secret")) {
		t.Errorf("in the stream: %q, %v", box, err)
	}
	if err := raw.Put(ctx, "password/bob", box); err != nil {
		t.Fatal(err)
	}
	if v, _, err := s.Get(ctx, "password/bob"); err == nil {
		t.Errorf("alice's value in bob's place is %q", v)
	}
	box[len(box)-1] ^= 1
	for _, bad := range [][]byte{box, nil, box[:10]} {
		if err := raw.Put(ctx, "password/alice", bad); err != nil {
			t.Fatal(err)
		}
		if v, _, err := s.Get(ctx, "password/alice"); err == nil {
			t.Errorf("damaged: %q", v)
		}
	}
	if status, err := kv.Status(ctx); err != nil || status.History() != 1 {
		t.Errorf("history %v, %v: overwritten secrets must go", status, err)
	}
}

// Of many that create one value at once, one succeeds.
func TestOneWins(t *testing.T) {
	nc, key := connect(t), sealed.NewKey()
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		s, err := open(t, nc, key)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			switch _, err := s.Update(t.Context(), "ca", []byte("mine"), 0); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, sealed.ErrConflict):
				lost.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
}

func TestWatch(t *testing.T) {
	nc := connect(t)
	s, err := open(t, nc, sealed.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan struct{}, 8)
	go func() { _ = s.Watch(t.Context(), "ca", func() { seen <- struct{}{} }) }()
	for range 3 {
		if err := s.Put(t.Context(), "ca", nil); err != nil {
			t.Fatal(err)
		}
		<-seen
	}
}

// A broker that was not given the others' key makes none, which would be of no use.
func TestKeyForBucket(t *testing.T) {
	nc, dir := connect(t), t.TempDir()
	bucket, err := journal.OpenBucket(t.Context(), nc, sealed.Bucket, 1)
	if err != nil {
		t.Fatal(err)
	}
	first, second := filepath.Join(dir, "first", "seal.key"), filepath.Join(dir, "second", "seal.key")
	key, err := sealed.KeepKeyFor(t.Context(), bucket, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, nc, key); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.KeepKeyFor(t.Context(), bucket, second); err == nil || !strings.Contains(err.Error(), "same seal key") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made: %v", err)
	}
	if again, err := sealed.KeepKeyFor(t.Context(), bucket, first); err != nil || !bytes.Equal(again, key) {
		t.Errorf("the first broker again: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "seal.key")
	keys := make([]sealed.Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() { keys[i], _ = sealed.KeepKey(path) })
	}
	wg.Wait()
	again, err := sealed.ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if !bytes.Equal(k, again) {
			t.Errorf("of several at once one got %x, the file holds %x", k, again)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.KeepKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: %v", err)
	}
	for _, bad := range []string{"", "short", strings.Repeat("A", 43), "!" + strings.Repeat("A", 43)} {
		if _, err := sealed.ParseKey(bad); err == nil {
			t.Errorf("%q is taken for a key", bad)
		}
	}
}

// Who asks first makes the value, and all get that one.
func TestKeep(t *testing.T) {
	ctx, nc, key := t.Context(), connect(t), sealed.NewKey()
	if s, err := open(t, nc, key); err != nil {
		t.Fatal(err)
	} else if _, err := s.Keep(ctx, "x", func() ([]byte, error) { return nil, errors.New("no luck") }); err == nil || err.Error() != "no luck" {
		t.Errorf("one that can't be made: %v", err)
	}
	got := make([]string, 8)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			s, err := open(t, nc, key)
			if err != nil {
				t.Error(err)
				return
			}
			value, err := s.Keep(ctx, "x", func() ([]byte, error) { return fmt.Append(nil, i), nil })
			if err != nil {
				t.Error(err)
			}
			got[i] = string(value)
		})
	}
	all.Wait()
	if slices.Sort(got); got[0] == "" || len(slices.Compact(got)) != 1 {
		t.Errorf("got %q", got)
	}
}
