package api

import "time"

// NewConsumer asks for somebody to be let read a part of a stream.
type NewConsumer struct {
	Name string `json:"name"`
	// Filter is a NATS subject with wildcards: "audit.denied.>".
	Filter string `json:"filter"`
	// FromNow leaves out what the stream holds already.
	FromNow bool `json:"from_now,omitempty"`
}

// ConsumerMade answers a NewConsumer. It is the only time that the credentials
// are seen.
type ConsumerMade struct {
	Name   string `json:"name"`
	Stream string `json:"stream"`
	Filter string `json:"filter"`
	// NATS is absent where postern holds no key to make credentials with.
	NATS *NATSAccess `json:"nats,omitempty"`
	// Publish and Subscribe are what the credentials allow, or must allow.
	Publish   []string `json:"publish"`
	Subscribe []string `json:"subscribe"`
}

// Consumer is a consumer as people see it.
type Consumer struct {
	Name      string    `json:"name"`
	Stream    string    `json:"stream"`
	Filter    string    `json:"filter"`
	CreatedAt time.Time `json:"created_at"`
	By        string    `json:"by"`
	// Pending events have not been delivered yet, Unacknowledged ones have been.
	Pending        uint64 `json:"pending"`
	Unacknowledged uint64 `json:"unacknowledged"`
	// AckedTo is the sequence in the stream to which all of them are acknowledged.
	AckedTo uint64     `json:"acked_to"`
	LastAck *time.Time `json:"last_ack,omitempty"`
	// Fault says why nothing is known of its place in the stream.
	Fault string `json:"fault,omitempty"`
}

// Consumers is a list of them.
type Consumers struct {
	Consumers []Consumer `json:"consumers"`
}
