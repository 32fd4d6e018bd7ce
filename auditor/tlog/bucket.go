package tlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/sync/errgroup"
)

// Bucket keeps logs in S3, below STREAM/, as https://c2sp.org/tlog-tiles lays them
// out. Tiles are written once and never again (If-None-Match), then the checkpoint
// that covers them, in place of the one that was read (If-Match): whatever is cut
// off in between, the checkpoint there has all of its tiles, and of two writers one
// is refused. It is safe for concurrent use for different streams.
type Bucket struct {
	// Client reaches the bucket, in its region.
	Client *s3.Client
	// Name of the bucket; Prefix is empty or ends in a slash.
	Name, Prefix string

	mu   sync.Mutex
	have map[string]kept // by stream
}

// kept is the checkpoint of a log in the bucket.
type kept struct {
	size uint64
	etag string // "" where there is none
}

// bucketWrites is how many objects are written side by side.
const bucketWrites = 16

// ErrBucketTaken says that somebody else writes the log in the bucket.
var ErrBucketTaken = errors.New("somebody else writes this log in the bucket: give each auditor a prefix of its own")

// Store writes what a checkpoint covers, out of the tiles of the log, then the
// checkpoint. One that is older than the bucket's changes nothing. The error wraps
// ErrFork if the bucket has another log, which nothing can mend.
func (b *Bucket) Store(ctx context.Context, key PublicKey, t Tiles, c Checkpoint) error {
	b.mu.Lock()
	have, known := b.have[c.Stream]
	b.mu.Unlock()
	if !known {
		var err error
		if have, err = b.look(ctx, key, t, c); err != nil {
			return b.problem(c.Stream, err)
		}
	}
	if have.size < c.Size {
		if err := b.tiles(ctx, t, have.size, c); err != nil {
			return b.problem(c.Stream, err)
		}
		etag, err := b.put(ctx, c.Stream+"/"+layout.CheckpointPath, c.Note, have.etag)
		if precondition(err) {
			err = ErrBucketTaken
		}
		if err != nil {
			b.forget(c.Stream) // a put whose answer was lost is there
			return b.problem(c.Stream, err)
		}
		have = kept{c.Size, etag}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.have == nil {
		b.have = map[string]kept{}
	}
	b.have[c.Stream] = have
	return nil
}

func (b *Bucket) forget(stream string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.have, stream)
}

func (b *Bucket) problem(stream string, err error) error {
	return fmt.Errorf("log of %s in s3://%s/%s: %w", stream, b.Name, b.Prefix, err)
}

// look reads the bucket's checkpoint, which the log must lead to.
func (b *Bucket) look(ctx context.Context, key PublicKey, t Tiles, c Checkpoint) (kept, error) {
	note, etag, err := b.get(ctx, c.Stream+"/"+layout.CheckpointPath)
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, nil
	}
	if err != nil {
		return kept{}, err
	}
	older, err := key.OpenCheckpoint(c.Stream, note)
	if err != nil {
		return kept{}, errors.Join(ErrFork, err)
	}
	if older.Size > c.Size { // the log on disk is made anew, and is not so far yet
		return kept{}, fmt.Errorf("the bucket's checkpoint is of %d leaves, the log has %d so far", older.Size, c.Size)
	}
	if older.Size > 0 {
		if err := c.Extends(ctx, t, older); err != nil {
			return kept{}, errors.Join(ErrFork, err)
		}
	}
	return kept{older.Size, etag}, nil
}

// tiles writes the tiles and bundles that are new or grown since a size.
func (b *Bucket) tiles(ctx context.Context, t Tiles, from uint64, c Checkpoint) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(bucketWrites)
	for level, of := uint64(0), c.Size; of > 0; level, of = level+1, of/layout.TileWidth {
		for index := (from >> (layout.TileHeight * level)) / layout.TileWidth; index*layout.TileWidth < of; index++ {
			p := layout.PartialTileSize(level, index, c.Size)
			g.Go(func() error {
				return b.once(ctx, c.Stream, p, func(p uint8) string { return layout.TilePath(level, index, p) },
					func(p uint8) ([]byte, error) { return t.ReadTile(ctx, level, index, p) })
			})
			if level == 0 {
				g.Go(func() error {
					return b.once(ctx, c.Stream, p, func(p uint8) string { return layout.EntriesPath(index, p) },
						func(p uint8) ([]byte, error) { return t.ReadEntryBundle(ctx, index, p) })
				})
			}
		}
	}
	return g.Wait()
}

