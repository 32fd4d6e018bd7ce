package access

import (
	"regexp"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Consumer is somebody who reads a part of a stream from outside.
type Consumer struct {
	events.ConsumerCreated
	CreatedAt time.Time
}

var (
	consumerName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)
	subjectTokens = regexp.MustCompile(`^[^\s.*>]+(\.(\*|[^\s.*>]+))*(\.>)?$`)
)

// CreateConsumer decides that somebody may read what fits a filter. A name
// counts once, for ever: credentials made for it never end by themselves, and
// would work again.
func CreateConsumer(s *State, env Env, name, filter string, fromNow bool) ([]events.Event, error) {
	if !consumerName.MatchString(name) {
		return nil, refuse(Invalid, "name %q: want letters, digits, - and _, 32 at most", name)
	}
	stream := events.StreamOf(filter)
	if stream == "" || !strings.Contains(filter, ".") || !subjectTokens.MatchString(filter) {
		return nil, refuse(Invalid, "filter %q: want a NATS subject that begins with access., audit., cloudtrail. or findings., such as audit.denied.>", filter)
	}
	if c, used := s.Consumers[name]; c != nil {
		return nil, refuse(Conflict, "there is a consumer %s already", name)
	} else if used {
		return nil, refuse(Conflict, "there was a consumer %s, and its credentials would work again: choose another name", name)
	}
	return env.one("", "", &events.ConsumerCreated{Name: name, Stream: stream, Filter: filter, FromNow: fromNow, By: env.By}), nil
}

// DeleteConsumer ends a consumer.
func DeleteConsumer(s *State, env Env, name string) ([]events.Event, error) {
	if s.Consumers[name] == nil {
		return nil, refuse(NotFound, "there is no consumer %s", name)
	}
	return env.one("", "", &events.ConsumerDeleted{Name: name, By: env.By}), nil
}
