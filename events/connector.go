package events

// Connector is an identity provider that people sign in with. Field names are
// those of Teleport's connectors. Its secrets are in files that it names.
type Connector struct {
	Name string `json:"name"`
	// Kind is "oidc" or "saml".
	Kind string `json:"kind"`
	// Display is the name on the sign-in page.
	Display string         `json:"display,omitempty"`
	OIDC    *OIDCConnector `json:"oidc,omitempty"`
	SAML    *SAMLConnector `json:"saml,omitempty"`
	// Pseudonyms stand for the users in all that is recorded.
	Pseudonyms bool `json:"pseudonyms,omitempty"`
	// Mappings give roles to what the provider says of a user.
	Mappings []RoleMapping `json:"mappings"`
}

// OIDCConnector is a client of an OpenID provider.
type OIDCConnector struct {
	IssuerURL string `json:"issuer_url"`
	ClientID  string `json:"client_id"`
	// ClientSecretFile is read by the broker when it is needed; empty is a public
	// client.
	ClientSecretFile string `json:"client_secret_file,omitempty"`
	RedirectURL      string `json:"redirect_url"`
	// Scope is asked for besides openid and email.
	Scope     []string `json:"scope,omitempty"`
	Prompt    string   `json:"prompt,omitempty"`
	ACRValues string   `json:"acr_values,omitempty"`
	// UsernameClaim names the user; empty is email.
	UsernameClaim        string `json:"username_claim,omitempty"`
	AllowUnverifiedEmail bool   `json:"allow_unverified_email,omitempty"`
}

// SAMLConnector is a service provider of a SAML 2.0 identity provider.
type SAMLConnector struct {
	// ACS is the assertion consumer service, a URL of the broker's.
	ACS string `json:"acs"`
	// EntityDescriptor is the provider's metadata in XML.
	EntityDescriptor string `json:"entity_descriptor"`
	// Issuer is the name of the service provider; empty is ACS.
	Issuer string `json:"service_provider_issuer,omitempty"`
	// Audience that assertions must be for; empty is Issuer.
	Audience string `json:"audience,omitempty"`
	// UsernameAttribute names the user; empty is the NameID.
	UsernameAttribute string `json:"username_attribute,omitempty"`
	ForceAuthn        bool   `json:"force_authn,omitempty"`
}

// RoleMapping gives roles to users whose claim or attribute has a value.
type RoleMapping struct {
	// Claim is the name of an OIDC claim or a SAML attribute.
	Claim string `json:"claim"`
	// Value is literal, with wildcards, or a ^regexp$.
	Value string `json:"value"`
	// Roles may refer to what wildcards and groups matched: "$1".
	Roles []string `json:"roles"`
}

// ConnectorCreated says that people can sign in by a connector from now on.
type ConnectorCreated struct {
	Connector
	By string `json:"by"`
}

// ConnectorUpdated carries the whole connector after a change.
type ConnectorUpdated struct {
	Connector
	By string `json:"by"`
}

// ConnectorDeleted ends a connector.
type ConnectorDeleted struct {
	Name string `json:"name"`
	By   string `json:"by"`
}

func (e *ConnectorCreated) Channel() string { return channel("access", "connector", e.Name) }
func (e *ConnectorCreated) Thing() string   { return "connector/" + e.Name }
func (e *ConnectorUpdated) Channel() string { return channel("access", "connector", e.Name) }
func (e *ConnectorUpdated) Thing() string   { return "connector/" + e.Name }
func (e *ConnectorDeleted) Channel() string { return channel("access", "connector", e.Name) }
func (e *ConnectorDeleted) Thing() string   { return "connector/" + e.Name }
