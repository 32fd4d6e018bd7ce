package events

// AWSCallHeld is a call that a role wants approved, waiting at the proxy. The
// broker makes the access request AccessRequestID of it.
type AWSCallHeld struct {
	AWSRequest
	AccessRequestID string `json:"access_request_id"`
	// Digest and Parameters as in HeldCall; Roles are those that want it approved.
	Digest     string   `json:"digest"`
	Roles      []string `json:"roles"`
	Parameters string   `json:"parameters,omitempty"`
}

// AWSCallReleased says that an approved call is about to be made. It is the first
// and only event of its channel: the approval is good for one call, whichever
// proxy makes it.
type AWSCallReleased struct {
	AWSRequest
	AccessRequestID string `json:"access_request_id"`
	Digest          string `json:"digest"`
}

func (e *AWSCallHeld) Channel() string     { return e.channel("held") }
func (e *AWSCallHeld) Thing() string       { return "aws-request/" + e.RequestID }
func (e *AWSCallReleased) Channel() string { return channel("audit", "released", e.AccessRequestID) }
func (e *AWSCallReleased) Thing() string   { return "aws-request/" + e.RequestID }

// HeldCall is the call as an access request has it.
func (e *AWSCallHeld) HeldCall() HeldCall {
	return HeldCall{
		SessionID: e.SessionID, Roles: e.Roles, Digest: e.Digest, App: e.App, AWSRoleARN: e.AWSRoleARN,
		Account: e.Account, Region: e.Region, Service: e.Service, Operation: e.Operation, Action: e.Action, Also: e.Also,
		Resources: e.Resources, Method: e.Method, Host: e.Host, Path: e.Path, Parameters: e.Parameters,
	}
}
