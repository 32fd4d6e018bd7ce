//go:build unix

package sealed

import (
	"io/fs"
	"os"
	"syscall"
)

// modesCount says that the modes of files mean something.
const modesCount = true

// ours tells whether this process owns a file and so can change its mode.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Geteuid()
}
