package clustertest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// process is a server that is started, killed, paused and started again.
type process struct {
	t    testing.TB
	name string
	args []string
	env  []string
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	log  string
	from int64 // where the log of this start begins
}

func (p *process) start() {
	p.t.Helper()
	if p.log == "" {
		p.log = filepath.Join(p.t.TempDir(), p.name+".log")
		p.t.Cleanup(func() {
			p.kill()
			if p.t.Failed() {
				text, _ := os.ReadFile(p.log)
				p.t.Logf("the end of %s's log:\n%s", p.name, text[max(0, len(text)-3000):])
			}
		})
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	if p.from, err = out.Seek(0, io.SeekEnd); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

// ended says whether it is gone by itself or was killed.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// said looks for text in what it has logged since it started.
func (p *process) said(text string) error {
	log, err := os.ReadFile(p.log)
	if err == nil && !bytes.Contains(log[p.from:], []byte(text)) {
		err = fmt.Errorf("it has not said %s", text)
	}
	return err
}

// kill ends it as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) pause()  { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// patience bounds waits for what must come to pass once everything is well.
const patience = time.Minute

// eventually tries again until do succeeds.
func eventually(t testing.TB, what string, do func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
