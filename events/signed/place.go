package signed

import (
	"errors"
	"fmt"
	"strings"

	"github.com/posternhq/postern/events"
)

var (
	// ErrRepeated is wrapped by Place's error for an event that stood on its
	// channel before: whoever may publish can bring that about, and it changes
	// nothing.
	ErrRepeated = errors.New("it is a copy of an older event")
	// ErrGap is wrapped by Place's error for an event before which others are
	// missing: that takes power over the stream itself.
	ErrGap = errors.New("events before it are missing")
)

// Place says whether an event with a good signature may follow head, the
// revision of the last genuine event of its channel (0: there is none).
func Place(e events.Event, head uint64) error {
	switch {
	case e.Sequence == head+1:
		return nil
	case e.Sequence <= head:
		return fmt.Errorf("%w: it is revision %d, and %d is the last", ErrRepeated, e.Sequence, head)
	}
	return fmt.Errorf("%w: it is revision %d, and %d is the last", ErrGap, e.Sequence, head)
}

// Ordered is whether the events of a channel have places. Sign-ins and signs of
// life have none: they are recorded without a look at the others, and say the
// same however often they stand there.
func Ordered(channel string) bool {
	return !strings.HasPrefix(channel, "access.signin.") && !strings.HasPrefix(channel, "access.agent.") && !strings.HasPrefix(channel, "access.proxy.")
}
