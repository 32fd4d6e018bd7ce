package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// service is what every room offers: Run blocks until its context ends.
type service interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// stack runs services that lean on the ones started before them, and stops
// them in the opposite order: intake first, stores last.
type stack struct {
	log    zerolog.Logger
	levels []level
	failed chan error
}

type level struct {
	name  string
	stop  context.CancelFunc
	ended chan struct{}
}

// stopTimeout is how long one service may take to drain.
const stopTimeout = 30 * time.Second

func newStack(log zerolog.Logger) *stack {
	return &stack{log: log, failed: make(chan error, 16)}
}

// start runs s and returns when it is ready.
func (t *stack) start(ctx context.Context, name string, s service) error {
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := level{name: name, stop: stop, ended: make(chan struct{})}
	var err error
	go func() {
		defer close(l.ended)
		err = s.Run(own)
		if err == nil && own.Err() == nil {
			err = errors.New("ended by itself")
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			t.failed <- err
		}
	}()
	t.levels = append(t.levels, l)
	select {
	case <-s.Ready():
		t.log.Debug().Str("service", name).Msg("ready")
		return nil
	case <-l.ended:
		<-t.failed
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns when ctx ends (nil) or a service fails (its error).
func (t *stack) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-t.failed:
		return err
	}
}

// stop ends every service, the last one first, and returns what went wrong.
func (t *stack) stop() error {
	var errs []error
	for i := len(t.levels) - 1; i >= 0; i-- {
		l := t.levels[i]
		l.stop()
		select {
		case <-l.ended:
		case <-time.After(stopTimeout):
			errs = append(errs, fmt.Errorf("%s did not stop within %s", l.name, stopTimeout))
		}
	}
	t.levels = nil
	for {
		select {
		case err := <-t.failed:
			errs = append(errs, err)
		default:
			return errors.Join(errs...)
		}
	}
}
