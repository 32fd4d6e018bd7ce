package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// filesAtOnce is how many files are read side by side: delivered files are
// small (5 records in the median), so most of the time goes into waiting for
// the stream.
const filesAtOnce = 8

// maxNamed is how many files that can't be read are named at once.
const maxNamed = 10

// Path publishes a log file, or all log files of a directory tree. each hears
// of every file that is done; it is called from one goroutine at a time.
func (g *Ingester) Path(ctx context.Context, path string, each func(Result)) error {
	files, err := List(path)
	if err != nil {
		return fmt.Errorf("ingest %s: %w", path, err)
	}
	if len(files) == 0 {
		return fmt.Errorf("ingest %s: no CloudTrail log files (*.json, *.ndjson, *.jsonl, gzipped or not) there", path)
	}
	return g.files(ctx, files, func(_ string, r Result) { each(r) })
}

// files publishes log files. One that can't be read holds up none of the others; it is
// in the error, as is what ended all.
func (g *Ingester) files(ctx context.Context, files []string, each func(string, Result)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var first error
	var bad []error
	more := 0 // than are in bad
	work := make(chan string)
	var wg sync.WaitGroup
	for range min(filesAtOnce, len(files)) {
		wg.Go(func() {
			for name := range work {
				r, err := g.open(ctx, name)
				_, skip := errors.AsType[unread](err)
				mu.Lock()
				switch {
				case err == nil:
					each(name, r)
				case skip && ctx.Err() == nil:
					bad = append(bad, err)
					if len(bad) > maxNamed {
						bad = bad[:maxNamed]
						more++
					}
				default:
					if first == nil {
						first = err
					}
					cancel()
				}
				mu.Unlock()
			}
		})
	}
feed:
	for _, name := range files {
		select {
		case work <- name:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	if first == nil {
		first = ctx.Err()
	}
	if more > 0 {
		bad = append(bad, fmt.Errorf("and %d more files", more))
	}
	return errors.Join(append(bad, first)...)
}

func (g *Ingester) open(ctx context.Context, name string) (Result, error) {
	f, err := os.Open(name)
	if err != nil {
		return Result{}, fmt.Errorf("ingest: %w", unread{err})
	}
	defer f.Close()
	return g.File(ctx, filepath.ToSlash(name), f, nil)
}

// List returns the log files under a path, a file or a directory, sorted. A
// file that is named is taken whatever its name; in a directory only those that IsLogFile
// tells. Links to files are followed, and to a directory where it is the path itself. Folders
// in it that can't be read are in the error, beside the files of the others.
func List(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var out []string
	var bad []error
	root := path + string(filepath.Separator) // of a link, where that leads to
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // else it is gone
				bad = append(bad, err)
			}
			return nil
		}
		if !IsLogFile(d.Name()) || d.IsDir() {
			return nil
		}
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() { // else it is gone, or a link to nothing
			out = append(out, p)
		}
		return nil
	})
	return out, errors.Join(append(bad, err)...)
}

// IsLogFile tells log files by name. Digest files hold no records.
func IsLogFile(name string) bool {
	if strings.HasPrefix(name, ".") || strings.Contains(name, "_CloudTrail-Digest_") {
		return false
	}
	return slices.Contains([]string{".json", ".ndjson", ".jsonl"}, filepath.Ext(strings.TrimSuffix(name, ".gz")))
}
