package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/posternhq/postern/broker/api"
)

// away says whether an error of the broker's is its absence: one that is out of reach, or
// reads its history, may come back; one that refuses, be it the certificate, has spoken.
func away(err error) bool {
	if no, said := errors.AsType[*api.Error](err); said {
		return no.Status >= http.StatusInternalServerError
	}
	alert, said := errors.AsType[*net.OpError](err)
	return err != nil && !(said && alert.Op == "remote error") // crypto/tls's for the other side's alerts
}

// absence is that the broker was away a moment ago, so that one command finds out once, and
// says it once. A nil one never is.
type absence struct {
	say func(format string, args ...any)

	mu   sync.Mutex
	last error
	ends time.Time
}

// absent is for how long a broker that was away is not asked again.
const absent = 30 * time.Second

// still is why the broker is not to be asked, nil where it may be there.
func (a *absence) still() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().After(a.ends) {
		return nil
	}
	return a.last
}

// excuses tells whether a session that runs goes on although the broker was asked about it
// and answered with err: where it is away. What the session may do the proxy decides, now as
// ever.
func (a *absence) excuses(ctx context.Context, err error, s *appSession) bool {
	if a == nil || ctx.Err() != nil || !away(err) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().After(a.ends) {
		a.say("Going on with the session on %s, until %s, without the broker, which is away: %v", s.App, until(s.ExpiresAt), err)
	}
	a.last, a.ends = err, time.Now().Add(absent)
	return true
}
