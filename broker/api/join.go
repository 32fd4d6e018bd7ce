package api

import "time"

// NewToken asks for a token of method token.
type NewToken struct {
	// Name may be empty: then it is made.
	Name string `json:"name,omitempty"`
	// Kinds are "proxy", "auditor".
	Kinds []string `json:"kinds"`
	// TTL such as "1h", the default.
	TTL string `json:"ttl,omitempty"`
	// MaxUses 0 is any number.
	MaxUses int `json:"max_uses"`
}

// TokenMade answers a NewToken. It is the only time that the token is seen.
type TokenMade struct {
	Name      string    `json:"name"`
	Token     string    `json:"token"`
	Kinds     []string  `json:"kinds"`
	ExpiresAt time.Time `json:"expires_at"`
	// CAPins are what the joining service compares with.
	CAPins []string `json:"ca_pins"`
}

// Token is a token as people see it.
type Token struct {
	Name      string     `json:"name"`
	Method    string     `json:"method"`
	Kinds     []string   `json:"kinds"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Uses      int        `json:"uses"`
	MaxUses   int        `json:"max_uses,omitempty"`
	// Over says why nobody can join by it any more.
	Over string `json:"over,omitempty"`
}

// Tokens is a list of them.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// Challenge is what method iam signs, bound to the key of its CSR.
type Challenge struct {
	Challenge string `json:"challenge"`
}

// Join asks to be let in as a service.
type Join struct {
	// Token is the name of the token, Kind "proxy" or "auditor".
	Token string `json:"token"`
	Kind  string `json:"kind"`
	// Agent is the service's name, which stands in its events.
	Agent string `json:"agent"`
	// CSR is as in Login; Names are the host names and IP addresses that clients
	// reach the service under.
	CSR   string   `json:"csr"`
	Names []string `json:"names"`
	// Secret, IAM, EC2 and JWT are the proof, one of them by the token's method.
	Secret string   `json:"secret,omitempty"`
	IAM    *JoinIAM `json:"iam,omitempty"`
	// EC2 is the PKCS #7 signature, in base64, that IMDS serves under
	// /latest/dynamic/instance-identity/rsa2048: the document is in it.
	EC2 string `json:"ec2,omitempty"`
	JWT string `json:"jwt,omitempty"`
}

// JoinIAM is a signed GetCallerIdentity without what the broker puts in itself.
type JoinIAM struct {
	Challenge string            `json:"challenge"`
	Region    string            `json:"region"`
	Headers   map[string]string `json:"headers"`
}

// Renew asks for the next certificate; the connection shows the last one.
type Renew struct {
	CSR   string   `json:"csr"`
	Names []string `json:"names"`
}

// Joined answers a Join and a Renew.
type Joined struct {
	Kind  string `json:"kind"`
	Agent string `json:"agent"`
	// Certificate is a chain in PEM, for serving and for renewing; CA what to trust.
	Certificate string    `json:"certificate"`
	CA          string    `json:"ca"`
	ExpiresAt   time.Time `json:"expires_at"`
	// NATS is absent where the broker cannot make credentials.
	NATS *NATSAccess `json:"nats,omitempty"`
	// TicketKeys, for proxies, are the keys that all of them share, the one to seal
	// under first: 32 bytes each.
	TicketKeys [][]byte `json:"ticket_keys,omitempty"`
}

// Announcement says where users reach a proxy, and what it serves; the connection
// shows the proxy's certificate.
type Announcement struct {
	// Addr is HOST:PORT.
	Addr string `json:"addr"`
	// Apps select apps by their labels, any of them; none means all.
	Apps []AppSelector `json:"apps,omitempty"`
}

// AppSelector selects apps by their labels, as a role's app_labels do.
type AppSelector struct {
	Labels map[string][]string `json:"labels"`
}

// Announced says how long an announcement holds.
type Announced struct {
	ExpiresAt time.Time `json:"expires_at"`
}

// NATSAccess is how a service reaches the streams.
type NATSAccess struct {
	// URL may be empty: then the service's configuration must say it.
	URL string `json:"url,omitempty"`
	// Creds are the contents of a .creds file, good until the certificate ends.
	Creds string `json:"creds"`
}

// RotateCA takes the CA one phase further.
type RotateCA struct {
	// From is the phase that the caller saw: "steady", "introduced" or "switched". In
	// another one nothing is done. Empty is any.
	From  string `json:"from,omitempty"`
	Back  bool   `json:"back,omitempty"`
	Force bool   `json:"force,omitempty"`
}

// Authority is one certificate of the CA.
type Authority struct {
	SHA256 string `json:"sha256"`
	// Pin is "sha256:" and the hash of the public key, for ca_pin.
	Pin     string `json:"pin"`
	Signing bool   `json:"signing"`
}
