package tlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

// Tiles reads a log as https://c2sp.org/tlog-tiles lays it out. Of a partial
// tile or bundle that is gone the whole one may come.
type Tiles interface {
	ReadCheckpoint(ctx context.Context) ([]byte, error)
	ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error)
	ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error)
}

// Files reads the tiles in a directory.
func Files(dir string) Tiles { return client.FileFetcher{Root: filepath.Clean(dir)} }

// HTTP reads the tiles below a URL.
func HTTP(base string, c *http.Client) (Tiles, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	return client.NewHTTPFetcher(u, c)
}

// Checkpoint is what a log says of itself, signed.
type Checkpoint struct {
	Stream string
	// Size is the number of leaves: the last sequence that it covers.
	Size uint64
	Root Hash
	// Note is the whole of it, signatures included.
	Note []byte
}

// OpenCheckpoint verifies a signed checkpoint of a stream's log.
func (p PublicKey) OpenCheckpoint(stream string, signed []byte) (Checkpoint, error) {
	v, err := p.Verifier(stream)
	if err != nil {
		return Checkpoint{}, err
	}
	c, _, _, err := log.ParseCheckpoint(signed, v.Name(), v)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint of %s: %w", v.Name(), err)
	}
	cp := Checkpoint{Stream: stream, Size: c.Size, Note: signed}
	if copy(cp.Root[:], c.Hash) != len(cp.Root) || len(c.Hash) != len(cp.Root) {
		return Checkpoint{}, fmt.Errorf("checkpoint of %s: root hash of %d bytes", v.Name(), len(c.Hash))
	}
	return cp, nil
}

// Claims tells whether a note says to be signed by the key under NAME/what. One of another
// key, as of another auditor whose logs have the same name, does not; nor does what is no
// note.
func (p PublicKey) Claims(what string, signed []byte) bool {
	v, err := p.Verifier(what)
	if err != nil {
		return false
	}
	_, err = note.Open(signed, note.VerifierList(v))
	_, wrong := errors.AsType[*note.InvalidSignatureError](err)
	return err == nil || wrong
}

// Cosigned verifies that a witness has signed a checkpoint too
// (https://c2sp.org/tlog-cosignature). key is the witness's verifier key.
func (c Checkpoint) Cosigned(key string) error {
	v, err := witness(key)
	if err != nil {
		return err
	}
	if _, err := note.Open(c.Note, note.VerifierList(v)); err != nil {
		return fmt.Errorf("the checkpoint of %s at size %d is not signed by the witness %s", c.Stream, c.Size, v.Name())
	}
	return nil
}

// CheckWitnessKey says what is wrong with a witness's key.
func CheckWitnessKey(key string) error {
	_, err := witness(key)
	return err
}

func witness(key string) (note.Verifier, error) {
	v, err := fnote.NewVerifierForCosignatureV1(key)
	if err != nil {
		return nil, fmt.Errorf("witness key %.100q: %w", key, err)
	}
	return v, nil
}

// Latest reads and verifies a log's newest checkpoint.
func (p PublicKey) Latest(ctx context.Context, stream string, t Tiles) (Checkpoint, error) {
	b, err := t.ReadCheckpoint(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint of the log of %s: %w", stream, err)
	}
	return p.OpenCheckpoint(stream, b)
}

// readLeaf reads the leaf of a sequence from a log of a size.
func readLeaf(ctx context.Context, t Tiles, stream string, seq, size uint64) (Leaf, error) {
	b, err := client.GetEntryBundle(ctx, t.ReadEntryBundle, (seq-1)/layout.EntryBundleWidth, size)
	if err != nil {
		return Leaf{}, fmt.Errorf("log of %s: leaf of sequence %d: %w", stream, seq, err)
	}
	at := (seq - 1) % layout.EntryBundleWidth
	if at >= uint64(len(b.Entries)) {
		return Leaf{}, fmt.Errorf("log of %s: the leaf of sequence %d is not in its bundle", stream, seq)
	}
	return leafAt(b.Entries[at], stream, seq)
}

// leafAt reads an entry, which must be that of a sequence.
func leafAt(entry []byte, stream string, seq uint64) (Leaf, error) {
	l, err := ParseLeaf(entry)
	if err == nil && (l.Stream != stream || l.Seq != seq) {
		err = fmt.Errorf("log entry %q is at the place of %s %d", entry, stream, seq)
	}
	if err != nil {
		l = Leaf{Stream: stream, Seq: seq}
	}
	return l, err
}

// Included verifies that a checkpoint covers a leaf, at its place.
func (c Checkpoint) Included(l Leaf, path [][]byte) error {
	if l.Stream != c.Stream || l.Seq == 0 {
		return fmt.Errorf("a leaf of %s in the log of %s", l.Stream, c.Stream)
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, l.Seq-1, c.Size, rfc6962.DefaultHasher.HashLeaf(l.Entry()), path, c.Root[:])
}

// Extends verifies that the log of checkpoint c began as an older one says.
func (c Checkpoint) Extends(ctx context.Context, t Tiles, older Checkpoint) error {
	if older.Size > c.Size {
		return fmt.Errorf("the log has %d leaves; it had %d", c.Size, older.Size)
	}
	b, err := client.NewProofBuilder(ctx, c.Size, t.ReadTile)
	if err != nil {
		return err
	}
	path, err := b.ConsistencyProof(ctx, older.Size, c.Size)
	if err != nil {
		return err
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, c.Size, path, older.Root[:], c.Root[:])
}

// ErrFork says that a log had other leaves once.
var ErrFork = errors.New("the log was another one: it does not lead to this checkpoint")

