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
	select {
	case l.fatal <- fmt.Errorf(f, v...):
	default:
	}
}
