package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// ErrMayNot is wrapped by Broadcast's error once the server has refused a message to the
// subject on this connection.
var ErrMayNot = errors.New("these NATS credentials may not publish there")

// Broadcast sends a message to whoever hears a subject, which is none of a stream: nothing
// keeps it, and nobody knows whether it arrived. It waits for no answer.
func (j *Journal) Broadcast(subject string, body []byte) error {
	nc := j.conn.Load().nc
	// The server says no only afterwards, and each no is a line in the log.
	if err := nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `Publish to "`+subject+`"`) {
		return fmt.Errorf("broadcast on %s: %w", subject, ErrMayNot)
	}
	if err := nc.Publish(subject, body); err != nil {
		return fmt.Errorf("broadcast on %s: %w", subject, err)
	}
	return nil
}

// Hear calls heard with every message to a subject that comes until ctx ends, one at a
// time but where the connection changes. What comes faster than it is heard is lost, and
// so is what comes while there is no connection.
func (j *Journal) Hear(ctx context.Context, subject string, heard func(body []byte)) {
	for ctx.Err() == nil {
		c := j.conn.Load()
		sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) { heard(m.Data) })
		if err == nil {
			_ = sub.SetPendingLimits(4096, 4<<20) // as Unsubscribe, it fails where the connection is closed:
		}
		select { // then another will take its place
		case <-c.gone:
		case <-ctx.Done():
		}
		if err == nil {
			_ = sub.Unsubscribe()
		}
	}
}
