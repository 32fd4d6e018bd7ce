package events

import "time"

// AuditTokenCreated says that whoever shows a secret may put questions to the
// auditor, and nothing else, until it expires.
type AuditTokenCreated struct {
	Name string `json:"name"`
	// SHA256, in hex, of the token as its holder shows it.
	SHA256 string `json:"sha256"`
	// AWSAccounts narrows the answers to what happened in these; empty means all.
	AWSAccounts []string  `json:"aws_accounts,omitempty"`
	ExpiresAt   time.Time `json:"expires_at"`
	By          string    `json:"by"`
}

// AuditTokenDeleted ends it before its time.
type AuditTokenDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *AuditTokenCreated) Channel() string { return channel("access", "audit_token", e.Name) }
func (e *AuditTokenCreated) Thing() string   { return "audit_token/" + e.Name }
func (e *AuditTokenDeleted) Channel() string { return channel("access", "audit_token", e.Name) }
func (e *AuditTokenDeleted) Thing() string   { return "audit_token/" + e.Name }

func (*AuditTokenCreated) Type() Type { return TypeAuditTokenCreated }
func (*AuditTokenDeleted) Type() Type { return TypeAuditTokenDeleted }
