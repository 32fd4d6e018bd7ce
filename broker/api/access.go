package api

import "time"

// App is an app as one user sees it.
type App struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	AccountID   string            `json:"account_id,omitempty"`
	Partition   string            `json:"partition"`
	Region      string            `json:"region"`
	// AWSRoles are those that the user can use now.
	AWSRoles []AWSRole `json:"aws_roles"`
	// Requestable are those that an access request would add.
	Requestable []Requestable `json:"requestable,omitempty"`
	// ProxyAddrs are the proxies that serve the app, the first to try first; none
	// where the broker does not know which do.
	ProxyAddrs []string `json:"proxy_addrs"`
}

// AWSRole is an IAM role that a user reaches.
type AWSRole struct {
	ARN string `json:"arn"`
	// Name is the part of the ARN behind the last slash.
	Name string `json:"name"`
	// Roles are the postern roles that allow it.
	Roles []string `json:"roles"`
	// RequestIDs are the access requests that it rests on, ExpiresAt the latest
	// end of these and of lists; both are empty where standing roles suffice.
	RequestIDs []string `json:"request_ids,omitempty"`
	// AccessLists are the lists that some of the roles rest on.
	AccessLists []string   `json:"access_lists,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
}

// Requestable is an IAM role and the postern roles to ask for to get it.
type Requestable struct {
	ARN   string   `json:"arn"`
	Roles []string `json:"roles"`
}

// StartSession asks for the use of an AWS role of an app.
type StartSession struct {
	App string `json:"app"`
	// AWSRole is an ARN or a role's name; it may be empty where there is one only.
	AWSRole string `json:"aws_role,omitempty"`
	// RequestID picks the access request to rest on, where several would do.
	RequestID string `json:"request_id,omitempty"`
	// A second factor, where the broker asked for one: the code of an authenticator
	// app, or what a browser brought with the verifier of its challenge.
	TOTP     string `json:"totp,omitempty"`
	Code     string `json:"code,omitempty"`
	Verifier string `json:"verifier,omitempty"`
}

// Session is the use of one AWS role, for a while.
type Session struct {
	ID              string   `json:"id"`
	User            string   `json:"user"`
	App             string   `json:"app"`
	Roles           []string `json:"roles"`
	RequestIDs      []string `json:"request_ids,omitempty"`
	AccessLists     []string `json:"access_lists,omitempty"`
	AWSRoleARN      string   `json:"aws_role_arn"`
	Account         string   `json:"account"`
	Partition       string   `json:"partition"`
	Region          string   `json:"region"`
	RoleSessionName string   `json:"role_session_name"`
	SourceIdentity  string   `json:"source_identity,omitempty"`
	// Narrowed is set where the session allows some AWS calls only.
	Narrowed bool `json:"narrowed,omitempty"`
	// RealCredentials are the kinds of credentials that work without postern and
	// that the user may have.
	RealCredentials []string `json:"real_credentials,omitempty"`

	// Device is the id of the machine that it was started from.
	Device string `json:"device,omitempty"`
	// Certificate is the serial, in hex, of the sign-in that it was started by.
	Certificate string    `json:"certificate_serial,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	// ProxyAddrs are the proxies that serve the app, the first to try first, where
	// the broker knows which do; not told in lists of sessions.
	ProxyAddrs []string `json:"proxy_addrs,omitempty"`
	// State is "running", "ended" or "expired".
	State     string `json:"state"`
	EndedBy   string `json:"ended_by,omitempty"`
	EndReason string `json:"end_reason,omitempty"`
}

// CreateLock stops its target at once.
type CreateLock struct {
	Target  LockTarget `json:"target"`
	Message string     `json:"message,omitempty"`
	// TTL is how long it lasts; empty means until it is lifted.
	TTL string `json:"ttl,omitempty"`
}

// LockTarget is what a lock stops: see events.LockTarget for the kinds.
type LockTarget struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Lock is a lock in force.
type Lock struct {
	ID        string     `json:"id"`
	Target    LockTarget `json:"target"`
	Message   string     `json:"message,omitempty"`
	By        string     `json:"by"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Warning, of one that was placed just now, is why it may stop nothing.
	Warning string `json:"warning,omitempty"`
}

// The lists that the broker answers with.
type (
	Apps struct {
		Apps []App `json:"apps"`
	}
	Sessions struct {
		Sessions []Session `json:"sessions"`
	}
	Requests struct {
		Requests []Request `json:"requests"`
	}
	Locks struct {
		Locks []Lock `json:"locks"`
	}
)
