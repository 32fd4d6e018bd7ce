package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// lookForErrors is how often the server is asked whether it can write.
	lookForErrors = 2 * time.Second
	// retryWrite is how long after that the disk is tried, and between tries.
	retryWrite = time.Second
	// roomWanted is what must fit onto the disk before a server is started again.
	roomWanted = 2 * MaxPayload
)

// mended is closed when the server, which could not write a stream, is to be started
// again, because the disk takes data by now. nats-server keeps the first error of
// writing and refuses everything from then on, however much room there is later.
func (n *NATS) mended(ctx context.Context, srv *server.Server, pause time.Duration) <-chan struct{} {
	again := make(chan struct{})
	go func() {
		for broken := false; ; {
			wait := lookForErrors
			if broken {
				wait = pause
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if !broken {
				err := writeError(srv)
				if broken = err != nil; broken {
					n.cfg.Log.Error().Err(err).Str("dir", n.cfg.Dir).Msg("events cannot be stored, and calls to AWS are refused: " +
						"make room on this disk (df); the NATS server then starts again by itself")
				}
				continue
			}
			if n.tryWrite() == nil {
				n.cfg.Log.Warn().Msg("the disk takes data again: the NATS server starts again")
				close(again)
				return
			}
		}
	}()
	return again
}

// writeError is the error of writing that the server keeps, of the first stream that
// has one.
func writeError(srv *server.Server) error {
	if !srv.JetStreamEnabled() { // it disabled itself
		return errors.New("JetStream is disabled")
	}
	// The only way for a program to ask: the handler of a monitoring port, here without the port.
	r, err := http.NewRequest(http.MethodGet, server.HealthzPath+"?details=true", nil)
	if err != nil {
		return err
	}
	var w answer
	srv.HandleHealthz(&w, r)
	var health server.HealthStatus
	if err := json.Unmarshal([]byte(w.body.String()), &health); err != nil {
		return nil // it says nothing of streams
	}
	for _, e := range health.Errors {
		if e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") {
			return errors.New(e.Error)
		}
	}
	return nil
}

// forgetIndexes has the next server read how far streams go from their messages alone. What
// one writes down at its end counts the message that it could not write, and the next would
// go on behind that: a gap, as if somebody had taken an event out.
func (n *NATS) forgetIndexes() error {
	files, err := fs.Glob(os.DirFS(n.cfg.Dir), "jetstream/*/streams/*/msgs/index.db")
	for _, file := range files {
		err = errors.Join(err, os.Remove(filepath.Join(n.cfg.Dir, filepath.FromSlash(file))))
	}
	return err
}

// answer keeps what a handler answers.
type answer struct {
	header http.Header
	body   strings.Builder
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answer) WriteHeader(int)             {}
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// tryWrite finds out whether the disk takes data: its free space alone does not tell,
// for there are quotas, too.
func (n *NATS) tryWrite() (err error) {
	f, err := os.CreateTemp(n.cfg.Dir, ".room-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := io.CopyN(f, noise{}, roomWanted); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return f.Sync()
}

// noise is endless: zeros would take no room on a disk that compresses.
type noise struct{}

func (noise) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i*i>>3) ^ byte(i)
	}
	return len(b), nil
}
