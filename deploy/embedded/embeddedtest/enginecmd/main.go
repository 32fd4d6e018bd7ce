// Enginecmd is the ClickHouse engine's process for tests. It is a program of
// its own so that `go test -race` runs a plain build of it: the race detector
// can't look into the library, and reports what it doesn't understand.
package main

import (
	"os"

	"github.com/posternhq/postern/deploy/embedded/engine"
)

func main() {
	code := engine.Main(os.Args[1:])
	// The engine outlives the test process by a moment, so it cleans up.
	if dir := os.Getenv("POSTERN_ENGINE_REMOVE"); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}
