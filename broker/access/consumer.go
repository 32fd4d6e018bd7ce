package access

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/posternhq/postern/events"
)

// Consumer is somebody who reads a part of a stream from outside, or is sent it.
type Consumer struct {
	events.ConsumerCreated
	CreatedAt time.Time
	// Suspended says why nothing is sent.
	Suspended string
	// Changes counts what whoever sends has to begin anew for, such as another secret.
	Changes int
	// Signals is the stream that a receiver made, nil without one.
	Signals *Signals
	// FormerToken of a receiver, by its SHA-256, holds until FormerUntil.
	FormerToken string
	FormerUntil time.Time
	// SetAside are the events that the endpoint would not take, by their sequence.
	SetAside map[uint64]SetAside
}

// SetAside is an event that waits to be sent again.
type SetAside struct {
	events.ConsumerEventSetAside
	At time.Time
}

var (
	consumerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)
	// ownConsumer are the names of postern's own durable consumers, of now and to come.
	// Others begin with a mark that consumerName does not take.
	ownConsumer = regexp.MustCompile(`(?i)^(postern|broker|proxy|auditor|notary)-`)
)

func (s *State) applyConsumer(e events.Event, seq uint64) {
	change := func(name string, f func(*Consumer)) {
		if old := s.Consumers[name]; old != nil {
			k := *old
			f(&k)
			s.Consumers[name] = &k
		}
	}
	switch d := e.Data.(type) {
	case *events.ConsumerCreated:
		s.Consumers[d.Name] = &Consumer{ConsumerCreated: *d, CreatedAt: e.Time}
	case *events.ConsumerDeleted:
		s.Consumers[d.Name] = nil
	case *events.ConsumerSecretRotated:
		change(d.Name, func(k *Consumer) {
			if d.TokenSHA256 == "" {
				k.Changes++
				return
			}
			if k.Receiver != nil {
				r := *k.Receiver
				k.FormerToken, k.FormerUntil = r.TokenSHA256, d.FormerUntil
				r.TokenSHA256 = d.TokenSHA256
				k.Receiver = &r
			}
		})
	case *events.ConsumerSuspended:
		change(d.Name, func(k *Consumer) { k.Suspended = d.Reason })
	case *events.ConsumerResumed:
		change(d.Name, func(k *Consumer) { k.Suspended = "" })
	case *events.ConsumerEventSetAside:
		change(d.Name, func(k *Consumer) {
			k.SetAside = maps.Clone(k.SetAside)
			if k.SetAside == nil {
				k.SetAside = map[uint64]SetAside{}
			}
			k.SetAside[d.StreamSequence] = SetAside{*d, e.Time}
		})
	case *events.ConsumerEventReplayed:
		change(d.Name, func(k *Consumer) {
			k.SetAside = maps.Clone(k.SetAside)
			delete(k.SetAside, d.StreamSequence)
		})
	default:
		s.applySignals(e, seq)
	}
}

// CreateConsumer decides that somebody may read what fits a filter. A name
// counts once, for ever: credentials made for it never end by themselves, and
// would work again. What Push holds, package push has checked.
func CreateConsumer(s *State, env Env, c events.ConsumerCreated) ([]events.Event, error) {
	if !consumerName.MatchString(c.Name) {
		return nil, refuse(Invalid, "name %q: want letters, digits, - and _, 32 at most", c.Name)
	}
	if prefix := ownConsumer.FindString(c.Name); prefix != "" {
		return nil, refuse(Invalid, "name %q: names with %s are those of postern's own consumers: choose another name", c.Name, prefix)
	}
	stream, err := events.FilterStream(c.Filter)
	if err != nil {
		return nil, refuse(Invalid, "%v", err)
	}
	if old, used := s.Consumers[c.Name]; old != nil {
		return nil, refuse(Conflict, "there is a consumer %s already", c.Name)
	} else if used {
		return nil, refuse(Conflict, "there was a consumer %s, and its credentials would work again: choose another name", c.Name)
	}
	c.Stream, c.By = stream, env.By
	return env.one("", "", &c), nil
}

