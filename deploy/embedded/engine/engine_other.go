//go:build !linux && !darwin

// Package engine is the process in which the embedded ClickHouse server runs.
package engine

import (
	"fmt"
	"os"
	"runtime"
)

// Main says that the library isn't made for this system.
func Main([]string) int {
	fmt.Fprintf(os.Stderr, "clickhouse-engine: the ClickHouse library isn't made for %s: give a server's address as clickhouse.dsn\n", runtime.GOOS)
	return ExitNoLib
}
