package resource

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/events"
)

// Connectors are written as Teleport writes them
// (https://goteleport.com/docs/reference/infrastructure-as-code/teleport-resources/oidc/
// and …/saml/). Secrets are in files.
func (r *reader) oidc(n *yaml.Node, path string, meta metadata) *events.Connector {
	o := &events.OIDCConnector{}
	c := &events.Connector{Name: meta.name, Kind: KindOIDC, OIDC: o}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"display":       func(n *yaml.Node, at string) { c.Display = r.text(n, at) },
		"pseudonyms":    func(n *yaml.Node, at string) { c.Pseudonyms = r.flag(n, at) },
		"issuer_url":    func(n *yaml.Node, at string) { o.IssuerURL = r.text(n, at) },
		"client_id":     func(n *yaml.Node, at string) { o.ClientID = r.text(n, at) },
		"client_secret": func(n *yaml.Node, at string) { o.ClientSecretFile = r.secretFile(n, at) },
		"redirect_url": func(n *yaml.Node, at string) {
			urls := r.list(n, at)
			if len(urls) != 1 {
				r.fault(n, at, "want one URL")
				return
			}
			o.RedirectURL = urls[0]
		},
		"scope":                  func(n *yaml.Node, at string) { o.Scope = r.list(n, at) },
		"prompt":                 func(n *yaml.Node, at string) { o.Prompt = r.text(n, at) },
		"acr_values":             func(n *yaml.Node, at string) { o.ACRValues = r.text(n, at) },
		"username_claim":         func(n *yaml.Node, at string) { o.UsernameClaim = r.text(n, at) },
		"allow_unverified_email": func(n *yaml.Node, at string) { o.AllowUnverifiedEmail = r.flag(n, at) },
		"claims_to_roles":        func(n *yaml.Node, at string) { c.Mappings = r.mappings(n, at, "claim") },
	}, teleportOIDC)
	return c
}

func (r *reader) saml(n *yaml.Node, path string, meta metadata) *events.Connector {
	s := &events.SAMLConnector{}
	c := &events.Connector{Name: meta.name, Kind: KindSAML, SAML: s}
	instead := func(n *yaml.Node, at string) {
		r.fault(n, at, "is not supported: give the identity provider's metadata as entity_descriptor")
	}
	unsupported := func(n *yaml.Node, at string) {
		r.fault(n, at, "is not supported: brokers sign and decrypt by a key of their own; leave it out, and give the identity provider postern's metadata (/v1/webapi/saml/metadata/%s)", meta.name)
	}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"display":                 func(n *yaml.Node, at string) { c.Display = r.text(n, at) },
		"pseudonyms":              func(n *yaml.Node, at string) { c.Pseudonyms = r.flag(n, at) },
		"acs":                     func(n *yaml.Node, at string) { s.ACS = r.text(n, at) },
		"entity_descriptor":       func(n *yaml.Node, at string) { s.EntityDescriptor = r.text(n, at) },
		"service_provider_issuer": func(n *yaml.Node, at string) { s.Issuer = r.text(n, at) },
		"audience":                func(n *yaml.Node, at string) { s.Audience = r.text(n, at) },
		"username_attribute":      func(n *yaml.Node, at string) { s.UsernameAttribute = r.text(n, at) },
		"force_authn":             func(n *yaml.Node, at string) { s.ForceAuthn = r.flag(n, at) },
		"attributes_to_roles":     func(n *yaml.Node, at string) { c.Mappings = r.mappings(n, at, "name") },
		"allow_idp_initiated": func(n *yaml.Node, at string) {
			if r.flag(n, at) {
				r.fault(n, at, "is not supported: a sign-in begins at postern")
			}
		},
		"entity_descriptor_url": instead, "issuer": instead, "sso": instead, "cert": instead,
		"signing_key_pair": unsupported, "assertion_key_pair": unsupported,
	}, teleportSAML)
	return c
}

// secretFile reads file:///PATH: secrets themselves would become events.
func (r *reader) secretFile(n *yaml.Node, path string) string {
	file, ok := strings.CutPrefix(r.text(n, path), "file://")
	if !ok || !strings.HasPrefix(file, "/") {
		r.fault(n, path, "a secret does not belong into a resource: put it into a file that the broker can read and write file:///PATH")
	}
	return file
}

func (r *reader) mappings(n *yaml.Node, path, claim string) []events.RoleMapping {
	var out []events.RoleMapping
	r.items(n, path, func(n *yaml.Node, at string) {
		var m events.RoleMapping
		r.fields(n, at, map[string]func(*yaml.Node, string){
			claim:   func(n *yaml.Node, at string) { m.Claim = r.text(n, at) },
			"value": func(n *yaml.Node, at string) { m.Value = r.text(n, at) },
			"roles": func(n *yaml.Node, at string) { m.Roles = r.list(n, at) },
		}, nil)
		out = append(out, m)
	})
	return out
}

