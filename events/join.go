package events

import "time"

// JoinToken is a way for proxies and auditors to join. It holds no secret.
type JoinToken struct {
	Name string `json:"name"`
	// Kinds are "proxy", "auditor": what may join.
	Kinds []string `json:"kinds"`
	// Method is "token" (whoever knows a secret), "iam", "ec2" or "kubernetes".
	Method string `json:"method"`
	// SecretSHA256 is the hash, in hex, of the secret of method "token": 160 random
	// bits, so that nothing can be learnt from it.
	SecretSHA256 string `json:"secret_sha256,omitempty"`
	// MaxUses bounds how often it is joined with; 0: any number.
	MaxUses   int        `json:"max_uses,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// AWS are the principals of method "iam" and the instances of "ec2".
	AWS []JoinAWS `json:"aws,omitempty"`
	// Kubernetes are the service accounts of method "kubernetes".
	Kubernetes *JoinKubernetes `json:"kubernetes,omitempty"`
}

// JoinAWS names who may join: what all of its fields fit.
type JoinAWS struct {
	Account string `json:"account"`
	// ARN may have the wildcards * and ?; empty fits any.
	ARN string `json:"arn,omitempty"`
	// Regions are an instance's; none means any.
	Regions []string `json:"regions,omitempty"`
}

// JoinKubernetes names the service accounts of one cluster that may join.
type JoinKubernetes struct {
	// JWKS is the cluster's key set (RFC 7517), as JSON text.
	JWKS string `json:"jwks,omitempty"`
	// JWKSURL is, in place of it, the HTTPS address where the cluster shows it; where
	// neither is given, the issuer's discovery document says where. CA is trusted
	// there, in PEM; empty means the system's roots.
	JWKSURL string `json:"jwks_url,omitempty"`
	CA      string `json:"ca,omitempty"`
	// Issuer and Audience are what the account's JWT must say.
	Issuer   string `json:"issuer,omitempty"`
	Audience string `json:"audience"`
	// ServiceAccounts are "NAMESPACE:NAME".
	ServiceAccounts []string `json:"service_accounts"`
}

// TokenCreated says that services can join by a token from now on.
type TokenCreated struct {
	JoinToken
	By string `json:"by"`
}

// TokenUpdated carries the whole token after a change.
type TokenUpdated struct {
	JoinToken
	By string `json:"by"`
}

// TokenDeleted ends a token. Who joined by it stays.
type TokenDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

// TokenUsed says that a service joined and got a certificate.
type TokenUsed struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Agent string `json:"agent"`
	// Principal is who proved to be there: an ARN, the id of an instance, a service
	// account; empty for method "token".
	Principal         string    `json:"principal,omitempty"`
	ClientAddr        string    `json:"client_addr,omitempty"`
	CertificateSerial string    `json:"certificate_serial"`
	ExpiresAt         time.Time `json:"expires_at"`
}

// AgentRenewed says that a service that had joined got its next certificate.
type AgentRenewed struct {
	Kind              string    `json:"kind"`
	Agent             string    `json:"agent"`
	ClientAddr        string    `json:"client_addr,omitempty"`
	CertificateSerial string    `json:"certificate_serial"`
	ExpiresAt         time.Time `json:"expires_at"`
}

// ProxyAnnounced says that a proxy serves, and where users reach it. It is said anew
// while the proxy lives, and holds until ExpiresAt.
type ProxyAnnounced struct {
	Proxy string `json:"proxy"`
	// Addr is HOST:PORT, as users reach it.
	Addr string `json:"addr"`
	// Apps select what it serves by the labels of apps, any of them, each as a role's
	// app_labels do; none means all.
	Apps      []AppSelector `json:"apps,omitempty"`
	ExpiresAt time.Time     `json:"expires_at"`
}

// AppSelector selects apps by their labels.
type AppSelector struct {
	Labels map[string][]string `json:"labels"`
}

// ProxyWithdrawn says that a proxy stops, and takes no more users.
type ProxyWithdrawn struct {
	Proxy string `json:"proxy"`
}

// CASteady is the phase in which one CA is trusted alone.
const CASteady = "steady"

// CARotated says that the CA goes into a phase of its rotation.
type CARotated struct {
	// Phase is "introduced" (a second CA is trusted), "switched" (it signs) or
	// "steady" (one is trusted alone).
	Phase string `json:"phase"`
	// SigningSHA256 is the fingerprint of the certificate that signs.
	SigningSHA256 string `json:"signing_sha256"`
	// Certificates are all that is trusted, in PEM, the signing one first.
	Certificates string `json:"certificates"`
	By           string `json:"by"`
}

func (e *TokenCreated) Channel() string { return channel("access", "token", e.Name) }
func (e *TokenCreated) Thing() string   { return "token/" + e.Name }
func (e *TokenUpdated) Channel() string { return channel("access", "token", e.Name) }
func (e *TokenUpdated) Thing() string   { return "token/" + e.Name }
func (e *TokenDeleted) Channel() string { return channel("access", "token", e.Name) }
func (e *TokenDeleted) Thing() string   { return "token/" + e.Name }
func (e *TokenUsed) Channel() string    { return channel("access", "token", e.Name) }
func (e *TokenUsed) Thing() string      { return e.Kind + "/" + e.Agent }
func (e *AgentRenewed) Channel() string { return channel("access", "agent", e.Kind, e.Agent) }
func (e *AgentRenewed) Thing() string   { return e.Kind + "/" + e.Agent }
func (e *CARotated) Channel() string    { return "access.ca" }
func (e *CARotated) Thing() string      { return "ca" }

func (e *ProxyAnnounced) Channel() string { return channel("access", "proxy", e.Proxy) }
func (e *ProxyAnnounced) Thing() string   { return "proxy/" + e.Proxy }
func (e *ProxyWithdrawn) Channel() string { return channel("access", "proxy", e.Proxy) }
func (e *ProxyWithdrawn) Thing() string   { return "proxy/" + e.Proxy }

func (*TokenCreated) Type() Type { return TypeTokenCreated }
func (*TokenUpdated) Type() Type { return TypeTokenUpdated }
func (*TokenDeleted) Type() Type { return TypeTokenDeleted }
func (*TokenUsed) Type() Type    { return TypeTokenUsed }
func (*AgentRenewed) Type() Type { return TypeAgentRenewed }
func (*CARotated) Type() Type    { return TypeCARotated }

func (*ProxyAnnounced) Type() Type { return TypeProxyAnnounced }
func (*ProxyWithdrawn) Type() Type { return TypeProxyWithdrawn }
