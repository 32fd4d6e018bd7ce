package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
)

const libAdvice = "get it with `go tool -modfile=tools.mod task setup` in postern's source tree and name it with --clickhouse-lib or POSTERN_CLICKHOUSE_LIB, or give a server's address as clickhouse.dsn"

// FindLib finds the ClickHouse library: explicit, then the file that
// POSTERN_CLICKHOUSE_LIB names, then where the setup task puts it, under
// ~/.local/share/postern/clickhouse ($XDG_DATA_HOME) and, within postern's
// source tree, .cache/clickhouse. The first that is named must exist.
func FindLib(explicit string) (path string, err error) {
	for _, named := range []struct{ by, path string }{
		{"the path given", explicit},
		{"POSTERN_CLICKHOUSE_LIB", os.Getenv("POSTERN_CLICKHOUSE_LIB")},
	} {
		if named.path == "" {
			continue
		}
		if _, err := os.Stat(named.path); err != nil {
			return "", fmt.Errorf("clickhouse library: %s: %w; %s", named.by, err, libAdvice)
		}
		return filepath.Abs(named.path)
	}
	file, ok := map[string]string{
		"linux/amd64":  "lib-linux-x64-gnu/libchdb.so",
		"linux/arm64":  "lib-linux-arm64-gnu/libchdb.so",
		"darwin/amd64": "lib-darwin-x64/libchdb.so",
		"darwin/arm64": "lib-darwin-arm64/libchdb.so",
	}[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("clickhouse library: there is none for %s/%s: give a server's address as clickhouse.dsn", runtime.GOOS, runtime.GOARCH)
	}
	var searched []string
	for _, dir := range libDirs() {
		path := filepath.Join(dir, "node_modules", "@chdb", filepath.FromSlash(file))
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		searched = append(searched, path)
	}
	return "", fmt.Errorf("clickhouse library: %w: looked for %q; %s", fs.ErrNotExist, searched, libAdvice)
}

func libDirs() (dirs []string) {
	data := os.Getenv("XDG_DATA_HOME")
	if home, err := os.UserHomeDir(); data == "" && err == nil {
		data = filepath.Join(home, ".local", "share")
	}
	if data != "" {
		dirs = append(dirs, filepath.Join(data, "postern", "clickhouse"))
	}
	if root, err := sourceTree(); err == nil {
		dirs = append(dirs, filepath.Join(root, ".cache", "clickhouse"))
	}
	return dirs
}

var ourModule = regexp.MustCompile(`(?m)^module github\.com/posternhq/postern\r?$`)

// sourceTree is the module's root at or above the working directory. Only
// postern's own counts: a library is code, and not to be loaded from wherever
// somebody happens to stand.
func sourceTree() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && ourModule.Match(mod) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("not in postern's source tree")
		}
		dir = parent
	}
}
