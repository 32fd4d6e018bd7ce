// Enginecmd is the ClickHouse engine's process for tests. It is a program of
// its own so that `go test -race` runs a plain build of it: the race detector
// can't look into the library, and reports what it doesn't understand.
package main

import (
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/posternhq/postern/deploy/embedded/engine"
)

func main() {
	if dir := os.Getenv("POSTERN_ENGINE_REMOVE"); dir != "" && !slices.Contains(os.Args, "-confined") {
		if err := removeLater(dir); err != nil {
			panic(err)
		}
	}
	os.Exit(engine.Main(os.Args[1:]))
}

// removeLater removes the engine's directory when it ended: it outlives the test
// process by a moment, and may not do so itself.
func removeLater(dir string) error {
	ends, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	sh := exec.Command("/bin/sh", "-c", `cat; rm -rf -- "$0"`, dir)
	sh.Stdin, sh.Env = ends, []string{"PATH=/usr/bin:/bin"}
	if err := sh.Start(); err != nil {
		return err
	}
	_, err = unix.FcntlInt(alive.Fd(), unix.F_SETFD, 0) // it stays open when this program starts anew
	return err
}
