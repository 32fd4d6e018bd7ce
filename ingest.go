package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/auditor/client"
)

// ingested is what `postern audit ingest` reports.
type ingested struct {
	Files    int   `json:"files"`
	Known    int   `json:"known,omitempty"`
	Rejected int   `json:"rejected"`
	Records  int64 `json:"records"`
	// Failed could not be read here; PassedOver are of other names, or are neither
	// files nor folders, or folders behind links.
	Failed     int `json:"failed,omitempty"`
	PassedOver int `json:"passed_over,omitempty"`
}

// uploads is how many files are on their way at once: each waits until the
// auditor has all of its records in its tables.
const uploads = 32

// ingestion is one run of `postern audit ingest`.
type ingestion struct {
	c       *cli
	auditor *client.Client
	tty     bool // stderr shows progress

	mu    sync.Mutex // guards total and stderr
	total ingested
}

// ingest sends CloudTrail files to the auditor and has it read buckets. A file
// that it rejects, or that can't be read, is told of and does not stop the others.
func (c *cli) ingest(ctx context.Context, a *client.Client, paths, buckets []string, b client.Bucket) error {
	in := &ingestion{c: c, auditor: a, tty: isTerminal(c.stderr)}
	if err := in.paths(ctx, paths); err != nil {
		return err
	}
	for _, b.Address = range buckets {
		if err := in.bucket(ctx, b); err != nil {
			return err
		}
	}
	total := &in.total
	if err := c.print(total, func(w *tabwriter.Writer) { printIngested(w, total) }); err != nil {
		return err
	}
	switch {
	case total.Failed > 0:
		return fmt.Errorf("%d of %d files could not be read", total.Failed, total.Failed+total.Files)
	case total.Rejected > 0:
		return fmt.Errorf("%d of %d files were set aside", total.Rejected, total.Files)
	case total.Files == 0 && len(buckets) == 0:
		return fmt.Errorf("nothing was found in %s: CloudTrail's files are called *.json, *.ndjson or *.jsonl, and may be gzipped (.gz)", strings.Join(paths, ", "))
	}
	return nil
}

func printIngested(w *tabwriter.Writer, total *ingested) {
	fmt.Fprintf(w, "%d files, %d records, %d files set aside\n", total.Files, total.Records, total.Rejected)
	if total.Known > 0 {
		fmt.Fprintf(w, "%d files were there\n", total.Known)
	}
	if total.PassedOver > 0 {
		fmt.Fprintf(w, "%d passed over: of another name than *.json, *.ndjson, *.jsonl (.gz), no files, or folders behind links\n", total.PassedOver)
	}
	if total.Failed > 0 {
		fmt.Fprintf(w, "%d could not be read\n", total.Failed)
	}
}

// paths sends files, and those in folders, several at once.
func (in *ingestion) paths(ctx context.Context, roots []string) error {
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	passed := 0
	for _, root := range roots {
		info, err := os.Stat(root)
		folder := root
		if err == nil && info.IsDir() { // WalkDir follows no link, not even where it begins
			folder, err = filepath.EvalSymlinks(root)
		}
		switch {
		case err != nil:
			in.fail(root, err)
			continue
		case !info.IsDir(): // a pipe, too, as a shell's <(…) is
			group.Go(func() error { return in.file(sending, root) })
			continue
		}
		_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			switch {
			case sending.Err() != nil:
				return fs.SkipAll
			case err != nil:
				in.fail(path, err)
				return nil
			case d.IsDir():
				return nil
			case !trailFile(path):
				passed++
				return nil
			}
			switch info, err := os.Stat(path); {
			case err != nil:
				in.fail(path, err)
			case !info.Mode().IsRegular():
				passed++
			default:
				group.Go(func() error { return in.file(sending, path) })
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	in.total.PassedOver = passed
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if in.tty {
		fmt.Fprint(in.c.stderr, "\r\033[K")
	}
	return nil
}

// fail tells of a file that can't be read here.
func (in *ingestion) fail(path string, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.total.Failed++
	in.c.say("%s: could not be read: %v", path, causeOf(err))
}

// file sends one file. An error is of the auditor, and ends the run.
func (in *ingestion) file(ctx context.Context, path string) error {
	f, err := openFile(ctx, path)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		in.fail(path, err)
		return nil
	}
	defer f.Close()
	from := &upload{from: f}
	got, err := in.auditor.Ingest(ctx, path, from, nil)
	if err := from.failed(); err != nil && ctx.Err() == nil { // the file's fault, and none of the auditor's
		in.fail(path, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.total.Files++
	in.total.Records += int64(got.Records)
	if in.tty {
		fmt.Fprintf(in.c.stderr, "\r\033[K%d files, %d records: %s", in.total.Files, in.total.Records, oneLine(filepath.Base(path)))
	}
	if got.Rejected != "" {
		in.total.Rejected++
		in.c.say("%s: set aside: %s", path, got.Rejected)
	}
	return nil
}

// bucket has the auditor read a bucket, and shows a bar on a terminal; its length is what is
// found so far.
func (in *ingestion) bucket(ctx context.Context, b client.Bucket) error {
	p, err := in.auditor.IngestBucket(ctx, b, func(p client.BucketProgress) {
		if p.Reason != "" {
			in.c.say("%s: set aside: %s", p.File, p.Reason)
		}
		if in.tty {
			fmt.Fprint(in.c.stderr, "\r\033[K"+bar(p))
		}
	})
	if in.tty {
		fmt.Fprint(in.c.stderr, "\r\033[K")
	}
	in.total.Files += p.Files
	in.total.Known += p.Known
	in.total.Rejected += p.Rejected
	in.total.Records += p.Records
	if err != nil {
		return fmt.Errorf("%s: %w", b.Address, err)
	}
	return nil
}

// bar is one line of progress.
func bar(p client.BucketProgress) string {
	const width = 30
	done, found := p.Files+p.Known, max(p.Found, 1)
	full := min(width*done/found, width)
	more := "+" // the listing goes on
	if p.Listed {
		more = ""
	}
	return fmt.Sprintf("[%s%s] %d of %d%s files, %d records", strings.Repeat("#", full), strings.Repeat(".", width-full), done, p.Found, more, p.Records)
}

// openFile opens a file; of a pipe, whose writer may never come, not for longer than
// ctx.
func openFile(ctx context.Context, path string) (*os.File, error) {
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
		return os.Open(path)
	}
	type opened struct {
		f   *os.File
		err error
	}
	ch := make(chan opened, 1)
	go func() {
		f, err := os.Open(path)
		ch <- opened{f, err}
	}()
	select {
	case o := <-ch:
		if o.err == nil {
			context.AfterFunc(ctx, func() { _ = o.f.Close() }) // ends a read that waits
		}
		return o.f, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// upload remembers what went wrong with a file while it was sent.
type upload struct {
	from io.Reader
	mu   sync.Mutex
	err  error
}

func (r *upload) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && err != io.EOF && !errors.Is(err, os.ErrClosed) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}
	return n, err
}

func (r *upload) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// causeOf is an error of a path without the path.
func causeOf(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// trailFile tells by its name what may hold CloudTrail's records.
func trailFile(path string) bool {
	path = strings.TrimSuffix(path, ".gz")
	return strings.HasSuffix(path, ".json") || strings.HasSuffix(path, ".ndjson") || strings.HasSuffix(path, ".jsonl")
}
