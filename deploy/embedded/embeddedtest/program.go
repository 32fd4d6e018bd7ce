package embeddedtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"testing"
	"time"
)

// Port is one that nobody listens on: below those that systems give to connections, one of
// which could take it before who was given it listens.
func Port(t testing.TB) int {
	t.Helper()
	for {
		port := 20_000 + rand.IntN(12_000)
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
}

// Listen starts a program, which ends with the test, and returns once it listens at an
// address; the error has what it wrote if it ends before.
func Listen(t testing.TB, cmd *exec.Cmd, address string) error {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	late := time.After(2 * time.Minute)
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("it ended (%v): %s", err, log.String())
		case <-late:
			return fmt.Errorf("it does not listen at %s", address)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
