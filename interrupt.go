package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// ending are the signals that end postern. SIGHUP, of a terminal that went away, is one
// unless whoever started postern had it ignored, as nohup does.
func ending() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// untilSignal returns a context that the first signal of ending ends; the cause is the
// exit code that shells give to who died of it. The second does what it does to any
// program.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	came := make(chan os.Signal, 1)
	signal.Notify(came, ending()...)
	go func() {
		select {
		case s := <-came:
			signal.Stop(came)
			code := exitCode(1)
			if n, ok := s.(syscall.Signal); ok {
				code = exitCode(128 + int(n))
			}
			cancel(code)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(came)
		cancel(nil)
	}
}

// attend runs a command of the user's, which decides itself when it ends: signals that are
// sent to postern alone are passed on, as often as they come. Of Ctrl-C the terminal has told
// it; told once more, Terraform leaves its state unwritten.
func attend(ctx context.Context, cmd *exec.Cmd) error {
	came := make(chan os.Signal, 8)
	signal.Notify(came, passedOn()...)
	defer signal.Stop(came)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-came:
				if !typed(s) {
					_ = cmd.Process.Signal(s) // one that has ended needs none
				}
			case <-ended:
				return
			}
		}
	}()
	return cmd.Wait()
}

// orSignal is read, which may wait for input: a terminal, a pipe, a FIFO. Nothing breaks
// that off, so at a signal it is left to itself, and the error is the exit code.
func orSignal[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := read()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
