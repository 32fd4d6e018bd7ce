package auditor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/trouble"
)

// NotaryConfig says how the transparency logs in the data directory are kept.
type NotaryConfig struct {
	// Name of the logs, such as "example.com/postern"; empty derives one from
	// their key. It can't change.
	Name string
	// PublishEvery is how often checkpoints become an event and go to the
	// keepers; 0 means 10 s.
	PublishEvery time.Duration
	// Witnesses sign checkpoints by https://c2sp.org/tlog-witness.
	Witnesses []tlog.Witness
	// Dirs are directories on somebody else's disk, and Repos Git repositories,
	// that get a copy of every published checkpoint.
	Dirs, Repos []string
	// Bucket, "s3://BUCKET/PREFIX", gets the logs' tiles and checkpoints before these
	// are published, through BucketAWS.
	Bucket    string
	BucketAWS cloudtrail.AWSConfig
}

// notary writes every stream into its transparency log. It has consumers of its
// own, so that a slow log holds no row up.
type notary struct {
	a    *Auditor
	key  *tlog.Key
	dir  string
	logs map[string]*streamLog
	// fresh: something is in the logs that is worth publishing.
	fresh   atomic.Bool
	keepers []tlog.Keeper
	bucket  *logBucket // nil without one
	// unsaid is why nothing is published, as far as it was said; for publish alone.
	unsaid trouble.Said
}

// logBucket is where the logs are kept besides, as it is reached.
type logBucket struct {
	aws  *cloudtrail.AWS
	tlog *tlog.Bucket // its Client is nil until it was first reached
}

func newLogBucket(c NotaryConfig, log zerolog.Logger) (*logBucket, error) {
	rest, ok := strings.CutPrefix(c.Bucket, "s3://")
	name, prefix, _ := strings.Cut(rest, "/")
	if !ok || name == "" {
		return nil, fmt.Errorf("log bucket %q: want s3://BUCKET or s3://BUCKET/PREFIX", c.Bucket)
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	at := c.BucketAWS
	at.Log = log
	aws, err := cloudtrail.NewAWS(at)
	return &logBucket{aws: aws, tlog: &tlog.Bucket{Name: name, Prefix: prefix}}, err
}

// bucketTime is for what was logged between two publications, or, at first, for
// all there is: what is there is not written again.
const bucketTime = 2 * time.Minute

// reach makes the bucket ready, if there is one.
func (n *notary) reach(ctx context.Context) error {
	if n.bucket == nil || n.bucket.tlog.Client != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTime)
	defer cancel()
	client, err := n.bucket.aws.Bucket(ctx, n.bucket.tlog.Name)
	if err != nil {
		return fmt.Errorf("log bucket: %w", err)
	}
	n.bucket.tlog.Client = client
	return nil
}

// store puts what a checkpoint covers into the bucket.
func (n *notary) store(ctx context.Context, c tlog.Checkpoint) error {
	if n.bucket == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTime)
	defer cancel()
	err := n.bucket.tlog.Store(ctx, n.key.Public(), tlog.Files(n.tiles(c.Stream)), c)
	if errors.Is(err, tlog.ErrFork) {
		l := n.logs[c.Stream]
		l.mu.Lock()
		defer l.mu.Unlock()
		l.broken = fmt.Errorf("the bucket has another log: %w", err)
	}
	return err
}

// streamLog is what is known of the log of a stream.
type streamLog struct {
	size atomic.Uint64
	// worth is the last leaf that is worth publishing: those after it are events of
	// checkpoints alone.
	worth     atomic.Uint64
	published atomic.Pointer[tlog.Checkpoint]
	// publishedAt is when, in Unix nanoseconds, or at first when this notary was made.
	publishedAt atomic.Int64
	// unsaid is why it is not published, as far as it was said; for publish alone.
	unsaid trouble.Said

	mu     sync.Mutex
	broken error // why nothing is logged any more
}

