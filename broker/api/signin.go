package api

import "time"

// Login asks for a certificate. The key stays where the CSR was made.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
	// CSR is a PKCS #10 request in PEM for an ECDSA P-256 key; its subject
	// does not matter.
	CSR string `json:"csr"`
	// TTL asks for a shorter life than the default, such as "1h".
	TTL string `json:"ttl,omitempty"`
	// TOTP is the code of an authenticator app, where the broker asked for one.
	TOTP string `json:"totp,omitempty"`
	// Device is the machine that signs in, where it has a key of its own.
	Device *DeviceProof `json:"device,omitempty"`
}

// DeviceProof shows which machine a certificate is for, so that a lock can name it.
type DeviceProof struct {
	// Name is what the machine calls itself, such as its host name; 64 bytes at most.
	Name string `json:"name,omitempty"`
	// Key is the machine's public key, ECDSA P-256, as a SubjectPublicKeyInfo in DER.
	Key []byte `json:"key"`
	// Signature, ASN.1, is over the SHA-256 of "postern device v1\n" and the CSR.
	Signature []byte `json:"signature"`
}

// Certificate answers a Login.
type Certificate struct {
	User  string   `json:"user"`
	Roles []string `json:"roles"`
	// Certificate and CA are PEM.
	Certificate string    `json:"certificate"`
	CA          string    `json:"ca"`
	ExpiresAt   time.Time `json:"expires_at"`
	ProxyAddr   string    `json:"proxy_addr,omitempty"`
	AuditorAddr string    `json:"auditor_addr,omitempty"`
}

// CA is what clients trust for every postern service.
type CA struct {
	// CA are the certificates in PEM, the signing one first.
	CA string `json:"ca"`
	// SHA256 is the signing certificate's fingerprint, in hex, to compare by eye.
	SHA256 string `json:"sha256"`
	// Phase of its rotation: "steady", "introduced" or "switched"; and since when.
	Phase       string      `json:"phase"`
	Since       time.Time   `json:"since"`
	Authorities []Authority `json:"authorities"`
}

// Status says who the caller is.
type Status struct {
	User   string              `json:"user"`
	Roles  []string            `json:"roles"`
	Traits map[string][]string `json:"traits,omitempty"`
	// ExpiresAt is the end of the certificate, Device the machine it was made for.
	ExpiresAt time.Time `json:"expires_at"`
	Device    string    `json:"device,omitempty"`
	// Granted is what access requests add at the moment.
	Granted []Granted `json:"granted,omitempty"`
	// ReviewsDue are the access lists that the user owns or is in and whose
	// review is due, overdue or lacking.
	ReviewsDue []AccessList `json:"reviews_due,omitempty"`
	// ReviewsOwed are broken glasses that the caller may review and nobody has.
	ReviewsOwed []Request `json:"reviews_owed,omitempty"`
	ProxyAddr   string    `json:"proxy_addr,omitempty"`
	AuditorAddr string    `json:"auditor_addr,omitempty"`
}

// Granted is the effect of one approved access request.
type Granted struct {
	RequestID string    `json:"request_id"`
	Roles     []string  `json:"roles"`
	Resources []string  `json:"resources,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
}

// SigninWays are the identity providers to sign in with, besides a password.
type SigninWays struct {
	Connectors []ConnectorName `json:"connectors"`
}

// ConnectorName is a connector as whoever signs in sees it.
type ConnectorName struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Display string `json:"display"`
}

// BrowserLogin begins a sign-in in a browser on the caller's machine.
type BrowserLogin struct {
	// Auth is a connector; empty lets the person choose, passwords included.
	Auth string `json:"auth,omitempty"`
	CSR  string `json:"csr"`
	TTL  string `json:"ttl,omitempty"`
	// Device is the machine that signs in, as in Login.
	Device *DeviceProof `json:"device,omitempty"`
	// Port on 127.0.0.1 to which the browser brings a code in the end.
	Port int `json:"port"`
	// Challenge is the SHA-256 of a verifier, in base64url (RFC 7636, S256).
	Challenge string `json:"challenge"`
}

// Browser is where to send a browser.
type Browser struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// FinishLogin trades the code that the browser brought for a Certificate.
type FinishLogin struct {
	Code     string `json:"code"`
	Verifier string `json:"verifier"`
}

// DeviceLogin begins a sign-in whose browser is on another machine (RFC 8628).
type DeviceLogin struct {
	Auth string `json:"auth"`
	CSR  string `json:"csr"`
	TTL  string `json:"ttl,omitempty"`
	// Device is the machine that signs in, as in Login.
	Device *DeviceProof `json:"device,omitempty"`
}

// Device is what the person is told, and what FinishDevice asks with.
type Device struct {
	Device      string `json:"device"`
	UserCode    string `json:"user_code"`
	URL         string `json:"url"`
	CompleteURL string `json:"complete_url,omitempty"`
	// Interval between two tries, in seconds.
	Interval  int       `json:"interval_seconds"`
	ExpiresAt time.Time `json:"expires_at"`
}

// FinishDevice asks for the Certificate; the error "pending" says to ask again.
type FinishDevice struct {
	Device string `json:"device"`
}

// BrowserProof begins, in a browser, a proof of the caller's second factor.
type BrowserProof struct {
	// Purpose is "session" or "factor": to add one, or to remove Remove.
	Purpose   string `json:"purpose"`
	App       string `json:"app,omitempty"`
	Remove    string `json:"remove,omitempty"`
	Port      int    `json:"port"`
	Challenge string `json:"challenge"`
}

// Factors are the caller's second factors.
type Factors struct {
	Factors []Factor `json:"factors"`
}

// Factor is a second factor.
type Factor struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name,omitempty"`
	AddedAt time.Time `json:"added_at"`
}

// MaxInviteTTL is how long an invitation may hold.
const MaxInviteTTL = 7 * 24 * time.Hour

// CreateInvitation asks for a link with which a user sets password and second
// factor. TTL is a day unless it says otherwise.
type CreateInvitation struct {
	TTL string `json:"ttl,omitempty"`
}

// Invitation is such a link: whoever holds it becomes the user.
type Invitation struct {
	User      string    `json:"user"`
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Signins lists sign-ins whose certificates still hold.
type Signins struct {
	Signins []Signin `json:"signins"`
}

// Signin is a certificate that somebody signed in for.
type Signin struct {
	Serial     string `json:"certificate_serial"`
	User       string `json:"user"`
	Method     string `json:"method"`
	Connector  string `json:"connector,omitempty"`
	ClientAddr string `json:"client_addr,omitempty"`
	// Device is the id of the machine, and DeviceName what it calls itself.
	Device     string    `json:"device,omitempty"`
	DeviceName string    `json:"device_name,omitempty"`
	SignedInAt time.Time `json:"signed_in_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	// Current is true for the caller's own.
	Current bool `json:"current,omitempty"`
}
