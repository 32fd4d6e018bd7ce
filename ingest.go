package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/auditor/client"
)

// ingested is what `postern audit ingest` reports.
type ingested struct {
	Files    int   `json:"files"`
	Known    int   `json:"known,omitempty"`
	Rejected int   `json:"rejected"`
	Records  int64 `json:"records"`
}

// uploads is how many files are on their way at once: each waits until the
// auditor has all of its records in its tables.
const uploads = 32

// ingest sends CloudTrail files to the auditor and has it read buckets. A file
// that it rejects is told of and does not stop the others.
func (c *cli) ingest(cmd *cobra.Command, a *client.Client, paths, buckets []string, b client.Bucket) error {
	var mu sync.Mutex // guards total and stderr
	var total ingested
	tty := isTerminal(c.stderr)
	group, ctx := errgroup.WithContext(cmd.Context())
	group.SetLimit(uploads)
	one := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		got, err := a.Ingest(ctx, path, f, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		mu.Lock()
		defer mu.Unlock()
		total.Files++
		total.Records += int64(got.Records)
		if tty {
			fmt.Fprintf(c.stderr, "\r\033[K%d files, %d records: %s", total.Files, total.Records, filepath.Base(path))
		}
		if got.Rejected != "" {
			total.Rejected++
			c.say("%s: set aside: %s", path, got.Rejected)
		}
		return nil
	}
	var walked error
	for _, root := range paths {
		walked = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case d.IsDir() || path != root && !trailFile(path):
				return nil
			}
			group.Go(func() error { return one(path) })
			return nil
		})
		if walked != nil {
			break
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if walked != nil {
		return walked
	}
	if tty {
		fmt.Fprint(c.stderr, "\r\033[K")
	}
	for _, b.Address = range buckets {
		if err := c.ingestBucket(cmd, a, b, &total); err != nil {
			return err
		}
	}
	if err := c.print(total, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%d files, %d records, %d files set aside\n", total.Files, total.Records, total.Rejected)
		if total.Known > 0 {
			fmt.Fprintf(w, "%d files were there\n", total.Known)
		}
	}); err != nil {
		return err
	}
	if total.Rejected > 0 {
		return fmt.Errorf("%d of %d files were set aside", total.Rejected, total.Files)
	}
	return nil
}

// trailFile tells by its name what may hold CloudTrail's records.
func trailFile(path string) bool {
	path = strings.TrimSuffix(path, ".gz")
	return strings.HasSuffix(path, ".json") || strings.HasSuffix(path, ".ndjson") || strings.HasSuffix(path, ".jsonl")
}
