package tlog

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
)

const (
	// MaxBatch is how many leaves share their writes; full batches do not wait.
	MaxBatch = 8192
	// batchAge is how long a batch that is not full waits for company.
	batchAge = 100 * time.Millisecond
	// checkpointEvery bounds how often checkpoints are signed; one is at most
	// twice that behind.
	checkpointEvery = 500 * time.Millisecond
	// witnessTimeout is how long a checkpoint waits for its witnesses. They are
	// asked again with the next one: a witness that is down stops no log.
	witnessTimeout = time.Second
)

// Config says what a log is.
type Config struct {
	// Dir holds the tiles, as they are to be served.
	Dir    string
	Stream string
	Key    *Key
	// Witnesses sign checkpoints by https://c2sp.org/tlog-witness.
	Witnesses []Witness
}

// Witness is somebody who signs only what is consistent with what they signed
// before.
type Witness struct {
	URL string
	// Key is the witness's verifier key.
	Key string
}

// Log is the log of one stream. It has one writer.
type Log struct {
	dir    string
	stream string
	tiles  Tiles
	add    tessera.AddFn
	size   uint64
}

// ErrOrder says that the log holds leaves elsewhere than at their place, which
// nothing can mend.
var ErrOrder = errors.New("leaves are not at their places in the log")

// Open opens a log, which is made if there is none. It signs checkpoints until
// ctx ends.
func Open(ctx context.Context, c Config) (*Log, error) {
	signer, err := c.Key.signer(c.Key.name + "/" + c.Stream)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Stream, err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Stream, err)
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(checkpointEvery).
		WithCheckpointRepublishInterval(0).
		WithBatching(MaxBatch, batchAge)
	if len(c.Witnesses) > 0 {
		group, err := witnesses(c.Witnesses)
		if err != nil {
			return nil, fmt.Errorf("log of %s: %w", c.Stream, err)
		}
		opts.WithWitnesses(group, &tessera.WitnessOptions{Timeout: witnessTimeout, FailOpen: true})
	}
	driver, err := openDir(ctx, c.Dir)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Stream, err)
	}
	appender, reader, err := newAppender(ctx, driver, opts)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Stream, err)
	}
	size, err := reader.IntegratedSize(ctx)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Stream, err)
	}
	return &Log{dir: c.Dir, stream: c.Stream, tiles: Files(c.Dir), add: appender.Add, size: size}, nil
}

// newAppender is tessera's, which panics where it can't lock the directory.
func newAppender(ctx context.Context, d tessera.Driver, opts *tessera.AppendOptions) (a *tessera.Appender, r tessera.LogReader, err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("lock it: %v", why)
		}
	}()
	a, _, r, err = tessera.NewAppender(ctx, d, opts)
	return a, r, err
}

// lockable says why tessera can't lock the directory: one that was moved away, say, or is on
// a disk that takes no writes any more. While it adds leaves it would panic on a goroutine of
// its own, and end all that runs in this process.
func (l *Log) lockable() error {
	f, err := os.OpenFile(filepath.Join(l.dir, ".state", "treeState.lock"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// Size is the number of leaves: the sequence that was logged last.
func (l *Log) Size() uint64 { return l.size }

// Append adds leaves, whose sequences go on from Size, and returns when they
// are on disk; a checkpoint follows. After an error the log is to be opened
// again, to learn which leaves it has.
func (l *Log) Append(ctx context.Context, leaves []Leaf) error {
	for len(leaves) > 0 {
		n := min(len(leaves), MaxBatch)
		if err := l.append(ctx, leaves[:n]); err != nil {
			return fmt.Errorf("log of %s: %w", l.stream, err)
		}
		leaves = leaves[n:]
	}
	return nil
}

// append waits for what it adds before more is added: tessera promises order
// to those who do.
func (l *Log) append(ctx context.Context, leaves []Leaf) error {
	if err := l.lockable(); err != nil {
		return err
	}
	futures := make([]tessera.IndexFuture, len(leaves))
	for i, leaf := range leaves {
		if leaf.Seq != l.size+1+uint64(i) || leaf.Stream != l.stream {
			return fmt.Errorf("leaf %q in place of sequence %d", leaf.Entry(), l.size+1+uint64(i))
		}
		futures[i] = l.add(ctx, tessera.NewEntry(leaf.Entry()))
	}
	for i, future := range futures {
		at, err := future()
		if err != nil {
			return err
		}
		if at.Index != leaves[i].Seq-1 {
			return fmt.Errorf("%w: sequence %d is leaf %d", ErrOrder, leaves[i].Seq, at.Index)
		}
	}
	l.size += uint64(len(leaves))
	return nil
}

// Leaf reads a leaf that the log has.
func (l *Log) Leaf(ctx context.Context, seq uint64) (Leaf, error) {
	return readLeaf(ctx, l.tiles, l.stream, seq, l.size)
}

// witnesses makes tessera's policy: all of them.
func witnesses(ws []Witness) (tessera.WitnessGroup, error) {
	group := tessera.NewWitnessGroup(0)
	for _, w := range ws {
		one, err := w.open()
		if err != nil {
			return group, fmt.Errorf("witness %s: %w", w.URL, err)
		}
		group.Components = append(group.Components, one)
	}
	group.N = len(group.Components)
	return group, nil
}

// Check says what is wrong with a witness's address or key.
func (w Witness) Check() error {
	_, err := w.open()
	return err
}

func (w Witness) open() (tessera.Witness, error) {
	u, err := url.Parse(w.URL)
	if err == nil && (u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		err = fmt.Errorf("%q is no URL of a witness, https://HOST/", w.URL)
	}
	if err != nil {
		return tessera.Witness{}, err
	}
	return tessera.NewWitness(w.Key, u)
}