func (r *reader) settings(n *yaml.Node, path string) *events.ClusterSettings {
	s := &events.ClusterSettings{}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"second_factor": func(n *yaml.Node, at string) { s.SecondFactor = r.text(n, at) },
	}, nil)
	return s
}

type (
	writtenOIDC struct {
		Display              string         `yaml:"display,omitempty" json:"display,omitempty"`
		Pseudonyms           bool           `yaml:"pseudonyms,omitempty" json:"pseudonyms,omitempty"`
		IssuerURL            string         `yaml:"issuer_url" json:"issuer_url"`
		ClientID             string         `yaml:"client_id" json:"client_id"`
		ClientSecret         string         `yaml:"client_secret,omitempty" json:"client_secret,omitempty"`
		RedirectURL          string         `yaml:"redirect_url" json:"redirect_url"`
		Scope                []string       `yaml:"scope,omitempty" json:"scope,omitempty"`
		Prompt               string         `yaml:"prompt,omitempty" json:"prompt,omitempty"`
		ACRValues            string         `yaml:"acr_values,omitempty" json:"acr_values,omitempty"`
		UsernameClaim        string         `yaml:"username_claim,omitempty" json:"username_claim,omitempty"`
		AllowUnverifiedEmail bool           `yaml:"allow_unverified_email,omitempty" json:"allow_unverified_email,omitempty"`
		ClaimsToRoles        []writtenClaim `yaml:"claims_to_roles" json:"claims_to_roles"`
	}
	writtenClaim struct {
		Claim string   `yaml:"claim" json:"claim"`
		Value string   `yaml:"value" json:"value"`
		Roles []string `yaml:"roles" json:"roles"`
	}
	writtenSAML struct {
		Display           string             `yaml:"display,omitempty" json:"display,omitempty"`
		Pseudonyms        bool               `yaml:"pseudonyms,omitempty" json:"pseudonyms,omitempty"`
		ACS               string             `yaml:"acs" json:"acs"`
		Issuer            string             `yaml:"service_provider_issuer,omitempty" json:"service_provider_issuer,omitempty"`
		Audience          string             `yaml:"audience,omitempty" json:"audience,omitempty"`
		UsernameAttribute string             `yaml:"username_attribute,omitempty" json:"username_attribute,omitempty"`
		ForceAuthn        bool               `yaml:"force_authn,omitempty" json:"force_authn,omitempty"`
		AttributesToRoles []writtenAttribute `yaml:"attributes_to_roles" json:"attributes_to_roles"`
		EntityDescriptor  string             `yaml:"entity_descriptor" json:"entity_descriptor"`
	}
	writtenAttribute struct {
		Name  string   `yaml:"name" json:"name"`
		Value string   `yaml:"value" json:"value"`
		Roles []string `yaml:"roles" json:"roles"`
	}
	writtenSettings struct {
		SecondFactor string `yaml:"second_factor,omitempty" json:"second_factor,omitempty"`
	}
)

func writeConnector(c events.Connector) any {
	if o := c.OIDC; o != nil {
		w := writtenOIDC{
			Display: c.Display, Pseudonyms: c.Pseudonyms, IssuerURL: o.IssuerURL, ClientID: o.ClientID, RedirectURL: o.RedirectURL, Scope: o.Scope,
			Prompt: o.Prompt, ACRValues: o.ACRValues, UsernameClaim: o.UsernameClaim, AllowUnverifiedEmail: o.AllowUnverifiedEmail,
		}
		if o.ClientSecretFile != "" {
			w.ClientSecret = "file://" + o.ClientSecretFile
		}
		for _, m := range c.Mappings {
			w.ClaimsToRoles = append(w.ClaimsToRoles, writtenClaim(m))
		}
		return w
	}
	s := c.SAML
	w := writtenSAML{
		Display: c.Display, Pseudonyms: c.Pseudonyms, ACS: s.ACS, Issuer: s.Issuer, Audience: s.Audience, UsernameAttribute: s.UsernameAttribute,
		ForceAuthn: s.ForceAuthn, EntityDescriptor: s.EntityDescriptor,
	}
	for _, m := range c.Mappings {
		w.AttributesToRoles = append(w.AttributesToRoles, writtenAttribute{Name: m.Claim, Value: m.Value, Roles: m.Roles})
	}
	return w
}
