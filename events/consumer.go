package events

import "time"

// ConsumerCreated says that somebody outside may read a part of a stream from
// now on, by a durable consumer of that name: with credentials made for it, or,
// where Push is set, by being sent what is there.
type ConsumerCreated struct {
	Name   string `json:"name"`
	Stream string `json:"stream"`
	// Filter is the NATS subject, with wildcards, of what they read.
	Filter string `json:"filter"`
	// FromNow leaves out what the stream held before.
	FromNow bool  `json:"from_now,omitempty"`
	Push    *Push `json:"push,omitempty"`
	// Receiver is set where a receiver of Security Event Tokens makes its stream.
	Receiver *Receiver `json:"receiver,omitempty"`
	By       string    `json:"by"`
}

// Receiver says what a receiver of Security Event Tokens may make of its stream
// (OpenID SSF 1.0, section 8).
type Receiver struct {
	// TokenSHA256 is in hex; the token itself is in no event.
	TokenSHA256 string   `json:"token_sha256"`
	Audience    []string `json:"audience"`
	// Subject is how tokens name users: "iss_sub" or "email".
	Subject string `json:"subject"`
	// PushHosts are the hosts that it may have tokens pushed to; without any it polls.
	PushHosts []string `json:"push_hosts,omitempty"`
	// CAPEM, Tries and PerMinute are as in Push.
	CAPEM     string `json:"ca_pem,omitempty"`
	Tries     int    `json:"tries"`
	PerMinute int    `json:"per_minute,omitempty"`
}

// Delivery methods of Security Event Tokens, and statuses of a stream of them.
const (
	DeliverPush = "urn:ietf:rfc:8935"
	DeliverPoll = "urn:ietf:rfc:8936"

	StreamEnabled  = "enabled"
	StreamPaused   = "paused"   // tokens are held
	StreamDisabled = "disabled" // and not even that
)

// ConsumerStreamConfigured says that a receiver made its stream, or changed it: this is
// all of it.
type ConsumerStreamConfigured struct {
	Name     string `json:"name"`
	StreamID string `json:"stream_id"`
	// EventsRequested are URIs of event types, those that nobody knows included; none
	// are all.
	EventsRequested []string `json:"events_requested,omitempty"`
	// Method is DeliverPush, then URL is where, or DeliverPoll.
	Method      string `json:"method"`
	URL         string `json:"url,omitempty"`
	Description string `json:"description,omitempty"`
	Status      string `json:"status"`
	// Reason is the receiver's, for the status.
	Reason string `json:"reason,omitempty"`
	By     string `json:"by"`
}

// ConsumerStreamDeleted ends a receiver's stream; it may make another.
type ConsumerStreamDeleted struct {
	Name     string `json:"name"`
	StreamID string `json:"stream_id"`
	By       string `json:"by"`
}

// ConsumerSubjectRemoved says that a receiver wants to hear nothing of a user any more.
type ConsumerSubjectRemoved struct {
	Name     string `json:"name"`
	StreamID string `json:"stream_id"`
	User     string `json:"user"`
	By       string `json:"by"`
}

// ConsumerSubjectAdded says that it wants to again.
type ConsumerSubjectAdded struct {
	Name     string `json:"name"`
	StreamID string `json:"stream_id"`
	User     string `json:"user"`
	By       string `json:"by"`
}

// Protocols of Push: CloudEvents (or OCSF) over HTTP, Security Event Tokens by RFC 8935.
const (
	PushWebhook = "webhook"
	PushSSF     = "ssf"
)

// Push says where and how a consumer's events are sent. Its secrets are in no
// event.
type Push struct {
	// Protocol is PushWebhook or PushSSF.
	Protocol string `json:"protocol"`
	URL      string `json:"url"`
	// Format of a webhook's bodies is "cloudevents" or "ocsf".
	Format string `json:"format,omitempty"`
	// Batch is the most events of one request to a webhook; 0 is one that is no batch.
	Batch int `json:"batch,omitempty"`
	// Tries is after how many answers that refuse an event it is set aside.
	Tries int `json:"tries"`
	// PerMinute bounds the requests; 0 does not.
	PerMinute int `json:"per_minute,omitempty"`
	// CAPEM are the certificates that the endpoint's is judged by; empty is the system's.
	CAPEM string `json:"ca_pem,omitempty"`
	// Audience of Security Event Tokens, and how they name users: "iss_sub" or "email".
	Audience []string `json:"audience,omitempty"`
	Subject  string   `json:"subject,omitempty"`
}

// ConsumerDeleted ends it: the durable consumer is gone, and with it all that
// its credentials could do.
type ConsumerDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

