package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/engine"
)

// stopTimeout bounds a stop: the engine writes what it has in memory, and
// waits for nothing else.
const stopTimeout = 90 * time.Second

// startError is the end of an engine that never took a connection.
type startError struct{ err error }

func (e *startError) Error() string { return "start: " + e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// process is one life of the engine.
type process struct {
	cmd       *exec.Cmd
	lifeline  io.Closer // closing it is the order to stop
	tcp, http int
	words     *lastWords
	ended     chan struct{} // closed when the process is gone and its output read
	err       error         // of cmd.Wait; read it after ended
}

// startProcess returns when the engine listens. Otherwise the error is a
// *startError, and no process is left.
func startProcess(ctx context.Context, cfg ClickHouseConfig) (*process, error) {
	p := &process{ended: make(chan struct{})}
	lifelineRead, lifeline, err := os.Pipe()
	if err != nil {
		return nil, &startError{err}
	}
	defer lifelineRead.Close()
	status, statusWrite, err := os.Pipe()
	if err != nil {
		_ = lifeline.Close()
		return nil, &startError{err}
	}
	defer status.Close()
	p.lifeline = lifeline
	// A complaint before it listens means that it never will: it then sits at its prompt.
	p.words = &lastWords{log: cfg.Log, complained: func() { _ = lifeline.Close() }}
	args := append(cfg.Command[1:len(cfg.Command):len(cfg.Command)],
		"-lib", cfg.Lib,
		"-dir", filepath.Join(cfg.Dir, "data"),
		"-config", filepath.Join(cfg.Dir, "server.xml"),
		"-tcp", fmt.Sprint(cfg.TCPPort),
		"-http", fmt.Sprint(cfg.HTTPPort))
	if cfg.Cold != nil && cfg.Cold.Path != "" {
		args = append(args, "-cold", cfg.Cold.Path)
	}
	p.cmd = exec.Command(cfg.Command[0], args...)
	p.cmd.Dir = cfg.Dir
	p.cmd.Env = append([]string{"TZ=UTC", "LANG=C.UTF-8", "TERM=dumb", "HOME=" + cfg.Dir}, cfg.Env...)
	p.cmd.ExtraFiles = []*os.File{lifelineRead, statusWrite}
	p.cmd.Stdout, p.cmd.Stderr = p.words, p.words
	ownGroup(p.cmd)
	err = p.cmd.Start()
	_ = statusWrite.Close() // so that the engine's end is the end of status
	if err != nil {
		_ = lifeline.Close()
		return nil, &startError{fmt.Errorf("run the engine: %w", err)}
	}
	go func() {
		p.err = p.cmd.Wait()
		p.words.flush()
		close(p.ended)
	}()
	cancelled := context.AfterFunc(ctx, func() { _ = lifeline.Close() })
	_, err = fmt.Fscanf(bufio.NewReader(status), "%d\t%d\n", &p.tcp, &p.http)
	if !cancelled() && err == nil {
		err = ctx.Err()
	}
	p.words.listening()
	if err != nil {
		stopped := p.stop()
		if ctx.Err() != nil {
			return nil, stopped
		}
		return nil, &startError{p.failure()}
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits for it. The error says that it did not end as it should.
func (p *process) stop() error {
	_ = p.lifeline.Close()
	select {
	case <-p.ended:
		if p.cmd.ProcessState.ExitCode() == engine.ExitFailed {
			return errors.New("the engine ended before it had closed its tables: acknowledged data is kept")
		}
		return nil
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("the engine didn't stop within %s and was killed: acknowledged data is kept", stopTimeout)
	}
}

// failure says why a process ended that should have gone on.
func (p *process) failure() error {
	<-p.ended
	said := p.words.String()
	switch {
	case p.cmd.ProcessState.ExitCode() == engine.ExitNoLib:
		return fmt.Errorf("%s; %s", said, libAdvice)
	case strings.Contains(said, "Code: 76."): // CANNOT_OPEN_FILE: the status file of clickhouse itself
		return fmt.Errorf("%w: %s", ErrInUse, said)
	case strings.Contains(said, "Address already in use"):
		return fmt.Errorf("its port is taken; stop what listens there, or configure another: %s", said)
	}
	err := p.err
	if err == nil {
		err = errors.New("it stopped")
	}
	if said == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, said)
}

// lastWords passes the engine's output on to the log, and keeps the last lines
// that tell why it ended.
type lastWords struct {
	log        zerolog.Logger
	complained func()

	mu      sync.Mutex
	partial string
	kept    []string
}

// keptLines is enough for a reason; stack traces aren't kept.
const (
	keptLines = 4
	maxLine   = 16 << 10 // bytes; a longer one is cut
)

func (w *lastWords) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial += string(b)
	for {
		line, rest, found := strings.Cut(w.partial, "\n")
		if !found && len(line) < maxLine {
			return len(b), nil
		}
		w.partial = rest
		w.line(strings.TrimSpace(line))
	}
}

func (w *lastWords) line(line string) {
	if line == "" || strings.HasPrefix(line, "Logging ") || strings.HasPrefix(line, "Received exception") || strings.Contains(line, ". ? @ 0x") {
		return
	}
	line = strings.TrimSuffix(line, ", Stack trace (when copying this message, always include the lines below):")
	w.log.Warn().Str("engine", line).Msg("clickhouse engine says")
	w.kept = append(w.kept, line)
	if len(w.kept) > keptLines {
		w.kept = w.kept[1:]
	}
	if w.complained != nil && strings.Contains(line, "Code: ") {
		w.complained()
		w.complained = nil
	}
}

// listening ends the time in which a complaint is a failure to start.
func (w *lastWords) listening() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complained = nil
}

func (w *lastWords) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line(strings.TrimSpace(w.partial))
	w.partial = ""
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.kept, "; ")
}
