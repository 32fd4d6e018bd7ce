package sealed

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ReadPrivate reads a file that nobody but its owner may read. Where the file is not
// this process's to change, its group may read it, too: systemd shows credentials with
// mode 0440 (systemd.exec(5), LoadCredential), and Kubernetes gives a volume's files to
// the pod's fsGroup. Those who are neither owner nor of the group never may, and nobody
// else may write.
func ReadPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func checkPrivate(path string, info fs.FileInfo) error {
	mode := info.Mode().Perm()
	switch {
	case !modesCount || mode&0o077 == 0:
		return nil
	case mode&0o027 == 0 && (!ours(info) || credential(path)):
		return nil
	}
	return fmt.Errorf("%s has mode %04o and others may read it: chmod 600 it, and think about replacing it", path, mode)
}

// credential tells whether systemd passed the file to this service.
func credential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return false
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
