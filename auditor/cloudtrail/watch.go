package cloudtrail

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/events/trouble"
)

// Watcher takes in the log files that turn up in directories. What it has taken
// it remembers by path, size and time of change, in a file of its own; should
// that be lost, everything is read once more and found to be there already.
type Watcher struct {
	ingester *Ingester
	dirs     []string
	memory   string
	every    time.Duration
	seen     map[string]mark

	said trouble.Said
}

type mark struct{ size, changed int64 }

// NewWatcher watches dirs and keeps its memory in dataDir. A directory that
// isn't there is waited for, and the log says so.
func NewWatcher(g *Ingester, dirs []string, dataDir string) *Watcher {
	return &Watcher{ingester: g, dirs: dirs, memory: filepath.Join(dataDir, "cloudtrail-files.tsv"), every: time.Second, seen: map[string]mark{}}
}

// Run looks once a second until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(w.memory), 0o700); err != nil {
		return fmt.Errorf("watch cloudtrail files: %w", err)
	}
	if err := w.load(); err != nil {
		return fmt.Errorf("watch cloudtrail files: %w", err)
	}
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		if _, err := w.Look(ctx); ctx.Err() == nil {
			w.say(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watcher) say(err error) {
	switch {
	case err != nil && w.said.News(err):
		w.ingester.log.Warn().Err(err).Msg("cloudtrail directory: not all of it can be read; trying again")
	case err == nil && w.said.Over():
		w.ingester.log.Info().Msg("cloudtrail directory: all of it can be read again")
	}
}

// Look takes in what is new since the last look, and returns how many files
// that were. What can't be read, a directory or a file, is in the error and holds up
// nothing else.
func (w *Watcher) Look(ctx context.Context) (int, error) {
	var files []string
	var bad []error
	marks := map[string]mark{}
	for _, dir := range w.dirs {
		found, err := List(dir)
		if err != nil {
			bad = append(bad, err)
		}
		for _, name := range found {
			info, err := os.Stat(name)
			if err != nil {
				continue // gone in between
			}
			m := mark{info.Size(), info.ModTime().UnixNano()}
			if w.seen[name] != m {
				marks[name] = m
				files = append(files, name)
			}
		}
	}
	if len(files) == 0 {
		return 0, errors.Join(bad...)
	}
	out, err := os.OpenFile(w.memory, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, errors.Join(append(bad, err)...)
	}
	defer out.Close()
	n := 0
	err = w.ingester.files(ctx, files, func(name string, _ Result) {
		w.seen[name] = marks[name]
		n++
		fmt.Fprintf(out, "%d\t%d\t%s\n", marks[name].size, marks[name].changed, strconv.Quote(name))
	})
	return n, errors.Join(append(bad, err)...)
}

func (w *Watcher) load() error {
	f, err := os.Open(w.memory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		p := strings.SplitN(lines.Text(), "\t", 3)
		if len(p) != 3 {
			continue // cut off by a crash
		}
		size, err1 := strconv.ParseInt(p[0], 10, 64)
		changed, err2 := strconv.ParseInt(p[1], 10, 64)
		name, err3 := strconv.Unquote(p[2])
		if errors.Join(err1, err2, err3) == nil {
			w.seen[name] = mark{size, changed}
		}
	}
	if err := lines.Err(); err != nil { // what a crash has left of a file
		w.ingester.log.Warn().Err(err).Str("file", w.memory).Msg("cloudtrail directory: not all that was taken in is known any more; it is read once more")
	}
	return nil
}
