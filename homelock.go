package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/posternhq/postern/deploy/embedded"
)

// lockDir waits for the lock of a directory, which it makes (0700). The lock ends
// with the returned file, or with this process.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	const poll = 20 * time.Millisecond
	for {
		f, err := embedded.LockDir(dir)
		if !errors.Is(err, embedded.ErrInUse) {
			return f, err
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another postern of yours, which holds %s: %w", filepath.Join(dir, "lock"), ctx.Err())
		}
	}
}

// ownDir makes the directory of a helper of this process, KIND-PID, after it has
// removed those of helpers that were killed. free removes it. In another container a
// process has the same id, most likely 1: then it is KIND-PID-2 and so on.
func (p *profile) ownDir(ctx context.Context, kind string) (dir string, free func(), err error) {
	held, err := lockDir(ctx, p.dir)
	if err != nil {
		return "", nil, err
	}
	defer held.Close()
	if err := p.sweep(); err != nil {
		return "", nil, err
	}
	own := filepath.Join(p.dir, fmt.Sprintf("%s-%d", kind, os.Getpid()))
	dir = own
	lock, err := embedded.LockDir(dir)
	for i := 2; errors.Is(err, embedded.ErrInUse); i++ {
		dir = fmt.Sprintf("%s-%d", own, i)
		lock, err = embedded.LockDir(dir)
	}
	if err != nil {
		return "", nil, err
	}
	return dir, func() {
		_ = lock.Close()
		_ = os.RemoveAll(dir) // else the next helper does
	}, nil
}

// sweepAway removes what killed helpers have left.
func (p *profile) sweepAway(ctx context.Context) error {
	if _, err := os.Stat(p.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	held, err := lockDir(ctx, p.dir)
	if err != nil {
		return err
	}
	defer held.Close()
	return p.sweep()
}

// sweep is sweepAway under the profile's lock, without which a helper that starts
// might be taken for one that was killed.
func (p *profile) sweep() error {
	var errs error
	for _, kind := range []string{"proxy", "creds"} {
		dirs, err := glob(p.dir, kind+"-*")
		errs = errors.Join(errs, err)
		for _, dir := range dirs {
			if abandoned(dir, kind) {
				errs = errors.Join(errs, os.RemoveAll(dir))
			}
		}
	}
	return errs
}

// abandoned says whether the helper that made a directory is gone. Process ids are
// given again, and mean something else in another container; locks tell.
func abandoned(dir, kind string) bool {
	if _, err := os.Stat(filepath.Join(dir, "lock")); err == nil {
		lock, err := embedded.LockDir(dir)
		if err != nil {
			return false
		}
		return lock.Close() == nil
	}
	// Earlier versions held none.
	pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), kind+"-"))
	if err != nil || pid <= 0 {
		return false // not ours
	}
	proc, err := os.FindProcess(pid)
	if err != nil {
		return true
	}
	defer func() { _ = proc.Release() }()
	return errors.Is(proc.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