// once writes a tile that is not there yet. Of a partial one that the log has no
// more, the whole one is written, which stands for it.
func (b *Bucket) once(ctx context.Context, stream string, p uint8, name func(uint8) string, read func(uint8) ([]byte, error)) error {
	content, err := read(p)
	if errors.Is(err, os.ErrNotExist) && p > 0 {
		p = 0
		content, err = read(0)
	}
	if err != nil {
		return err
	}
	object := stream + "/" + name(p)
	_, err = b.put(ctx, object, content, "")
	if !precondition(err) {
		return err
	}
	there, _, err := b.get(ctx, object)
	if err == nil && !bytes.Equal(there, content) {
		err = fmt.Errorf("%w: %s is another one there", ErrFork, name(p))
	}
	return err
}

// put writes an object in place of the one with an ETag, "" for one that must not
// be there, and returns the new one's.
func (b *Bucket) put(ctx context.Context, name string, content []byte, etag string) (string, error) {
	in := &s3.PutObjectInput{Bucket: &b.Name, Key: aws.String(b.Prefix + name), Body: bytes.NewReader(content), ContentType: aws.String("application/octet-stream")}
	if strings.HasSuffix(name, layout.CheckpointPath) {
		in.ContentType, in.CacheControl = aws.String("text/plain; charset=utf-8"), aws.String("no-cache")
	}
	if etag == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &etag
	}
	out, err := b.Client.PutObject(ctx, in)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return aws.ToString(out.ETag), nil
}

// maxObject bounds what is read: a bundle of 256 leaves is some 30 kB.
const maxObject = 1 << 20

func (b *Bucket) get(ctx context.Context, name string) (content []byte, etag string, err error) {
	out, err := b.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Name, Key: aws.String(b.Prefix + name)})
	if _, gone := errors.AsType[*types.NoSuchKey](err); gone {
		return nil, "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", name, err)
	}
	defer out.Body.Close()
	content, err = io.ReadAll(io.LimitReader(out.Body, maxObject))
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", name, err)
	}
	return content, aws.ToString(out.ETag), nil
}

// precondition tells that an object is, or is not, the one that was asked for; S3
// answers 409 where two writers meet.
func precondition(err error) bool {
	e, ok := errors.AsType[*awshttp.ResponseError](err)
	return ok && (e.HTTPStatusCode() == http.StatusPreconditionFailed || e.HTTPStatusCode() == http.StatusConflict)
}

// Tiles reads a stream's log from the bucket.
func (b *Bucket) Tiles(stream string) Tiles { return bucketTiles{b, stream} }

type bucketTiles struct {
	b      *Bucket
	stream string
}

func (t bucketTiles) read(ctx context.Context, name string) ([]byte, error) {
	content, _, err := t.b.get(ctx, t.stream+"/"+name)
	return content, err
}

func (t bucketTiles) ReadCheckpoint(ctx context.Context) ([]byte, error) {
	return t.read(ctx, layout.CheckpointPath)
}

func (t bucketTiles) ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	return t.whole(ctx, p, func(p uint8) string { return layout.TilePath(level, index, p) })
}

func (t bucketTiles) ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error) {
	return t.whole(ctx, p, func(p uint8) string { return layout.EntriesPath(index, p) })
}

// whole reads a partial tile, or the whole one in its place.
func (t bucketTiles) whole(ctx context.Context, p uint8, name func(uint8) string) ([]byte, error) {
	b, err := t.read(ctx, name(p))
	if errors.Is(err, fs.ErrNotExist) && p > 0 {
		return t.read(ctx, name(0))
	}
	return b, err
}