// ConsumerSecretRotated says that what is pushed is signed by another secret
// from now on. The former one holds until FormerUntil: a webhook's signs, too, a
// token's is still published.
type ConsumerSecretRotated struct {
	Name        string    `json:"name"`
	FormerUntil time.Time `json:"former_until"`
	// TokenSHA256 is set where it is the receiver's token that another took the place
	// of, and not what signs.
	TokenSHA256 string `json:"token_sha256,omitempty"`
	By          string `json:"by"`
}

// ConsumerEventSetAside says that an endpoint would not take an event, which
// waits to be sent again; what follows it went on. The event itself is in the
// stream.
type ConsumerEventSetAside struct {
	Name   string `json:"name"`
	Stream string `json:"stream"`
	// StreamSequence is where in the stream the event is.
	StreamSequence uint64 `json:"stream_sequence"`
	EventID        string `json:"event_id,omitempty"`
	Tries          int    `json:"tries"`
	// Reason is what the endpoint answered, or what was wrong with the event.
	Reason string `json:"reason"`
	By     string `json:"by"`
}

// ConsumerEventReplayed says that an event that was set aside was taken.
type ConsumerEventReplayed struct {
	Name           string `json:"name"`
	Stream         string `json:"stream"`
	StreamSequence uint64 `json:"stream_sequence"`
	By             string `json:"by"`
}

// ConsumerSuspended says that nothing is sent until somebody resumes it: the
// endpoint is gone, or takes nothing.
type ConsumerSuspended struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	By     string `json:"by"`
}

// ConsumerResumed says that what is due is sent again.
type ConsumerResumed struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *ConsumerCreated) Channel() string          { return channel("access", "consumer", e.Name) }
func (e *ConsumerCreated) Thing() string            { return "consumer/" + e.Name }
func (e *ConsumerDeleted) Channel() string          { return channel("access", "consumer", e.Name) }
func (e *ConsumerDeleted) Thing() string            { return "consumer/" + e.Name }
func (e *ConsumerSecretRotated) Channel() string    { return channel("access", "consumer", e.Name) }
func (e *ConsumerSecretRotated) Thing() string      { return "consumer/" + e.Name }
func (e *ConsumerEventSetAside) Channel() string    { return channel("access", "consumer", e.Name) }
func (e *ConsumerEventSetAside) Thing() string      { return "consumer/" + e.Name }
func (e *ConsumerEventReplayed) Channel() string    { return channel("access", "consumer", e.Name) }
func (e *ConsumerEventReplayed) Thing() string      { return "consumer/" + e.Name }
func (e *ConsumerSuspended) Channel() string        { return channel("access", "consumer", e.Name) }
func (e *ConsumerSuspended) Thing() string          { return "consumer/" + e.Name }
func (e *ConsumerResumed) Channel() string          { return channel("access", "consumer", e.Name) }
func (e *ConsumerResumed) Thing() string            { return "consumer/" + e.Name }
func (e *ConsumerStreamConfigured) Channel() string { return channel("access", "consumer", e.Name) }
func (e *ConsumerStreamConfigured) Thing() string   { return "consumer/" + e.Name }
func (e *ConsumerStreamDeleted) Channel() string    { return channel("access", "consumer", e.Name) }
func (e *ConsumerStreamDeleted) Thing() string      { return "consumer/" + e.Name }
func (e *ConsumerSubjectRemoved) Channel() string   { return channel("access", "consumer", e.Name) }
func (e *ConsumerSubjectRemoved) Thing() string     { return "consumer/" + e.Name }
func (e *ConsumerSubjectAdded) Channel() string     { return channel("access", "consumer", e.Name) }
func (e *ConsumerSubjectAdded) Thing() string       { return "consumer/" + e.Name }

func (*ConsumerCreated) Type() Type          { return TypeConsumerCreated }
func (*ConsumerDeleted) Type() Type          { return TypeConsumerDeleted }
func (*ConsumerSecretRotated) Type() Type    { return TypeConsumerSecretRotated }
func (*ConsumerEventSetAside) Type() Type    { return TypeConsumerEventSetAside }
func (*ConsumerEventReplayed) Type() Type    { return TypeConsumerEventReplayed }
func (*ConsumerSuspended) Type() Type        { return TypeConsumerSuspended }
func (*ConsumerResumed) Type() Type          { return TypeConsumerResumed }
func (*ConsumerStreamConfigured) Type() Type { return TypeConsumerStreamConfigured }
func (*ConsumerStreamDeleted) Type() Type    { return TypeConsumerStreamDeleted }
func (*ConsumerSubjectRemoved) Type() Type   { return TypeConsumerSubjectRemoved }
func (*ConsumerSubjectAdded) Type() Type     { return TypeConsumerSubjectAdded }
