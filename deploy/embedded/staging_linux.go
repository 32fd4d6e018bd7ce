package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// sharedMemory is where Linux keeps a file system in memory for everyone.
const sharedMemory = "/dev/shm"

// StageInMemory has the server stage atomic batches of the streams that exist
// now in memory. It stages them in a directory of the stream's, with six disk
// syncs that take ten times as long as the one that stores the batch. Nothing
// acknowledged depends on that copy: an acknowledgement follows the sync of the
// stream itself. What it is for, to complete a batch whose storing a crash cut,
// outlives a crash of the process here, and after one of the machine there is part
// of a batch that nobody was told is stored, as with single publishes.
//
// The server removes the link when it starts and makes a directory in its place,
// so this is done once for each start, after the streams are set up.
func (n *NATS) StageInMemory() error {
	n.staged.Store(true)
	var fsys unix.Statfs_t
	if err := unix.Statfs(sharedMemory, &fsys); err != nil || fsys.Type != unix.TMPFS_MAGIC {
		return nil // none here: batches are staged on disk
	}
	streams, err := filepath.Glob(filepath.Join(n.cfg.Dir, "jetstream", "*", "streams", "*"))
	if err != nil {
		return fmt.Errorf("embedded nats: stage in memory: %w", err)
	}
	for _, stream := range streams {
		target := filepath.Join(n.staging(), filepath.Base(stream))
		for _, dir := range []string{n.staging(), target} {
			if err := ownDir(dir); err != nil {
				return fmt.Errorf("embedded nats: stage in memory: %w", err)
			}
		}
		// What stands there already is in use.
		if err := os.Symlink(target, filepath.Join(stream, "batches")); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("embedded nats: stage in memory: %w", err)
		}
	}
	return nil
}

// unstage gives the memory back.
func (n *NATS) unstage() { _ = os.RemoveAll(n.staging()) }

// staging is this server's directory in memory, the same after a crash.
func (n *NATS) staging() string {
	dir, err := filepath.Abs(n.cfg.Dir)
	if err != nil {
		dir = n.cfg.Dir
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(sharedMemory, "postern-"+strconv.Itoa(os.Getuid())+"-"+hex.EncodeToString(sum[:8]))
}

// ownDir makes a directory that only this user may enter. In a place where
// everybody may write, somebody else may have made one of that name.
func ownDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Getuid() || info.Mode() != fs.ModeDir|0o700 {
		return fmt.Errorf("%s is not a directory of this user's alone (%s); remove it", dir, info.Mode())
	}
	return nil
}
