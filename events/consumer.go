package events

// ConsumerCreated says that somebody outside may read a part of a stream from
// now on, by a durable consumer of that name and credentials made for it.
type ConsumerCreated struct {
	Name   string `json:"name"`
	Stream string `json:"stream"`
	// Filter is the NATS subject, with wildcards, of what they read.
	Filter string `json:"filter"`
	// FromNow leaves out what the stream held before.
	FromNow bool   `json:"from_now,omitempty"`
	By      string `json:"by"`
}

// ConsumerDeleted ends it: the durable consumer is gone, and with it all that
// its credentials could do.
type ConsumerDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *ConsumerCreated) Channel() string { return channel("access", "consumer", e.Name) }
func (e *ConsumerCreated) Thing() string   { return "consumer/" + e.Name }
func (e *ConsumerDeleted) Channel() string { return channel("access", "consumer", e.Name) }
func (e *ConsumerDeleted) Thing() string   { return "consumer/" + e.Name }

func (*ConsumerCreated) Type() Type { return TypeConsumerCreated }
func (*ConsumerDeleted) Type() Type { return TypeConsumerDeleted }
