//go:build linux || darwin

// Package engine is the process in which the embedded ClickHouse server runs:
// the ClickHouse of chDB's shared library, loaded without cgo.
//
// The library's entry is clickhouse-local, which since ClickHouse 26.4 can
// listen (SYSTEM START LISTEN). It is a server only as long as it believes that
// a person sits at its terminal: without one it installs an error handler that
// ends the process at the first malformed byte a client sends. So standard
// input becomes a pseudo terminal of our own, and "exit" typed there stops it.
//
// Nothing here may be imported by a package that does other work: the engine
// aborts its process on internal errors.
package engine

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Files inherited from the supervisor, in exec.Cmd.ExtraFiles' order.
const (
	lifelineFD = 3 // read end of a pipe: its end is the order to stop
	statusFD   = 4 // write end of a pipe: "native\thttp\n", the ports, once it listens
)

// stopTimeout bounds a stop that hangs: without a parent, nobody else would.
const stopTimeout = time.Minute

// Main runs the engine until the lifeline ends, by the supervisor's wish or
// its death, or SIGTERM arrives. It returns the exit code. args are flags:
// -lib, -dir, -config, -cold, -tcp, -http; none is a secret. Where the kernel can, the
// program first starts anew with -confined, able to open nothing but its own files.
func Main(args []string) int {
	fs := flag.NewFlagSet("clickhouse-engine", flag.ContinueOnError)
	var (
		lib    = fs.String("lib", "", "libchdb's shared library")
		dir    = fs.String("dir", "", "data directory")
		config = fs.String("config", "", "server configuration (XML)")
		cold   = fs.String("cold", "", "directory of the cold volume")
		inside = fs.Bool("confined", false, "")
		tcp    = fs.Int("tcp", 0, "port of the native protocol, 0: any")
		http   = fs.Int("http", 0, "port of the HTTP interface, 0: any")
	)
	if err := fs.Parse(args); err != nil {
		return ExitUsage
	}
	lifeline := os.NewFile(lifelineFD, "lifeline")
	if info, err := lifeline.Stat(); *lib == "" || *dir == "" || *config == "" || err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		fmt.Fprintln(os.Stderr, "clickhouse-engine: started by postern itself, not by hand")
		return ExitUsage
	}
	if !*inside {
		if err := startConfined(*lib, *dir, *config, *cold); err != nil {
			fmt.Fprintln(os.Stderr, "clickhouse-engine: confine it to its files:", err)
			return ExitFailed
		}
	}
	// Whoever read our output may be dead already; that must not kill us before the tables are closed.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGINT, syscall.SIGHUP)
	stop := stopper{typed: make(chan io.Writer, 1)}
	go stop.await(lifeline)

	// The engine of a supervisor that was killed may still be closing its tables: wait for it.
	lock, err := lockFile(filepath.Join(*dir, "engine.lock"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "clickhouse-engine: lock data directory:", err)
		return ExitFailed
	}
	defer lock.Close()
	run, err := load(*lib)
	if err != nil {
		fmt.Fprintln(os.Stderr, "clickhouse-engine:", err)
		return ExitNoLib
	}
	terminal, err := takeTerminal()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clickhouse-engine: make a terminal:", err)
		return ExitFailed
	}
	stop.typed <- terminal
	msg := run([]string{
		"clickhouse",
		"--path=" + *dir,
		"--config-file=" + *config,
		"--listen_host=127.0.0.1",
		fmt.Sprintf("--tcp_port=%d", *tcp),
		fmt.Sprintf("--http_port=%d", *http),
		"--query", "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; " +
			"SELECT getServerPort('tcp_port'), getServerPort('http_port') " +
			fmt.Sprintf("INTO OUTFILE '/dev/fd/%d' APPEND FORMAT TSV", statusFD),
		// as is the default, but not of others who name this session's user
		"--max_ast_elements=50000",
		"--interactive", "--disable_suggestion", "--highlight=0",
		// it is made 0600 when the engine ends, so no device of the machine's
		"--history_file=" + filepath.Join(*dir, "history"),
	})
	if msg != "" {
		fmt.Fprintln(os.Stderr, msg)
	}
	// Some failures to start are printed by the engine, which then returns as if all were well.
	if !stop.asked.Load() {
		fmt.Fprintln(os.Stderr, "clickhouse-engine: ended without being asked to")
		return ExitFailed
	}
	return ExitStopped
}

// stopper turns the end of the lifeline into "exit" typed at the engine's
// terminal: a query of the same session would wait behind its start.
type stopper struct {
	asked atomic.Bool
	typed chan io.Writer
}

func (s *stopper) await(lifeline io.Reader) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	broken := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lifeline)
		close(broken)
	}()
	select {
	case <-term:
	case <-broken:
	}
	s.asked.Store(true)
	select {
	case terminal := <-s.typed:
		time.AfterFunc(stopTimeout, func() { os.Exit(ExitFailed) })
		// What is typed before the engine reads its terminal is lost, as it takes it over.
		for ; ; time.Sleep(100 * time.Millisecond) {
			_, _ = io.WriteString(terminal, "exit\n")
		}
	default:
		os.Exit(ExitStopped) // nothing was opened yet
	}
}

// takeTerminal makes standard input and output a pseudo terminal and returns
// the end at which to type. What the engine prints there, its prompt, is thrown
// away; its errors go to standard error.
func takeTerminal() (io.Writer, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	for fd := range 2 {
		if err := unix.Dup2(int(slave.Fd()), fd); err != nil {
			return nil, err
		}
	}
	_ = slave.Close()
	go func() { _, _ = io.Copy(io.Discard, master) }()
	return master, nil
}

// lockFile waits for the lock, which ends with this process at the latest.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return f, err
}
