package api

import "time"

// NewConsumer asks for somebody to be let read a part of a stream, or to be sent
// it.
type NewConsumer struct {
	Name string `json:"name"`
	// Filter is a NATS subject with wildcards: "audit.denied.>".
	Filter string `json:"filter"`
	// FromNow leaves out what the stream holds already.
	FromNow bool  `json:"from_now,omitempty"`
	Push    *Push `json:"push,omitempty"`
	// Receiver is set for one of Security Event Tokens that makes its stream itself.
	Receiver *Receiver `json:"receiver,omitempty"`
	// Secret of a webhook, "whsec_…"; empty has one made.
	Secret string `json:"secret,omitempty"`
	// Authorization is the value of that header for the endpoint: a secret, too.
	Authorization string `json:"authorization,omitempty"`
	// SkipConsent leaves out to ask the endpoint whether it wants the events.
	SkipConsent bool `json:"skip_consent,omitempty"`
}

// Push says where and how events are sent.
type Push struct {
	// Protocol is "webhook" or "ssf".
	Protocol string `json:"protocol"`
	URL      string `json:"url"`
	// Format of a webhook is "cloudevents" (default) or "ocsf".
	Format string `json:"format,omitempty"`
	// Batch is the most events of one request; 0 sends one that is no batch.
	Batch int `json:"batch,omitempty"`
	// Tries is after how many answers that refuse an event it is set aside.
	Tries int `json:"tries,omitempty"`
	// PerMinute bounds the requests; 0 does not.
	PerMinute int `json:"per_minute,omitempty"`
	// CAPEM are the certificates that the endpoint's is judged by.
	CAPEM string `json:"ca_pem,omitempty"`
	// Audience of Security Event Tokens, and how they name users: "iss_sub" or "email".
	Audience []string `json:"audience,omitempty"`
	Subject  string   `json:"subject,omitempty"`
}

// Receiver says what a receiver of Security Event Tokens may make of its stream
// (OpenID SSF 1.0, section 8). What has the name of a field of Push is the same.
type Receiver struct {
	Audience []string `json:"audience"`
	Subject  string   `json:"subject,omitempty"`
	// PushHosts are the hosts that it may have tokens pushed to; without any it polls.
	PushHosts []string `json:"push_hosts,omitempty"`
	Tries     int      `json:"tries,omitempty"`
	PerMinute int      `json:"per_minute,omitempty"`
	CAPEM     string   `json:"ca_pem,omitempty"`
}

// ConsumerMade answers a NewConsumer. It is the only time that the credentials
// are seen.
type ConsumerMade struct {
	Name   string `json:"name"`
	Stream string `json:"stream"`
	Filter string `json:"filter"`
	// NATS is absent where postern holds no key to make credentials with, or where
	// events are sent.
	NATS *NATSAccess `json:"nats,omitempty"`
	// Publish and Subscribe are what the credentials allow, or must allow.
	Publish   []string `json:"publish,omitempty"`
	Subscribe []string `json:"subscribe,omitempty"`
	Push      *Push    `json:"push,omitempty"`
	// Secret signs what a webhook is sent, or is the bearer token of a receiver.
	Secret string `json:"secret,omitempty"`
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
	// Push is set where events are sent, and so may be what follows.
	Push *Push `json:"push,omitempty"`
	// StreamStatus of a receiver that makes its stream itself: "enabled", "paused",
	// "disabled", or "none" where it has made none.
	StreamStatus string `json:"stream_status,omitempty"`
	// Unpolled counts the tokens that a receiver that polls has not acknowledged.
	Unpolled int `json:"unpolled,omitempty"`
	// Suspended says why nothing is sent until somebody resumes it.
	Suspended string `json:"suspended,omitempty"`
	// DeadLetters counts the events that the endpoint would not take.
	DeadLetters int      `json:"dead_letters,omitempty"`
	Failing     *Failing `json:"failing,omitempty"`
}

// Failing is how sending goes while it does not succeed.
type Failing struct {
	Since time.Time `json:"since"`
	// Tries of the event, or batch, in hand.
	Tries  int    `json:"tries"`
	Reason string `json:"reason"`
	// Next is when it is tried again.
	Next time.Time `json:"next"`
}

// Consumers is a list of them.
type Consumers struct {
	Consumers []Consumer `json:"consumers"`
}

// RotateSecret asks for another secret to sign what a consumer is sent.
type RotateSecret struct {
	// Secret of a webhook; empty has one made.
	Secret string `json:"secret,omitempty"`
	// Overlap is how long the former one holds, such as "24h" (default).
	Overlap string `json:"overlap,omitempty"`
	// Token asks for another token of a receiver instead.
	Token bool `json:"token,omitempty"`
}

// SecretRotated answers it. It is the only time that the secret is seen.
type SecretRotated struct {
	Secret      string    `json:"secret,omitempty"`
	FormerUntil time.Time `json:"former_until"`
}

// DeadLetter is an event that an endpoint would not take. It stands in the stream.
type DeadLetter struct {
	Stream     string    `json:"stream"`
	Sequence   uint64    `json:"sequence"`
	EventID    string    `json:"event_id,omitempty"`
	Tries      int       `json:"tries"`
	Reason     string    `json:"reason"`
	SetAsideAt time.Time `json:"set_aside_at"`
}

// DeadLetters is a list of them.
type DeadLetters struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
}

// Verification asks for a verification event to be sent to a receiver.
type Verification struct {
	// State comes back in the event.
	State string `json:"state,omitempty"`
}
