package simaws

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

// objectStore keeps buckets on disk and their index in memory. Layout of a
// bucket's directory:
//
//	bucket.json     what CreateBucket and the sub-resources set
//	o/<sha256>.json an object's metadata, by hash of its key: keys never
//	                become paths, so "../x", "a//b" and "a/" are keys like others
//	u/<id>.json     a multipart upload under way
//	d/<random>      object data; an object is one or more of these in order
type objectStore struct {
	dir   string
	clock func() time.Time

	mu      sync.RWMutex
	buckets map[string]*bucket
}

// bucket guards its fields by mu; objects are immutable once stored.
type bucket struct {
	dir  string
	mu   sync.RWMutex
	meta bucketMeta

	keys    []string // sorted by bytes, as S3 lists
	objects map[string]*object
	uploads map[string]*upload
}

type bucketMeta struct {
	Name, Account, Region string
	Created               time.Time
	DataEvents            bool
	NotifyQueue           string            `json:",omitempty"`
	NotifyForm            string            `json:",omitempty"`
	Sub                   map[string]string // sub-resource → stored body; "-" when deleted although there is a default
}

type segment struct {
	File string
	Size int64
}

type object struct {
	Key      string
	Segments []segment
	Size     int64
	ETag     string // quoted
	Modified time.Time
	Headers  map[string]string // Content-Type, x-amz-meta-… as given
	Alg      string            // additional checksum
	Sum      string
	SumType  string // FULL_OBJECT or COMPOSITE
	Tags     map[string]string

	// Readers at work and whether the object was replaced: the last one out
	// removes the data. Guarded by the bucket's mu.
	readers int
	gone    bool
}

type upload struct {
	ID, Key string
	Started time.Time
	Headers map[string]string
	Tags    map[string]string
	Alg     string
	SumType string
	Parts   map[int]*part
}

