package api

import "time"

// NewAuditToken asks for a token that may put questions to the auditor.
type NewAuditToken struct {
	Name string `json:"name"`
	// TTL such as "720h".
	TTL string `json:"ttl"`
	// AWSAccounts of which the answers tell; none means all.
	AWSAccounts []string `json:"aws_accounts,omitempty"`
}

// AuditTokenMade answers a NewAuditToken. It is the only time that the token is
// seen: postern keeps its SHA-256.
type AuditTokenMade struct {
	Name        string    `json:"name"`
	Token       string    `json:"token"`
	AWSAccounts []string  `json:"aws_accounts,omitempty"`
	ExpiresAt   time.Time `json:"expires_at"`
	// AuditorAddr is where it is shown, "" where the broker knows of no auditor.
	AuditorAddr string `json:"auditor_addr,omitempty"`
}

// AuditToken is a token as people see it.
type AuditToken struct {
	Name        string    `json:"name"`
	AWSAccounts []string  `json:"aws_accounts,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	By          string    `json:"by"`
	ExpiresAt   time.Time `json:"expires_at"`
	Expired     bool      `json:"expired,omitempty"`
}

// AuditTokens is a list of them.
type AuditTokens struct {
	AuditTokens []AuditToken `json:"audit_tokens"`
}
