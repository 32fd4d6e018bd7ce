package api

import "time"

// Access is who could do what at a moment.
type Access struct {
	At time.Time `json:"at"`
	// Sequence is the last event of the ACCESS stream that counts, 0 for none.
	Sequence uint64       `json:"sequence"`
	Users    []UserAccess `json:"users"`
	// Sessions are those that ran at the moment.
	Sessions []RanSession `json:"sessions"`
	// Warnings say in what the answer may fall short.
	Warnings []string `json:"warnings,omitempty"`
}

// UserAccess is what one user could do at a moment.
type UserAccess struct {
	User string `json:"user"`
	// State is "active", "locked", "disabled" or "absent".
	State string `json:"state"`
	// Because is the event that made the user what they were, and the locks.
	Because  []Cause    `json:"because,omitempty"`
	AWSRoles []CouldUse `json:"aws_roles"`
	// Wildcards are patterns of roles, by app, that allow more AWS roles than
	// are listed, because nothing spells these out: ask about one by its ARN.
	Wildcards map[string][]string `json:"wildcards,omitempty"`
}

// CouldUse is an AWS role of an app, and whether a user could use it.
type CouldUse struct {
	App  string `json:"app"`
	ARN  string `json:"arn"`
	Name string `json:"name"`
	// Usable says that a session could have been started.
	Usable bool `json:"usable"`
	// Roles, RequestIDs and ExpiresAt are as in AWSRole.
	Roles      []string   `json:"roles"`
	RequestIDs []string   `json:"request_ids,omitempty"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	// Ways are the sessions that could have been started, if no lock stood
	// against them.
	Ways []Way `json:"ways"`
	// Refused is why there was no way at all.
	Refused string `json:"refused,omitempty"`
	// Because are the events of all that the user held, where there was no way.
	Because []Cause `json:"because,omitempty"`
}

// Way is one session that could have been started.
type Way struct {
	Roles       []string   `json:"roles"`
	RequestIDs  []string   `json:"request_ids,omitempty"`
	AccessLists []string   `json:"access_lists,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	// Permissions narrow what could be called; none allows all that the IAM
	// role allows.
	Permissions []Permission `json:"permissions,omitempty"`
	// Locks stood against it.
	Locks []Lock `json:"locks,omitempty"`
	// Because are the events that made it so.
	Because []Cause `json:"because"`
}

// Permission is one role's say on AWS calls: a call needs one Allow whose lists
// all match and no Deny that matches.
type Permission struct {
	Role string `json:"role"`
	// Effect is "Allow" or "Deny".
	Effect    string   `json:"effect"`
	Actions   []string `json:"actions,omitempty"`
	Resources []string `json:"resources,omitempty"`
	Regions   []string `json:"regions,omitempty"`
	// DryRun permissions refuse nothing: what they would refuse is recorded.
	DryRun bool `json:"dry_run,omitempty"`
	// Approval, of a Deny, holds the call until it is approved.
	Approval bool `json:"approval,omitempty"`
}

// Cause is an event that made something so.
type Cause struct {
	EventID string `json:"event_id"`
	Type    string `json:"type"`
	// Subject is what the event is about, such as "role/aws-reader".
	Subject string `json:"subject"`
	// Revision of the user, role or app that it made.
	Revision uint64 `json:"revision,omitempty"`
	// By is who did it; of an approval, the reviewers.
	By string `json:"by,omitempty"`
	// At is when the stream took it, Sequence its place there.
	At       time.Time `json:"at"`
	Sequence uint64    `json:"sequence"`
}

// RanSession is a session that ran at a moment.
type RanSession struct {
	Session Session `json:"session"`
	Because []Cause `json:"because"`
	// Locks stopped it.
	Locks []Lock `json:"locks,omitempty"`
}

// AccessDiff is what changed between two moments for whom.
type AccessDiff struct {
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	FromSequence uint64    `json:"from_sequence"`
	ToSequence   uint64    `json:"to_sequence"`
	// Changes are net: what came and went in between is not among them.
	Changes  []AccessChange `json:"changes"`
	Warnings []string       `json:"warnings,omitempty"`
}

// AccessChange is an AWS role of an app that a user gained, lost, or could use
// for other calls than before.
type AccessChange struct {
	// Effect is "gained", "lost" or "changed".
	Effect string `json:"effect"`
	User   string `json:"user"`
	App    string `json:"app"`
	ARN    string `json:"arn"`
	// Before and After are the sides of the change.
	Before *CouldUse `json:"before,omitempty"`
	After  *CouldUse `json:"after,omitempty"`
	// Steps led there, in order.
	Steps []AccessStep `json:"steps"`
}

// AccessStep is one event, or the end of a time that an event set, that
// changed what somebody could do.
type AccessStep struct {
	At     time.Time `json:"at"`
	Effect string    `json:"effect"`
	Cause  Cause     `json:"cause"`
	// Expired says that nobody did anything at that moment: the access that
	// Cause granted, or the lock that it placed, came to its end.
	Expired bool `json:"expired,omitempty"`
}