// Walk yields the leaves after a sequence up to a checkpoint and verifies all on
// its way: every leaf's place, every tile, and that the leaves add up to the
// checkpoint, and to each of the earlier ones whose size it passes. What is
// wrong comes as an error with the leaf's sequence, and the walk goes on; only
// an entry bundle that can't be read ends it.
func Walk(ctx context.Context, t Tiles, after uint64, to Checkpoint, earlier []Checkpoint) iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		fail := func(seq uint64, err error) bool { return yield(Leaf{Stream: to.Stream, Seq: seq}, err) }
		tree, err := treeOf(ctx, t, after, to.Size)
		if err != nil {
			fail(after+1, err)
			return
		}
		due := map[uint64][]Checkpoint{to.Size: {to}}
		for _, c := range earlier {
			if c.Size >= after && c.Size <= to.Size {
				due[c.Size] = append(due[c.Size], c)
			}
		}
		roots := func() bool {
			for _, c := range due[tree.End()] {
				root, err := tree.GetRootHash(nil)
				if err == nil && tree.End() == 0 {
					root = rfc6962.DefaultHasher.EmptyRoot()
				}
				if err == nil && Hash(root) != c.Root {
					err = fmt.Errorf("log of %s at size %d: %w", c.Stream, c.Size, ErrFork)
				}
				if err != nil && !fail(tree.End(), err) {
					return false
				}
			}
			return true
		}
		if !roots() {
			return
		}
		check := tileCheck{tiles: t, size: to.Size}
		visit := func(id compact.NodeID, hash []byte) { check.add(ctx, id, hash) } // each node that is whole, leaves too
		size := func(context.Context) (uint64, error) { return to.Size, nil }
		for b, err := range client.EntryBundles(ctx, 4, size, t.ReadEntryBundle, after, to.Size-after) {
			if err != nil {
				fail(tree.End()+1, fmt.Errorf("log of %s: %w", to.Stream, err))
				return
			}
			var bundle api.EntryBundle
			if err := bundle.UnmarshalText(b.Data); err != nil || uint(len(bundle.Entries)) < b.RangeInfo.First+b.RangeInfo.N {
				fail(tree.End()+1, fmt.Errorf("log of %s: %s is no bundle of %d entries", to.Stream, layout.EntriesPath(b.RangeInfo.Index, b.RangeInfo.Partial), b.RangeInfo.First+b.RangeInfo.N))
				return
			}
			for _, entry := range bundle.Entries[b.RangeInfo.First:][:b.RangeInfo.N] {
				seq := tree.End() + 1
				hash := rfc6962.DefaultHasher.HashLeaf(entry)
				if err := tree.Append(hash, visit); err != nil {
					fail(seq, err)
					return
				}
				if !yield(leafAt(entry, to.Stream, seq)) {
					return
				}
				if !roots() {
					return
				}
			}
			for _, err := range check.take() {
				if !fail(tree.End(), err) {
					return
				}
			}
		}
		check.finish(ctx)
		for _, err := range check.take() {
			if !fail(tree.End(), err) {
				return
			}
		}
	}
}

// treeOf is the tree over the first leaves of a log that has grown to whole: of
// partial tiles, those of earlier sizes may be gone.
func treeOf(ctx context.Context, t Tiles, size, whole uint64) (*compact.Range, error) {
	f := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	if size == 0 {
		return f.NewEmptyRange(0), nil
	}
	nodes, err := client.FetchRangeNodes(ctx, size, func(ctx context.Context, level, index uint64, _ uint8) ([]byte, error) {
		return t.ReadTile(ctx, level, index, layout.PartialTileSize(level, index, whole))
	})
	if err != nil {
		return nil, fmt.Errorf("the log's tree at size %d: %w", size, err)
	}
	return f.NewRange(0, size, nodes)
}

// TileError says what is wrong with a tile.
type TileError struct {
	Path string
	Err  error
}

func (e *TileError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *TileError) Unwrap() error { return e.Err }

// tileCheck compares the log's tiles with the hashes that the leaves make.
type tileCheck struct {
	tiles  Tiles
	size   uint64
	levels [64 / layout.TileHeight]struct {
		index  uint64 // of the tile
		offset int    // in bytes, where hashes begins in it
		hashes []byte
	}
	wrong []error
}

func (c *tileCheck) add(ctx context.Context, id compact.NodeID, hash []byte) {
	if id.Level%layout.TileHeight != 0 || int(id.Level/layout.TileHeight) >= len(c.levels) {
		return
	}
	l := &c.levels[id.Level/layout.TileHeight]
	if len(l.hashes) == 0 {
		l.index, l.offset = id.Index/layout.TileWidth, int(id.Index%layout.TileWidth)*sha256.Size
	}
	l.hashes = append(l.hashes, hash...)
	if id.Index%layout.TileWidth == layout.TileWidth-1 {
		c.compare(ctx, uint64(id.Level/layout.TileHeight))
	}
}

func (c *tileCheck) compare(ctx context.Context, level uint64) {
	l := &c.levels[level]
	p := layout.PartialTileSize(level, l.index, c.size)
	b, err := c.tiles.ReadTile(ctx, level, l.index, p)
	if end := l.offset + len(l.hashes); err == nil && (len(b) < end || string(b[l.offset:end]) != string(l.hashes)) {
		err = errors.New("does not hold the hashes of the leaves below it")
	}
	if err != nil {
		c.wrong = append(c.wrong, &TileError{layout.TilePath(level, l.index, p), err})
	}
	l.hashes = l.hashes[:0]
}

func (c *tileCheck) finish(ctx context.Context) {
	for level := range c.levels {
		if len(c.levels[level].hashes) > 0 {
			c.compare(ctx, uint64(level))
		}
	}
}

func (c *tileCheck) take() []error {
	w := c.wrong
	c.wrong = nil
	return w
}
