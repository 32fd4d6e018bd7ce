package access

import (
	"time"

	"github.com/posternhq/postern/events"
)

// Env is what a decision needs besides the command and the state.
type Env struct {
	Now time.Time
	// NewID returns a new ULID.
	NewID func() string
	// By is who wants it: a user's name, or a name of postern's own.
	By string
}

// event makes a payload an event of one user-visible action.
func (env Env) event(correlation, cause string, p events.Payload) events.Event {
	return events.Event{
		Meta: events.Meta{ID: env.NewID(), Time: env.Now.UTC(), CorrelationID: correlation, CausationID: cause},
		Data: p,
	}
}

func (env Env) one(correlation, cause string, p events.Payload) []events.Event {
	return []events.Event{env.event(correlation, cause, p)}
}
