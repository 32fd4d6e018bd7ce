package events

import "time"

// AWSTunnelOpened is on the stream, acknowledged, before the proxy connects to
// AWS for a tunnel: bytes both ways that postern counts and cannot read, because
// their TLS is between the client and AWS. RequestID is the tunnel's id and the
// correlationid of its events; the causationid is the admitted event of the
// call that the tunnel belongs to.
type AWSTunnelOpened struct {
	AWSRequest
	// StartRequestID is the request that the tunnel belongs to, and
	// StartOperation its operation: "StartSession", "ResumeSession",
	// "ExecuteCommand".
	StartRequestID string `json:"start_request_id"`
	StartOperation string `json:"start_operation"`
	// Role is the postern role whose permission allowed it, if any narrowed it.
	Role string `json:"role,omitempty"`
	// DryRun is what would have denied it, were no role in dry run.
	DryRun *DryRun `json:"dry_run,omitempty"`
}

// AWSTunnelClosed is what became of a tunnel, one where AWS could not be
// reached included.
type AWSTunnelClosed struct {
	AWSRequest
	StartRequestID string    `json:"start_request_id"`
	StartOperation string    `json:"start_operation"`
	ClosedAt       time.Time `json:"closed_at"`
	// SentBytes went from the client to AWS, ReceivedBytes came back; both with
	// the client's TLS around them.
	SentBytes     int64 `json:"sent_bytes"`
	ReceivedBytes int64 `json:"received_bytes"`
	// DurationMicros is from ReceivedAt to the end, in microseconds.
	DurationMicros int64 `json:"duration_us"`
	// Interrupted says why it was cut: "lock", "session_expired",
	// "session_ended", "client_gone", "upstream", "shutdown", "unrecorded" (the
	// opened event was not acknowledged, so nothing was sent); empty where both
	// ends had finished.
	Interrupted       string `json:"interrupted,omitempty"`
	InterruptedDetail string `json:"interrupted_detail,omitempty"`
}

func (e *AWSTunnelOpened) Channel() string { return e.channel("tunnel") }
func (e *AWSTunnelOpened) Thing() string   { return "aws-tunnel/" + e.RequestID }
func (e *AWSTunnelClosed) Channel() string { return e.channel("tunnel") }
func (e *AWSTunnelClosed) Thing() string   { return "aws-tunnel/" + e.RequestID }

func (*AWSTunnelOpened) Type() Type { return TypeAWSTunnelOpened }
func (*AWSTunnelClosed) Type() Type { return TypeAWSTunnelClosed }
