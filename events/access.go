package events

import "time"

// User is a person or a program that signs in.
type User struct {
	Name   string              `json:"name"`
	Roles  []string            `json:"roles,omitempty"`
	Traits map[string][]string `json:"traits,omitempty"`
	// Disabled users cannot sign in or start sessions.
	Disabled bool `json:"disabled,omitempty"`
	// Connector is where the user signs in; empty is with a password here. What
	// the provider said of such a user holds until ExpiresAt.
	Connector string     `json:"connector,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// SigninID is the sign-in at the connector that made the user so. None
	// counts twice.
	SigninID string `json:"signin_id,omitempty"`
}

// UserCreated says that a user exists from now on.
type UserCreated struct {
	User
	By string `json:"by"`
}

// UserUpdated carries the whole user after a change.
type UserUpdated struct {
	User
	By string `json:"by"`
}

// UserDeleted ends a user; running sessions of that user end with it.
type UserDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

// UserForgotten says that who the user was, whose name is a pseudonym, is known no
// more.
type UserForgotten struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *UserForgotten) Channel() string { return channel("access", "user", e.Name) }
func (e *UserForgotten) Thing() string   { return "user/" + e.Name }
func (*UserForgotten) Type() Type        { return TypeUserForgotten }

// UserPasswordChanged says that there is a new password; neither it nor its
// hash is in any event.
type UserPasswordChanged struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *UserCreated) Channel() string         { return channel("access", "user", e.Name) }
func (e *UserCreated) Thing() string           { return "user/" + e.Name }
func (e *UserUpdated) Channel() string         { return channel("access", "user", e.Name) }
func (e *UserUpdated) Thing() string           { return "user/" + e.Name }
func (e *UserDeleted) Channel() string         { return channel("access", "user", e.Name) }
func (e *UserDeleted) Thing() string           { return "user/" + e.Name }
func (e *UserPasswordChanged) Channel() string { return channel("access", "user", e.Name) }
func (e *UserPasswordChanged) Thing() string   { return "user/" + e.Name }

// SigninSucceeded says that a user proved who they are and got a certificate.
type SigninSucceeded struct {
	User string `json:"user"`
	// Method is "password", "identity_file", "oidc" or "saml".
	Method string `json:"method"`
	// Connector is the name of the identity provider's.
	Connector string `json:"connector,omitempty"`
	// SecondFactor is the id of the factor that was used besides.
	SecondFactor      string    `json:"second_factor,omitempty"`
	ClientAddr        string    `json:"client_addr,omitempty"`
	CertificateSerial string    `json:"certificate_serial"`
	ExpiresAt         time.Time `json:"expires_at"`
	// Device is the id of the machine that signed in, which proved its key, and
	// DeviceName what it calls itself.
	Device     string `json:"device,omitempty"`
	DeviceName string `json:"device_name,omitempty"`
}

// SigninFailed says that a sign-in was refused. User is what was typed.
type SigninFailed struct {
	User       string `json:"user"`
	Method     string `json:"method"`
	Connector  string `json:"connector,omitempty"`
	ClientAddr string `json:"client_addr,omitempty"`
	Reason     string `json:"reason"`
	Device     string `json:"device,omitempty"`
}

func (e *SigninSucceeded) Channel() string { return channel("access", "signin", e.User) }
func (e *SigninSucceeded) Thing() string   { return "user/" + e.User }
func (e *SigninFailed) Channel() string    { return channel("access", "signin", e.User) }
func (e *SigninFailed) Thing() string      { return "user/" + e.User }

// RoleCreated says that a role exists from now on.
type RoleCreated struct {
	Role
	By string `json:"by"`
}

// RoleUpdated carries the whole role after a change.
type RoleUpdated struct {
	Role
	By string `json:"by"`
}

// RoleDeleted ends a role.
type RoleDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *RoleCreated) Channel() string { return channel("access", "role", e.Name) }
func (e *RoleCreated) Thing() string   { return "role/" + e.Name }
func (e *RoleUpdated) Channel() string { return channel("access", "role", e.Name) }
func (e *RoleUpdated) Thing() string   { return "role/" + e.Name }
func (e *RoleDeleted) Channel() string { return channel("access", "role", e.Name) }
func (e *RoleDeleted) Thing() string   { return "role/" + e.Name }

// App is an AWS account (or several role ARNs in one) that people reach.
type App struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	AccountID   string            `json:"account_id,omitempty"`
	// Partition is "aws", "aws-cn", "aws-us-gov", …; empty means "aws".
	Partition string `json:"partition,omitempty"`
	// Region is where STS is called and what clients get as their default.
	Region   string   `json:"region,omitempty"`
	RoleARNs []string `json:"role_arns,omitempty"`
	// ExternalID is passed to AssumeRole when set.
	ExternalID string `json:"external_id,omitempty"`
	// SourceIdentity asks for AssumeRole with SourceIdentity set to the user
	// name; the roles' trust policies must allow sts:SetSourceIdentity.
	SourceIdentity bool `json:"source_identity,omitempty"`
	// SessionTags asks for session tags (user, session, request); the roles'
	// trust policies must allow sts:TagSession.
	SessionTags bool `json:"session_tags,omitempty"`
	// Origin is OriginConfigFile, or empty for what people and programs made.
	Origin string `json:"origin,omitempty"`
}

// OriginConfigFile is the origin of what a broker's configuration names, and of what
// goes when the configuration names it no more.
const OriginConfigFile = "config-file"

// AppCreated says that an app exists from now on.
type AppCreated struct {
	App
	By string `json:"by"`
}

// AppUpdated carries the whole app after a change.
type AppUpdated struct {
	App
	By string `json:"by"`
}

// AppDeleted ends an app.
type AppDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *AppCreated) Channel() string { return channel("access", "app", e.Name) }
func (e *AppCreated) Thing() string   { return "app/" + e.Name }
func (e *AppUpdated) Channel() string { return channel("access", "app", e.Name) }
func (e *AppUpdated) Thing() string   { return "app/" + e.Name }
func (e *AppDeleted) Channel() string { return channel("access", "app", e.Name) }
func (e *AppDeleted) Thing() string   { return "app/" + e.Name }

// LockTarget is what a lock stops.
type LockTarget struct {
	// Kind is one of "user", "role", "session", "app", "aws_role", "account",
	// "request", "agent", "device".
	Kind string `json:"kind"`
	// Name is the user name, role name, session id, app name, AWS role ARN,
	// account id, access request id, agent name or device id.
	Name string `json:"name"`
}

// LockPlaced stops its target at once, running requests included.
type LockPlaced struct {
	LockID  string     `json:"lock_id"`
	Target  LockTarget `json:"target"`
	Message string     `json:"message,omitempty"`
	By      string     `json:"by"`
	// ExpiresAt is when the lock ends by itself; nil means never.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// LockLifted ends a lock before its time.
type LockLifted struct {
	LockID string `json:"lock_id"`
	By     string `json:"by"`
}

// LockExpired says that a lock ended by its time. It had no effect from ExpiredAt on,
// whether or not this was recorded: the event is for who follows events, and comes once.
type LockExpired struct {
	LockID    string     `json:"lock_id"`
	Target    LockTarget `json:"target"`
	ExpiredAt time.Time  `json:"expired_at"`
	By        string     `json:"by"`
}

func (e *LockPlaced) Channel() string  { return channel("access", "lock", e.LockID) }
func (e *LockPlaced) Thing() string    { return "lock/" + e.LockID }
func (e *LockLifted) Channel() string  { return channel("access", "lock", e.LockID) }
func (e *LockLifted) Thing() string    { return "lock/" + e.LockID }
func (e *LockExpired) Channel() string { return channel("access", "lock", e.LockID) }
func (e *LockExpired) Thing() string   { return "lock/" + e.LockID }

// KeyPublished makes a key known by which a broker signs what it decides
// (package signed). It is signed by that key itself; what makes it believed is
// the certificate.
type KeyPublished struct {
	KeyID string `json:"key_id"`
	// Certificate is X.509 in DER and base64, issued by the broker's CA for the
	// Ed25519 key and for signing decisions only.
	Certificate string    `json:"certificate"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
}

func (e *KeyPublished) Channel() string { return channel("access", "key", e.KeyID) }
func (e *KeyPublished) Thing() string   { return "key/" + e.KeyID }

// MaxSession is how long a session lasts at most, from when it started: readers of
// ACCESS who want to know what runs need to look no further back.
const MaxSession = 30 * time.Hour

// HistoryChannel is where brokers attest what they verified.
const HistoryChannel = "access.history"

// HistoryAttested says that a broker verified the signatures of all events of
// ACCESS from one sequence to another but those that it refused, so that who reads
// them later needs to hash them only. Package signed tells what SHA256 is made of.
type HistoryAttested struct {
	FirstSequence uint64 `json:"first_sequence"`
	LastSequence  uint64 `json:"last_sequence"`
	// SHA256 is in hex.
	SHA256 string `json:"sha256"`
	// Refused are the sequences of what stands there and no broker decided.
	Refused []uint64 `json:"refused,omitempty"`
}

func (e *HistoryAttested) Channel() string { return HistoryChannel }
func (e *HistoryAttested) Thing() string   { return "history" }
