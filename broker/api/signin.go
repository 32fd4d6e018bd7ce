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
	// ExpiresAt is the end of the certificate.
	ExpiresAt time.Time `json:"expires_at"`
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
