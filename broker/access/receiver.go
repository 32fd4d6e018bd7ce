package access

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/posternhq/postern/events"
)

// Signals is the stream of Security Event Tokens that a receiver made.
type Signals struct {
	events.ConsumerStreamConfigured
	// Since is the sequence in ACCESS after which its events stand.
	Since uint64
	// Removed are the users of whom it wanted to hear nothing, the last time.
	Removed map[string]Removal
}

// Removal is from which sequence in ACCESS on to which other a user is left out; To is 0
// while they are.
type Removal struct{ From, To uint64 }

// LeavesOut reports whether an event of a sequence that is about a user is left out.
func (x *Signals) LeavesOut(user string, at uint64) bool {
	r := x.Removed[user]
	return r.From != 0 && r.From < at && (r.To == 0 || at < r.To)
}

// maxEventsRequested bounds a list that a receiver writes.
const maxEventsRequested = 100

// Holds reports whether events are kept for a consumer: not for a receiver without a
// stream, or with one that is disabled.
func (k *Consumer) Holds() bool {
	return k.Receiver == nil || k.Signals != nil && k.Signals.Status != events.StreamDisabled
}

// Sends reports whether events are to go to a consumer now.
func (k *Consumer) Sends() bool {
	return k.Push != nil && k.Suspended == "" && (k.Signals == nil || k.Signals.Status == events.StreamEnabled)
}

// Signaled reports whether a consumer is told signals, pushed or polled for.
func (k *Consumer) Signaled() bool {
	return k.Receiver != nil || k.Push != nil && k.Push.Protocol == events.PushSSF
}

func (s *State) applySignals(e events.Event, seq uint64) {
	change := func(name, streamID string, f func(*Consumer)) {
		if old := s.Consumers[name]; old != nil && old.Receiver != nil && (old.Signals == nil || streamID == "" || old.Signals.StreamID == streamID) {
			k := *old
			f(&k)
			s.Consumers[name] = &k
		}
	}
	remove := func(k *Consumer, user string, r Removal) {
		if k.Signals != nil {
			x := *k.Signals
			x.Removed = maps.Clone(x.Removed)
			if x.Removed == nil {
				x.Removed = map[string]Removal{}
			}
			x.Removed[user] = r
			k.Signals = &x
		}
	}
	switch d := e.Data.(type) {
	case *events.ConsumerStreamConfigured:
		change(d.Name, d.StreamID, func(k *Consumer) {
			x := &Signals{ConsumerStreamConfigured: *d, Since: seq}
			if old := k.Signals; old != nil {
				x.Removed = old.Removed
				if old.Status != events.StreamDisabled {
					x.Since = old.Since
				}
			}
			k.Changes++
			k.Signals, k.Suspended = x, ""
			k.Push = &events.Push{Protocol: events.PushSSF, URL: d.URL, Tries: k.Receiver.Tries, PerMinute: k.Receiver.PerMinute,
				CAPEM: k.Receiver.CAPEM, Audience: k.Receiver.Audience, Subject: k.Receiver.Subject}
		})
	case *events.ConsumerStreamDeleted:
		change(d.Name, d.StreamID, func(k *Consumer) { k.Changes++; k.Signals, k.Push, k.Suspended, k.SetAside = nil, nil, "", nil })
	case *events.ConsumerSubjectRemoved:
		change(d.Name, d.StreamID, func(k *Consumer) { remove(k, d.User, Removal{From: seq}) })
	case *events.ConsumerSubjectAdded:
		change(d.Name, d.StreamID, func(k *Consumer) {
			if k.Signals != nil {
				remove(k, d.User, Removal{k.Signals.Removed[d.User].From, seq})
			}
		})
	}
}

// Stream finds a receiver's stream by its id.
func (s *State) Stream(name, id string) (*Consumer, error) {
	k := s.Consumers[name]
	if k == nil || k.Signals == nil || k.Signals.StreamID != id {
		return nil, refuse(NotFound, "there is no stream %q of this receiver", id)
	}
	return k, nil
}

// ConfigureStream decides what a receiver's stream is: a new one where want has no id,
// of which each receiver has one. Package push has checked the address.
func ConfigureStream(s *State, env Env, want events.ConsumerStreamConfigured) ([]events.Event, error) {
	k := s.Consumers[want.Name]
	switch {
	case k == nil || k.Receiver == nil:
		return nil, refuse(NotFound, "there is no receiver %s", want.Name)
	case want.StreamID == "" && k.Signals != nil:
		return nil, refuse(Conflict, "there is a stream %s already, and a receiver has one", k.Signals.StreamID)
	case want.StreamID == "":
		want.StreamID = env.NewID()
	default:
		if _, err := s.Stream(want.Name, want.StreamID); err != nil {
			return nil, err
		}
	}
	switch {
	case want.Status != events.StreamEnabled && want.Status != events.StreamPaused && want.Status != events.StreamDisabled:
		return nil, refuse(Invalid, "status %q: want enabled, paused or disabled", want.Status)
	case len(want.EventsRequested) > maxEventsRequested:
		return nil, refuse(Invalid, "events_requested: more than %d", maxEventsRequested)
	case len(want.Description) > maxText:
		return nil, refuse(Invalid, "description: more than %d bytes", maxText)
	case len(want.Reason) > maxText:
		return nil, refuse(Invalid, "reason: more than %d bytes", maxText)
	}
	switch want.Method {
	case events.DeliverPoll:
		want.URL = ""
	case events.DeliverPush:
		u, err := url.Parse(want.URL)
		if err != nil || u.Scheme != "https" || !slices.ContainsFunc(k.Receiver.PushHosts, func(h string) bool { return strings.EqualFold(h, u.Hostname()) }) {
			e := refuse(Denied, "delivery: this receiver may have nothing pushed to that address")
			e.Next = "poll (" + events.DeliverPoll + "), or ask postern's operator for another receiver with --push-host"
			return nil, e
		}
	default:
		return nil, refuse(Invalid, "delivery: method %q: want %s or %s", want.Method, events.DeliverPush, events.DeliverPoll)
	}
	want.By = env.By
	if k.Signals != nil && k.Suspended == "" && reflect.DeepEqual(k.Signals.ConsumerStreamConfigured, want) {
		return nil, nil
	}
	return env.one("", "", &want), nil
}

// DeleteStream ends a receiver's stream.
func DeleteStream(s *State, env Env, name, id string) ([]events.Event, error) {
	if _, err := s.Stream(name, id); err != nil {
		return nil, err
	}
	return env.one("", "", &events.ConsumerStreamDeleted{Name: name, StreamID: id, By: env.By}), nil
}

// ChangeSubject decides that a receiver hears nothing of a user, or hears of them again.
func ChangeSubject(s *State, env Env, name, id, user string, removed bool) ([]events.Event, error) {
	k, err := s.Stream(name, id)
	if err != nil {
		return nil, err
	}
	if r := k.Signals.Removed[user]; removed == (r.From != 0 && r.To == 0) {
		return nil, nil
	}
	if removed {
		return env.one("", "", &events.ConsumerSubjectRemoved{Name: name, StreamID: id, User: user, By: env.By}), nil
	}
	return env.one("", "", &events.ConsumerSubjectAdded{Name: name, StreamID: id, User: user, By: env.By}), nil
}
