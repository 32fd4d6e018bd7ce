// Package events is the one vocabulary that postern's rooms share: the types
// of events, their payloads, the NATS subjects they travel on and their
// CloudEvents form. It does no I/O; package journal does.
//
// An event is a fact in the past tense: immutable, complete (a reader needs no
// second look-up to understand it) and free of secrets. A released payload
// never changes its meaning; a new meaning is a new type with a new version.
package events

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// ContentType is the media type of every message on postern's streams: the
// structured mode of the CloudEvents NATS binding. The body is the whole event.
const ContentType = "application/cloudevents+json"

// Payload is the data of an event. Every payload type knows its event type,
// the NATS subject it travels on and the name of the thing it is about.
type Payload interface {
	// Type is the CloudEvents type, "io.postern.<aggregate>.<verb>.v1".
	Type() Type
	// Channel is the NATS subject, such as "access.session.01JD…".
	Channel() string
	// Thing is the CloudEvents subject, such as "session/01JD…".
	Thing() string
}

// Meta is what an event says about itself besides its payload.
type Meta struct {
	// ID is unique among all events and is the JetStream message id.
	ID string
	// Source is a URI reference to the producer: "/postern/broker/NAME".
	Source string
	// Time is when it happened, by the producer's clock.
	Time time.Time
	// CorrelationID joins all events of one user-visible action: the ID of the first, the
	// request or the session. CloudTrail's records have none.
	CorrelationID string
	// CausationID is the ID of the event that made this one happen.
	CausationID string
	// Sequence orders the events of one Channel (ACCESS: the revision of the
	// aggregate) or of one Source (elsewhere), from 1. Zero means unset.
	Sequence uint64
}

// Event is a payload with its meta data.
type Event struct {
	Meta
	Data Payload
}

// ErrUnknownType is wrapped by Decode's error for an event whose type this
// version does not know. The proxy fails closed on it; the auditor keeps the
// event as it is.
var ErrUnknownType = errors.New("unknown event type")

// Encode returns e in the structured JSON form of CloudEvents 1.0. It is on the
// path of every AWS request, so it writes what the CloudEvents SDK would in one
// pass; a test holds the two together.
func Encode(e Event) ([]byte, error) {
	switch {
	case e.Data == nil:
		return nil, fmt.Errorf("encode event %s: no data", e.ID)
	case e.ID == "":
		return nil, errors.New("encode event: no id")
	case e.Source == "":
		return nil, fmt.Errorf("encode event %s: no source", e.ID)
	case e.Time.IsZero():
		return nil, fmt.Errorf("encode event %s: no time", e.ID)
	}
	// Most events of requests fit.
	b, err := appendEvent(make([]byte, 0, 1536), &e)
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return b, nil
}

// Decode reads an event from the structured JSON form of CloudEvents 1.0.
// An unknown type gives an error that wraps ErrUnknownType, with the meta data
// filled in.
func Decode(b []byte) (Event, error) {
	e, typ, data, ok := quickDecode(b)
	if !ok {
		var err error
		if e, typ, data, err = sdkDecode(b); err != nil {
			return e, err
		}
	}
	p, err := DecodePayload(typ, data, "")
	if err != nil {
		return e, fmt.Errorf("decode event %s: %w", e.ID, err)
	}
	e.Data = p
	return e, nil
}

// sdkDecode reads any CloudEvent.
func sdkDecode(b []byte) (Event, Type, []byte, error) {
	var ce cloudevents.Event
	if err := ce.UnmarshalJSON(b); err != nil {
		return Event{}, "", nil, fmt.Errorf("decode event: %w", err)
	}
	if err := ce.Validate(); err != nil {
		return Event{}, "", nil, fmt.Errorf("decode event: %w", err)
	}
	e := Event{Meta: Meta{ID: ce.ID(), Source: ce.Source(), Time: ce.Time()}}
	ext := ce.Extensions()
	e.CorrelationID, _ = ext["correlationid"].(string)
	e.CausationID, _ = ext["causationid"].(string)
	if s, ok := ext["sequence"].(string); ok {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return e, "", nil, fmt.Errorf("decode event %s: extension sequence %q is not a number", e.ID, s)
		}
		e.Sequence = n
	}
	return e, Type(ce.Type()), ce.Data(), nil
}

// FormatSequence writes n so that text order is number order: 20 digits, as
// the CloudEvents sequence extension asks for.
func FormatSequence(n uint64) string {
	const width = 20
	b := make([]byte, 0, 2*width)
	b = append(b, "00000000000000000000"...)
	b = strconv.AppendUint(b, n, 10)
	return string(b[len(b)-width:])
}
