package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

const libAdvice = "get it with `go tool -modfile=tools.mod task setup` in postern's source tree, name one with --clickhouse-lib or POSTERN_CLICKHOUSE_LIB, or give a server's address as clickhouse.dsn"

// FindLib finds the ClickHouse library: explicit, then the file that
// POSTERN_CLICKHOUSE_LIB names, then where the setup task puts it:
// ~/.local/share/postern/clickhouse ($XDG_DATA_HOME). What is named must exist.
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
	data := os.Getenv("XDG_DATA_HOME")
	if data == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("clickhouse library: %w; %s", err, libAdvice)
		}
		data = filepath.Join(home, ".local", "share")
	}
	path = filepath.Join(data, "postern", "clickhouse", "node_modules", "@chdb", filepath.FromSlash(file))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("clickhouse library: %w; %s", err, libAdvice)
	}
	return path, nil
}
