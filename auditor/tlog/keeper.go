package tlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Keeper keeps copies of checkpoints where the log's operators can't take them
// back: a directory or a Git repository that others hold.
type Keeper func(ctx context.Context, cs []Checkpoint) error

// KeepDir keeps each checkpoint in a file of its own, DIR/STREAM/SIZE, which is
// never written again. DIR is there, or its disk is not. Where that is another one, of an auditor that shares the directory or
// of a log that was made anew, it is DIR/STREAM/SIZE.HASH.
func KeepDir(dir string) Keeper {
	return func(_ context.Context, cs []Checkpoint) error {
		for _, c := range cs {
			name := filepath.Join(dir, c.Stream, fmt.Sprintf("%020d", c.Size))
			err := os.Mkdir(filepath.Dir(name), 0o755)
			switch {
			case errors.Is(err, fs.ErrNotExist): // nor is it made: the copies would be on our own disk
				err = fmt.Errorf("%w: mount its disk, or make it", err)
			case err == nil, errors.Is(err, fs.ErrExist):
				err = keepFile(name, c.Note)
			}
			if err != nil {
				return fmt.Errorf("witness directory: %w", err)
			}
		}
		return nil
	}
}

func keepFile(name string, note []byte) error {
	// The log's own signature, which is the same however often it signs; witnesses' follow.
	text, rest, _ := bytes.Cut(note, []byte("\n\n"))
	own, _, _ := bytes.Cut(rest, []byte("\n"))
	sum := sha256.Sum256(slices.Concat(text, own))
	for _, name := range []string{name, fmt.Sprintf("%s.%x", name, sum[:4])} {
		if err := writeOnce(name, note, 0o644); err != nil {
			return err
		}
		if is, err := os.ReadFile(name); err != nil || bytes.Contains(is, own) && bytes.HasPrefix(is, text) {
			return err
		}
	}
	return fmt.Errorf("%s: somebody else wrote it", name)
}

// writeOnce makes a file whole or not at all, and leaves one that is there: also if the
// power fails once it returned.
func writeOnce(name string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// gitEnd is how long git may take to its end once nobody waits for it any more.
const gitEnd = 3 * time.Second

// KeepGit commits the checkpoints to the Git repository in a directory, a file a
// stream, and pushes them where the branch has an upstream. What others pushed there
// stays: it is merged.
func KeepGit(dir string) Keeper {
	git := func(ctx context.Context, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "user.name=postern", "-c", "user.email=postern@localhost", "-c", "commit.gpgsign=false", "-c", "push.default=upstream"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
		// At a signal it takes its locks away; what it started may keep its output open.
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = gitEnd
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("witness repository %s: git %s: %w: %s", dir, args[0], err, strings.TrimSpace(string(out)))
		}
		return string(out), nil
	}
	return func(ctx context.Context, cs []Checkpoint) error {
		var names []string
		subject := "checkpoints:"
		for _, c := range cs {
			if err := os.WriteFile(filepath.Join(dir, c.Stream), c.Note, 0o644); err != nil {
				return fmt.Errorf("witness repository: %w", err)
			}
			names = append(names, c.Stream)
			subject += fmt.Sprintf(" %s %d", c.Stream, c.Size)
		}
		if _, err := git(ctx, append([]string{"add", "--"}, names...)...); err != nil {
			return err
		}
		staged, err := git(ctx, append([]string{"diff", "--cached", "--name-only", "--"}, names...)...)
		if err != nil {
			return err
		}
		if staged != "" {
			if _, err := git(ctx, append([]string{"commit", "-q", "-m", subject, "--"}, names...)...); err != nil {
				return err
			}
		}
		// Not @{upstream}, which the clone of an empty repository has not yet.
		branch, err := git(ctx, "symbolic-ref", "-q", "--short", "HEAD")
		if err != nil {
			return fmt.Errorf("nothing is pushed while it is on no branch: git -C %s switch BRANCH: %w", dir, err)
		}
		if _, err := git(ctx, "config", "--get", "branch."+strings.TrimSpace(branch)+".merge"); err != nil {
			return nil // nowhere to push to
		}
		if _, err = git(ctx, "push", "-q"); err == nil {
			return nil
		}
		if _, away := git(ctx, "fetch", "-q"); away != nil {
			return err
		}
		if theirs, _ := git(ctx, "rev-list", "-n1", "HEAD..@{upstream}"); theirs == "" {
			return err // somebody else's commits are not why
		}
		if _, err := git(ctx, "merge", "-q", "--no-edit", "@{upstream}"); err != nil {
			_, _ = git(context.WithoutCancel(ctx), "merge", "--abort")
			return fmt.Errorf("what others pushed to its branch does not go with these checkpoints: those of another auditor need a branch of their own (git -C %s push -u origin HEAD:NAME): %w", dir, err)
		}
		_, err = git(ctx, "push", "-q")
		return err
	}
}

// Kept reads the checkpoints of a key's logs in a file, or in the files below a
// directory; what is none is passed over. A Git repository gives its newest.
func (p PublicKey) Kept(path string, streams []string) ([]Checkpoint, error) {
	var out []Checkpoint
	err := filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, s := range streams {
			if c, err := p.OpenCheckpoint(s, b); err == nil {
				out = append(out, c)
			}
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("no checkpoint of %s in it", p.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", path, err)
	}
	return out, nil
}
