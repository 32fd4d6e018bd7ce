package main

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
)

// A pipe that nobody writes to is not waited for beyond the command's end.
func TestPipeWithoutWriter(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe.json")
	if out, err := exec.Command("mkfifo", pipe).CombinedOutput(); err != nil {
		t.Skipf("no pipe can be made here: %v %s", err, out)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("ended")
	cancel(ended)
	if f, err := openFile(ctx, pipe); !errors.Is(err, ended) {
		t.Errorf("%v, %v", f, err)
	}
}
