package embedded

import (
	"fmt"

	"github.com/rs/zerolog"
)

// natsLog hands the server's log lines to ours. Notices are debug lines: they
// are about start-up, and of no use to whoever runs postern.
type natsLog struct {
	log   zerolog.Logger
	fatal chan error
}

func (l *natsLog) Noticef(f string, v ...any) { l.log.Debug().Msgf(f, v...) }
func (l *natsLog) Warnf(f string, v ...any)   { l.log.Warn().Msgf(f, v...) }
func (l *natsLog) Errorf(f string, v ...any)  { l.log.Error().Msgf(f, v...) }
func (l *natsLog) Debugf(f string, v ...any)  { l.log.Debug().Msgf(f, v...) }
func (l *natsLog) Tracef(f string, v ...any)  { l.log.Trace().Msgf(f, v...) }

// Fatalf keeps the error for Run: nats-server would end the process here.
func (l *natsLog) Fatalf(f string, v ...any) {
	err := fmt.Errorf(f, v...)
	for _, x := range v {
		if cause, ok := x.(error); ok { // the server's format prints it, and wraps nothing
			err = fatalError{err.Error(), cause}
		}
	}
	select {
	case l.fatal <- err:
	default:
	}
}

type fatalError struct {
	said  string
	cause error
}

func (e fatalError) Error() string { return e.said }
func (e fatalError) Unwrap() error { return e.cause }