type part struct {
	segment
	MD5, Sum string // hex, base64
	Modified time.Time
	// Segments of a part that was copied.
	Segments []segment
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func openObjectStore(dir string, clock func() time.Time) (*objectStore, error) {
	st := &objectStore{dir: dir, clock: clock, buckets: map[string]*bucket{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b := &bucket{dir: filepath.Join(dir, e.Name()), objects: map[string]*object{}, uploads: map[string]*upload{}}
		if err := b.load(); errors.Is(err, fs.ErrNotExist) {
			os.RemoveAll(b.dir) // created halfway
			continue
		} else if err != nil {
			return nil, fmt.Errorf("bucket %s: %w", e.Name(), err)
		}
		st.buckets[b.meta.Name] = b
	}
	return st, nil
}

func readJSON(file string, into any) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func writeJSON(file string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(file, raw, 0o600)
}

func (b *bucket) load() error {
	if err := readJSON(filepath.Join(b.dir, "bucket.json"), &b.meta); err != nil {
		return err
	}
	used := map[string]bool{}
	use := func(segs []segment) {
		for _, s := range segs {
			used[s.File] = true
		}
	}
	objects, err := filepath.Glob(filepath.Join(b.dir, "o", "*.json"))
	if err != nil {
		return err
	}
	for _, f := range objects {
		o := &object{}
		if err := readJSON(f, o); err != nil {
			return err
		}
		b.objects[o.Key] = o
		use(o.Segments)
	}
	b.keys = slices.Sorted(maps.Keys(b.objects))
	uploads, err := filepath.Glob(filepath.Join(b.dir, "u", "*.json"))
	if err != nil {
		return err
	}
	for _, f := range uploads {
		u := &upload{}
		if err := readJSON(f, u); err != nil {
			return err
		}
		b.uploads[u.ID] = u
		for _, p := range u.Parts {
			use(p.Segments)
		}
	}
	// What a killed process had begun to write belongs to nobody.
	data, err := os.ReadDir(filepath.Join(b.dir, "d"))
	if err != nil {
		return err
	}
	for _, d := range data {
		if !used[d.Name()] {
			os.Remove(filepath.Join(b.dir, "d", d.Name()))
		}
	}
	return nil
}

func (st *objectStore) bucket(name string) *bucket {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.buckets[name]
}

func (st *objectStore) owned(account string) []*bucket {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var out []*bucket
	for _, n := range slices.Sorted(maps.Keys(st.buckets)) {
		if b := st.buckets[n]; b.meta.Account == account {
			out = append(out, b)
		}
	}
	return out
}

var errBucketExists = errors.New("bucket exists")

func (st *objectStore) create(meta bucketMeta) (*bucket, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if b := st.buckets[meta.Name]; b != nil {
		return b, errBucketExists
	}
	b := &bucket{dir: filepath.Join(st.dir, meta.Name), meta: meta, objects: map[string]*object{}, uploads: map[string]*upload{}}
	for _, d := range []string{"o", "u", "d"} {
		if err := os.MkdirAll(filepath.Join(b.dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	if err := b.saveMeta(); err != nil {
		return nil, err
	}
	st.buckets[meta.Name] = b
	return b, nil
}

// remove deletes an empty bucket; false when it is not empty.
func (st *objectStore) remove(b *bucket) (bool, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.keys) > 0 {
		return false, nil
	}
	delete(st.buckets, b.meta.Name)
	return true, os.RemoveAll(b.dir)
}

func (b *bucket) saveMeta() error { return writeJSON(filepath.Join(b.dir, "bucket.json"), b.meta) }

func (b *bucket) objectFile(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(b.dir, "o", hex.EncodeToString(sum[:])+".json")
}

func (b *bucket) dataFile(name string) string { return filepath.Join(b.dir, "d", name) }

func (b *bucket) uploadFile(id string) string { return filepath.Join(b.dir, "u", id+".json") }

// put stores an object, replacing what was there. check sees the old one (or
// nil) and can refuse.
func (b *bucket) put(o *object, check func(old *object) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.objects[o.Key]
	if check != nil {
		if err := check(old); err != nil {
			return err
		}
	}
	if err := writeJSON(b.objectFile(o.Key), o); err != nil {
		return err
	}
	b.objects[o.Key] = o
	if i, found := slices.BinarySearch(b.keys, o.Key); !found {
		b.keys = slices.Insert(b.keys, i, o.Key)
	}
	b.retire(old)
	return nil
}

// delete removes an object; deleting what does not exist succeeds.
func (b *bucket) delete(key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.objects[key]
	if old == nil {
		return nil
	}
	if err := removeFile(b.objectFile(key)); err != nil {
		return err
	}
	delete(b.objects, key)
	if i, found := slices.BinarySearch(b.keys, key); found {
		b.keys = slices.Delete(b.keys, i, i+1)
	}
	b.retire(old)
	return nil
}

// retire removes an object's data once nobody reads it; mu is held.
func (b *bucket) retire(o *object) {
	if o == nil {
		return
	}
	if o.gone = true; o.readers == 0 {
		b.dropData(o.Segments)
	}
}

func (b *bucket) dropData(segs []segment) {
	for _, s := range segs {
		os.Remove(b.dataFile(s.File))
	}
}

// acquire pins an object for reading; release lets go of it.
func (b *bucket) acquire(key string) *object {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.objects[key]
	if o != nil {
		o.readers++
	}
	return o
}

func (b *bucket) release(o *object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.readers--; o.gone && o.readers == 0 {
		b.dropData(o.Segments)
	}
}

// linkData gives data a second name, for copies.
func (b *bucket) linkData(from *bucket, segs []segment) ([]segment, error) {
	out := make([]segment, 0, len(segs))
	for _, s := range segs {
		name := randomFrom(alnum, 24)
		if err := os.Link(from.dataFile(s.File), b.dataFile(name)); err != nil {
			b.dropData(out)
			return nil, err
		}
		out = append(out, segment{name, s.Size})
	}
	return out, nil
}

// writeData stores a stream as one new data file.
func (b *bucket) writeData(src io.Reader) (segment, error) {
	name := randomFrom(alnum, 24)
	f, err := os.OpenFile(b.dataFile(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return segment{}, err
	}
	n, err := copyData(f, src)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return segment{}, err
	}
	return segment{name, n}, nil
}
