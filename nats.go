package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/events/trouble"
)

// connectNATS connects with a credentials file, for as long as the process
// lives: it keeps trying when the server goes away.
func connectNATS(url, credsFile, caFile string, opts ...nats.Option) (*nats.Conn, error) {
	if credsFile != "" {
		creds, err := os.ReadFile(credsFile)
		if err != nil {
			return nil, fmt.Errorf("nats credentials: %w", err)
		}
		own, err := embedded.ClientOptions(creds)
		if err != nil {
			return nil, fmt.Errorf("nats credentials %s: %w", credsFile, err)
		}
		opts = append(opts, own...)
	}
	if caFile != "" {
		opts = append(opts, nats.RootCAs(caFile))
	}
	return dialNATS(url, opts)
}

// reconnectWait is between two tries at a server that is away.
const reconnectWait = 250 * time.Millisecond

func dialNATS(addr string, opts []nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{
		nats.Name("postern"), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.Timeout(5 * time.Second),
		nats.ReconnectBufSize(-1), // what failed for want of NATS must not come to pass when it is back
		// Else nats.go gives up for good once a server has refused it twice: one whose
		// accounts are not there yet, say.
		nats.IgnoreAuthErrorAbort(),
	}, opts...)
	nc, err := nats.Connect(addr, opts...)
	if err != nil {
		if bad, ok := errors.AsType[*url.Error](err); ok { // it has the address, too
			err = bad.Err
		}
		return nil, fmt.Errorf("connect to NATS at %s: %w", withoutUser(addr), err)
	}
	return nc, nil
}

// refusedPause is between two tries at a server that does not take the credentials: it
// logs each of them.
const refusedPause = 5 * time.Second

// natsErrors logs what nats.go would else write to standard error in its own form. Where the
// server refuses the credentials it says so once, and has it asked less often.
func natsErrors(log zerolog.Logger) nats.Option {
	var refused trouble.Said // an error handler is called for one after the other
	var last atomic.Int64    // when, in Unix nanoseconds
	wait := nats.CustomReconnectDelay(func(int) time.Duration {
		if time.Since(time.Unix(0, last.Load())) < 2*refusedPause {
			return refusedPause
		}
		return reconnectWait + rand.N(reconnectWait/2)
	})
	said := nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
		e := log.Warn().Err(err)
		for _, no := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
			if errors.Is(err, no) {
				last.Store(time.Now().UnixNano())
				if refused.News(err) {
					e.Msg("NATS does not take this service's credentials; trying again: look at nats.creds_file, and at the server's accounts")
				}
				return
			}
		}
		if sub != nil {
			e = e.Str("subject", sub.Subject)
		}
		e.Msg("NATS")
	})
	return func(o *nats.Options) error { return errors.Join(wait(o), said(o)) }
}

// links are the connections of this process to NATS, of which the log says when the
// first is lost and when all are there again.
type links struct {
	mu   sync.Mutex
	lost map[*nats.Conn]bool
}

// watchNATS logs what becomes of a connection, and what it complains about. A lost one is
// made again, for as long as the process lives.
func (s *services) watchNATS() nats.Option {
	return func(o *nats.Options) error {
		o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
			if nc.IsClosed() || s.stopping.Load() {
				return // by us
			}
			s.links.mu.Lock()
			defer s.links.mu.Unlock()
			if len(s.links.lost) == 0 {
				s.log.Warn().Err(err).Msg("NATS is away; trying again")
				s.links.lost = map[*nats.Conn]bool{}
			}
			s.links.lost[nc] = true
		}
		back := func(nc *nats.Conn) {
			s.links.mu.Lock()
			defer s.links.mu.Unlock()
			if !s.links.lost[nc] {
				return
			}
			if delete(s.links.lost, nc); len(s.links.lost) == 0 && !s.stopping.Load() {
				s.log.Info().Msg("NATS is back")
			}
		}
		o.ReconnectedCB, o.ClosedCB = back, back
		return natsErrors(s.log)(o)
	}
}