// DeleteConsumer ends a consumer.
func DeleteConsumer(s *State, env Env, name string) ([]events.Event, error) {
	if s.Consumers[name] == nil {
		return nil, refuse(NotFound, "there is no consumer %s", name)
	}
	return env.one("", "", &events.ConsumerDeleted{Name: name, By: env.By}), nil
}

// pushed finds a consumer that is sent its events.
func (s *State) pushed(name string) (*Consumer, error) {
	k := s.Consumers[name]
	switch {
	case k == nil:
		return nil, refuse(NotFound, "there is no consumer %s", name)
	case k.Push == nil && k.Receiver != nil:
		return nil, refuse(Conflict, "receiver %s has made no stream", name)
	case k.Push == nil:
		return nil, refuse(Invalid, "consumer %s reads by NATS: nothing is sent to it", name)
	}
	return k, nil
}

// RotateSecret decides that another secret signs what a consumer is sent or, where
// token is not "", that a receiver shows the token with that SHA-256.
func RotateSecret(s *State, env Env, name string, formerUntil time.Time, token string) ([]events.Event, error) {
	if k := s.Consumers[name]; k == nil || k.Receiver == nil {
		if _, err := s.pushed(name); err != nil {
			return nil, err
		}
		if token != "" {
			return nil, refuse(Invalid, "consumer %s is no receiver that makes its stream: it has no token", name)
		}
	}
	return env.one("", "", &events.ConsumerSecretRotated{Name: name, FormerUntil: formerUntil.UTC(), TokenSHA256: token, By: env.By}), nil
}

// mostUnfit is from how many that wait on no more are kept of messages that nothing can be
// sent of: whoever may publish makes any number of them.
const mostUnfit = 1000

// SetEventAside decides that an event waits. One that waits already stays.
func SetEventAside(s *State, env Env, d events.ConsumerEventSetAside) ([]events.Event, error) {
	k, err := s.pushed(d.Name)
	if err != nil {
		return nil, err
	}
	if _, waits := k.SetAside[d.StreamSequence]; waits || d.Tries == 0 && len(k.SetAside) >= mostUnfit {
		return nil, nil
	}
	d.Stream, d.By = k.Stream, env.By
	return env.one("", "", &d), nil
}

// ReplayedEvent decides that an event that was set aside was taken.
func ReplayedEvent(s *State, env Env, name string, seq uint64) ([]events.Event, error) {
	k, err := s.pushed(name)
	if err != nil {
		return nil, err
	}
	if _, waits := k.SetAside[seq]; !waits {
		return nil, nil
	}
	return env.one("", "", &events.ConsumerEventReplayed{Name: name, Stream: k.Stream, StreamSequence: seq, By: env.By}), nil
}

// Suspend decides that nothing is sent to a consumer.
func Suspend(s *State, env Env, name, reason string) ([]events.Event, error) {
	k, err := s.pushed(name)
	if err != nil || k.Suspended != "" {
		return nil, err
	}
	return env.one("", "", &events.ConsumerSuspended{Name: name, Reason: reason, By: env.By}), nil
}

// Resume ends that.
func Resume(s *State, env Env, name string) ([]events.Event, error) {
	k, err := s.pushed(name)
	if err != nil {
		return nil, err
	}
	if k.Suspended == "" {
		return nil, refuse(Conflict, "consumer %s is not suspended", name)
	}
	return env.one("", "", &events.ConsumerResumed{Name: name, By: env.By}), nil
}

// Waiting are the events of a consumer that were set aside, by their sequence.
func (k *Consumer) Waiting() []SetAside {
	out := make([]SetAside, 0, len(k.SetAside))
	for _, seq := range slices.Sorted(maps.Keys(k.SetAside)) {
		out = append(out, k.SetAside[seq])
	}
	return out
}