func (l *streamLog) problem() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

func newNotary(a *Auditor) (*notary, error) {
	c := &a.c.Notary
	if c.PublishEvery == 0 {
		c.PublishEvery = 10 * time.Second
	}
	n := &notary{a: a, dir: filepath.Join(a.c.DataDir, "log"), logs: map[string]*streamLog{}}
	for _, stream := range events.Streams() {
		n.logs[stream] = &streamLog{}
		n.logs[stream].publishedAt.Store(time.Now().UnixNano())
	}
	for _, dir := range c.Dirs {
		n.keepers = append(n.keepers, tlog.KeepDir(dir))
	}
	for _, dir := range c.Repos {
		n.keepers = append(n.keepers, tlog.KeepGit(dir))
	}
	var err error
	if c.Bucket != "" {
		if n.bucket, err = newLogBucket(*c, a.c.Log); err != nil {
			return nil, err
		}
	}
	n.key, err = tlog.LoadKey(filepath.Join(n.dir, "key"), c.Name)
	return n, err
}

// errDisputed says that a stream is not the one that was logged. Trying again
// can't help, and going on would hide it.
var errDisputed = errors.New("the stream is not what was logged: run `postern audit verify`")

// keep logs one stream, from where its log ends.
func (n *notary) keep(ctx context.Context, stream string) error {
	l := n.logs[stream]
	var said trouble.Said
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := n.keepOnce(ctx, stream)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, journal.ErrWentBack) {
			return n.a.wentBack(stream, err)
		}
		log := n.a.c.Log.With().Str("stream", stream).Logger()
		if errors.Is(err, errDisputed) || errors.Is(err, tlog.ErrOrder) {
			l.mu.Lock()
			l.broken = err
			l.mu.Unlock()
			log.Error().Err(err).Msg("transparency log stopped")
			return nil
		}
		if last, err := n.a.c.Journal.Last(ctx, stream); err == nil && last > l.size.Load() {
			l.worth.Store(last) // for who watches how much is not published
		}
		if said.News(err) {
			log.Warn().Err(err).Str("dir", n.tiles(stream)).Msg("transparency log stopped; opening it again: if its files are damaged, move the directory away, and the log is made anew from the stream (docs/evidence.md)")
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// consumer is the name of the reader of a stream: of this log alone, for every
// auditor keeps its own.
func (n *notary) consumer(stream string) string {
	_, rest, _ := strings.Cut(string(n.key.Public()), "+")
	hash, _, _ := strings.Cut(rest, "+")
	return notaryNameStart + stream + "-" + hash
}

func (n *notary) keepOnce(ctx context.Context, stream string) error {
	// What was handed to the log is waited for, so the log ends after its reader.
	open, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	log, err := tlog.Open(open, tlog.Config{Dir: n.tiles(stream), Stream: stream, Key: n.key, Witnesses: n.a.c.Notary.Witnesses})
	if err != nil {
		return err
	}
	if err := n.recognize(ctx, log, stream); err != nil {
		return err
	}
	l := n.logs[stream]
	l.size.Store(log.Size())
	l.worth.Store(log.Size()) // what is there is published once more
	n.fresh.Store(true)
	ours := new(events.LogCheckpointed).Channel()
	var fatal error
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err = n.a.c.Journal.Batches(ctx, journal.BatchConfig{
		Stream: stream, Durable: n.consumer(stream), After: log.Size(), MaxEntries: tlog.MaxBatch, MaxWait: batchWait, Undecoded: true,
	}, func(ctx context.Context, entries []journal.Entry) error {
		leaves := make([]tlog.Leaf, len(entries))
		worth := uint64(0)
		for i := range entries {
			leaves[i] = leafOf(&entries[i])
			if entries[i].Channel != ours {
				worth = entries[i].Seq
			}
		}
		if leaves[0].Seq != log.Size()+1 {
			fatal = fmt.Errorf("%w: it goes on with sequence %d after %d", errDisputed, leaves[0].Seq, log.Size())
		} else if err := log.Append(ctx, leaves); err != nil {
			fatal = err
		}
		if fatal != nil { // open it again, to see what it has
			stop()
			return fatal
		}
		l.size.Store(log.Size())
		if worth > 0 {
			l.worth.Store(worth)
			n.fresh.Store(true)
		}
		return nil
	})
	if fatal != nil {
		return fatal
	}
	return err
}

const (
	notaryNameStart = "notary-"
	// recognizeLeaves is how many of the last leaves are compared with the stream
	// before more are added.
	recognizeLeaves = 1000
)

// recognize compares the end of the log with the stream.
func (n *notary) recognize(ctx context.Context, log *tlog.Log, stream string) error {
	last, err := n.a.c.Journal.Last(ctx, stream)
	if err != nil {
		return err
	}
	if last < log.Size() {
		return fmt.Errorf("%w: it ends at sequence %d, and %d are logged", errDisputed, last, log.Size())
	}
	next := log.Size() - min(log.Size(), recognizeLeaves) + 1
	if next > log.Size() {
		return nil
	}
	for e, err := range n.a.c.Journal.Follow(ctx, stream, next-1) {
		if err != nil && e.Seq == 0 {
			return err
		}
		leaf, err := log.Leaf(ctx, next)
		if err != nil {
			return err
		}
		if leafOf(&e) != leaf {
			return fmt.Errorf("%w: sequence %d differs", errDisputed, next)
		}
		if next++; next > log.Size() {
			return nil
		}
	}
	return ctx.Err()
}

// leafOf is what the log says of an entry.
func leafOf(e *journal.Entry) tlog.Leaf {
	return tlog.Leaf{Stream: e.Stream, Seq: e.Seq, Hash: tlog.HashOf(e.Channel, e.StoredAt, e.Raw)}
}

// tiles is the directory of a stream's log.
func (n *notary) tiles(stream string) string { return filepath.Join(n.dir, stream) }

// files are a stream's log as it is served.
func (n *notary) files(stream string) fs.FS { return os.DirFS(n.tiles(stream)) }

// publish says on FINDINGS which key signs, and from time to time what it
// signed, and hands that to the keepers.
func (n *notary) publish(ctx context.Context) error {
	public := n.key.Public()
	log := n.a.c.Log
	say := func(p events.Payload) bool {
		e := events.Event{Meta: events.Meta{ID: journal.NewID(), CorrelationID: public.Name()}, Data: p}
		for {
			_, err := n.a.c.Journal.Append(ctx, e)
			if err == nil || ctx.Err() != nil {
				return err == nil
			}
			if n.unsaid.News(err) {
				log.Warn().Err(err).Msg("checkpoints are not published; trying again")
			}
			if !sleep(ctx, time.Second) {
				return false
			}
		}
	}
	if !say(&events.LogOpened{Log: public.Name(), Key: string(public)}) {
		return nil
	}
	hands, ended := n.hands(ctx)
	defer ended()
	for sleep(ctx, n.a.c.Notary.PublishEvery) {
		if cs := n.due(ctx); cs != nil {
			said := &events.LogCheckpointed{Log: public.Name()}
			for _, c := range cs {
				said.Checkpoints = append(said.Checkpoints, events.LogCheckpoint{Stream: c.Stream, Size: c.Size, Note: string(c.Note)})
			}
			if !say(said) {
				return nil
			}
			for _, c := range cs {
				n.logs[c.Stream].published.Store(&c)
				n.logs[c.Stream].publishedAt.Store(time.Now().UnixNano())
			}
			for _, hand := range hands {
				select {
				case <-hand: // nobody took them, and these cover them
				default:
				}
				hand <- cs
			}
		}
	}
	return nil
}

const (
	// keepTime bounds one try of a keeper's, such as a push to where nobody answers.
	keepTime = time.Minute
	// keepEnd is how long one may take to its end: a disk that is gone may never answer.
	keepEnd = 10 * time.Second
)

// hands are how keepers are handed checkpoints, each at its own pace: one that hangs holds
// up neither the others nor what is published. They end with ctx; ended waits for that.
func (n *notary) hands(ctx context.Context) (to []chan []tlog.Checkpoint, ended func()) {
	var keeping sync.WaitGroup
	for _, keep := range n.keepers {
		hand := make(chan []tlog.Checkpoint, 1)
		to = append(to, hand)
		keeping.Go(func() {
			var said trouble.Said
			for owed := ([]tlog.Checkpoint)(nil); ; {
				var again <-chan time.Time
				if owed != nil {
					again = time.After(n.a.c.Notary.PublishEvery)
				}
				select {
				case <-ctx.Done():
					return
				case owed = <-hand:
				case <-again:
				}
				if err := n.kept(ctx, keep, owed); err != nil {
					if ctx.Err() == nil && said.News(err) {
						n.a.c.Log.Warn().Err(err).Msg("a witness has not got the checkpoints; trying again")
					}
					continue
				}
				owed, said = nil, trouble.Said{}
			}
		})
	}
	return to, func() {
		all := make(chan struct{})
		go func() { keeping.Wait(); close(all) }()
		select {
		case <-all:
		case <-time.After(keepEnd):
		}
	}
}

func (n *notary) kept(ctx context.Context, keep tlog.Keeper, cs []tlog.Checkpoint) error {
	ctx, cancel := context.WithTimeout(ctx, keepTime)
	defer cancel()
	return keep(ctx, cs)
}

// due returns the newest checkpoints, none where there is nothing new in them. What is
// logged and not signed yet waits for the next time: under load there always is some. A log
// whose checkpoint cannot be read, or that is not the bucket's, is left out, and holds up no
// other.
func (n *notary) due(ctx context.Context) []tlog.Checkpoint {
	if !n.fresh.Swap(false) { // what is logged from here on is for the next time
		return nil
	}
	if err := n.reach(ctx); err != nil {
		n.fresh.Store(true)
		if n.unsaid.News(err) {
			n.a.c.Log.Warn().Err(err).Msg("checkpoints are not published; trying again")
		}
		return nil
	}
	n.unsaid = trouble.Said{}
	var out []tlog.Checkpoint
	news := false
	for _, stream := range events.Streams() {
		l := n.logs[stream]
		if l.size.Load() == 0 {
			continue
		}
		worth := l.worth.Load()
		c, err := n.newest(ctx, stream)
		if err == nil {
			err = n.store(ctx, c)
		}
		if err != nil || c.Size < worth {
			n.fresh.Store(true)
		}
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil && l.unsaid.News(err) {
				n.a.c.Log.Error().Err(err).Str("stream", stream).Msg("checkpoints of this log are not published; trying again")
			}
			continue
		}
		l.unsaid = trouble.Said{}
		was := n.published(stream).Size
		news = news || was < c.Size && was < worth
		out = append(out, c)
	}
	if !news {
		return nil
	}
	return out
}

// newest reads a log's newest checkpoint. The error wraps [fs.ErrNotExist] before the
// first one is signed.
func (n *notary) newest(ctx context.Context, stream string) (tlog.Checkpoint, error) {
	c, err := n.key.Public().Latest(ctx, stream, tlog.Files(n.tiles(stream)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: if %s is damaged, move it away, and it is signed anew (docs/evidence.md)", err, filepath.Join(n.tiles(stream), "checkpoint"))
	}
	return c, err
}

// published is the checkpoint that was published last, empty before.
func (n *notary) published(stream string) tlog.Checkpoint {
	if c := n.logs[stream].published.Load(); c != nil {
		return *c
	}
	return tlog.Checkpoint{}
}
