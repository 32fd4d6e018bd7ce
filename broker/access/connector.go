package access

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Connector is an identity provider.
type Connector struct {
	events.Connector
	Revision uint64
}

// The kinds of connectors.
const (
	OIDC = "oidc"
	SAML = "saml"
)

func (s *State) applyConnector(e events.Event) {
	switch d := e.Data.(type) {
	case *events.ConnectorCreated:
		s.Connectors[d.Name] = &Connector{Connector: d.Connector, Revision: s.Head(d.Channel()).Revision}
	case *events.ConnectorUpdated:
		s.Connectors[d.Name] = &Connector{Connector: d.Connector, Revision: s.Head(d.Channel()).Revision}
	case *events.ConnectorDeleted:
		delete(s.Connectors, d.Name)
	}
}

// PutConnector creates or replaces a connector.
func PutConnector(s *State, env Env, c events.Connector, p Put) ([]events.Event, error) {
	old := s.Connectors[c.Name]
	revision := s.Head((&events.ConnectorDeleted{Name: c.Name}).Channel()).Revision
	same := false
	if old != nil {
		revision, same = old.Revision, alike(old.Connector, c)
		if old.Kind != c.Kind {
			return nil, refuse(Exists, "there is a connector %s already, of kind %s", c.Name, old.Kind)
		}
	}
	write, err := p.decide(c.Kind, c.Name, revision, old != nil, same, CheckConnector(c))
	if !write || err != nil {
		return nil, err
	}
	if old == nil {
		return env.one("", "", &events.ConnectorCreated{Connector: c, By: env.By}), nil
	}
	return env.one("", "", &events.ConnectorUpdated{Connector: c, By: env.By}), nil
}

// DeleteConnector ends a connector of a kind. Who signed in with it stays signed
// in until the certificate ends.
func DeleteConnector(s *State, env Env, kind, name string) ([]events.Event, error) {
	if c := s.Connectors[name]; c == nil || c.Kind != kind {
		return nil, refuse(NotFound, "there is no %s %s", kind, name)
	}
	return env.one("", "", &events.ConnectorDeleted{Name: name, By: env.By}), nil
}

// CheckConnector returns what is wrong with a connector, by the paths of its YAML.
func CheckConnector(c events.Connector) []policy.Fault {
	var out check
	out.that("metadata.name", checkName(c.Name))
	if c.Name == "local" {
		out.that("metadata.name", errors.New("local stands for users of postern's own"))
	}
	mappings := "spec.claims_to_roles"
	switch {
	case c.OIDC != nil:
		out.that("spec.issuer_url", checkURL(c.OIDC.IssuerURL))
		out.that("spec.redirect_url", checkURL(c.OIDC.RedirectURL))
		if c.OIDC.ClientID == "" {
			out.that("spec.client_id", errors.New("missing"))
		}
	case c.SAML != nil:
		mappings = "spec.attributes_to_roles"
		out.that("spec.acs", checkURL(c.SAML.ACS))
		out.that("spec.username_attribute", checkClaim(c.SAML.UsernameAttribute))
		if c.SAML.EntityDescriptor == "" {
			out.that("spec.entity_descriptor", errors.New("missing: the identity provider's metadata, XML"))
		}
	}
	if len(c.Mappings) == 0 {
		out.that(mappings, errors.New("missing: without it nobody gets a role, and nobody can sign in"))
	}
	for i, m := range c.Mappings {
		at := fmt.Sprintf("%s[%d]", mappings, i)
		if m.Claim == "" || m.Value == "" || len(m.Roles) == 0 { // providers say "" where there is nothing to say
			out.that(at, errors.New("needs a claim or attribute, a value and roles"))
		}
		out.that(at, checkClaim(m.Claim))
		_, err := mappingForm(m.Value)
		out.that(at+".value", err)
	}
	return out
}

// checkClaim refuses names of claims and attributes that never come to be known.
func checkClaim(name string) error {
	if strings.ContainsAny(name, noTrait) {
		return fmt.Errorf("%q has spaces, quotes or brackets, and is left out of what the provider says: have the provider send it by another name", name)
	}
	return nil
}

// checkURL wants https, or http on this machine for trying things out.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return errors.New("missing")
	case err != nil:
		return fmt.Errorf("%q is not a URL", s)
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not a URL such as https://login.example.com", s)
	case u.Scheme == "https", u.Scheme == "http" && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q must begin with https://", s)
}

// mappingForm compiles the value of a mapping: each "*" is a group, as in
// Teleport.
func mappingForm(value string) (*regexp.Regexp, error) {
	if len(value) > 1024 {
		return nil, errors.New("longer than 1024 bytes")
	}
	if !strings.HasPrefix(value, "^") || !strings.HasSuffix(value, "$") {
		value = "^" + strings.ReplaceAll(regexp.QuoteMeta(value), `\*`, "(.*)") + "$"
	}
	if _, err := regexp.Compile(value); err != nil {
		return nil, fmt.Errorf("bad regular expression: %w", err)
	}
	// ^a|b$ would match whatever starts with a: the anchors are for all of it.
	return regexp.Compile("^(?:" + value + ")$")
}

// MapRoles lists the roles that a connector gives for what it says of a user.
func MapRoles(mappings []events.RoleMapping, traits map[string][]string) []string {
	var out []string
	for _, m := range mappings {
		form, err := mappingForm(m.Value)
		if err != nil {
			continue // gives nothing
		}
		for _, v := range traits[m.Claim] {
			at := form.FindStringSubmatchIndex(v)
			if at == nil {
				continue
			}
			for _, r := range m.Roles {
				if role := string(form.ExpandString(nil, r, v, at)); role != "" && !slices.Contains(out, role) {
					out = append(out, role)
				}
			}
		}
	}
	return out
}

// fitting leaves out what a provider says besides and no trait can hold, such as a picture.
// What roles are given by is kept, and refused.
func fitting(mappings []events.RoleMapping, traits map[string][]string) map[string][]string {
	asked := func(name string) bool {
		return slices.ContainsFunc(mappings, func(m events.RoleMapping) bool { return m.Claim == name })
	}
	long := func(v string) bool { return len(v) > maxTrait }
	out := maps.Clone(traits)
	maps.DeleteFunc(out, func(name string, values []string) bool {
		return !asked(name) && slices.ContainsFunc(values, long)
	})
	return out
}

// SignOn is what an identity provider said of a user.
type SignOn struct {
	Connector, User string
	Traits          map[string][]string
	// Account is the provider's own name for the account, which it gives to no other: sub in
	// OpenID; "" where it has none.
	Account string
	// ID names the provider's word, such as an assertion's id: it counts once.
	ID string
	// TTL is how long it is believed.
	TTL time.Duration
}

// isAnother says why who signs in is not the user of that name. Providers give names away
// again, such as the address of who has left: what the former holder of one may do, is a
// member of and owns is not the next one's.
func (s *State) isAnother(old *User, c SignOn) error {
	who := ""
	switch account := old.Traits["sub"]; {
	case old.Connector == "":
		who = "has a password here"
	case old.Connector != c.Connector && s.Connectors[old.Connector] == nil:
		who = fmt.Sprintf("signed in with connector %s, which is no more", old.Connector)
	case old.Connector != c.Connector:
		who = fmt.Sprintf("signs in with connector %s", old.Connector)
	case c.Account != "" && len(account) > 0 && !slices.Contains(account, c.Account):
		who = "is another account there: its sub differs"
	default:
		return nil
	}
	return refuse(Conflict, "%s names %s, and the user of that name %s. Once whoever runs postern has removed them (postern users rm), this account is a new user", c.Connector, c.User, who)
}

// SignOnUser makes the user what the identity provider says, for a while.
func SignOnUser(s *State, env Env, c SignOn) ([]events.Event, error) {
	conn := s.Connectors[c.Connector]
	if conn == nil {
		return nil, refuse(NotFound, "there is no connector %s any more", c.Connector)
	}
	if _, spent := s.spent[c.ID]; spent {
		return nil, refuse(Denied, "this answer of %s was used already", c.Connector)
	}
	old := s.Users[c.User]
	if old != nil {
		if err := s.isAnother(old, c); err != nil {
			return nil, err
		}
	}
	until := env.Now.Add(c.TTL).UTC()
	if old != nil && old.ExpiresAt != nil && old.ExpiresAt.After(until) {
		until = *old.ExpiresAt // an earlier sign-in lasts longer, with the newer word
	}
	u := events.User{
		Name: c.User, Traits: fitting(conn.Mappings, c.Traits), Roles: MapRoles(conn.Mappings, c.Traits),
		Connector: c.Connector, ExpiresAt: &until, SigninID: c.ID,
	}
	if old != nil {
		u.Disabled = old.Disabled
	}
	faults := check(CheckUser(u))
	if old == nil && len(faults) == 0 {
		faults.that("metadata.name", CheckNewUserName(u.Name))
	}
	if len(faults) > 0 {
		return nil, refuse(Denied, "%s says of %s what does not fit: %s: %v", c.Connector, c.User, faults[0].Path, faults[0].Err)
	}
	if len(u.Roles) == 0 {
		return nil, refuse(Denied, "%s says nothing of %s that gives a role: see claims_to_roles or attributes_to_roles of the connector", c.Connector, c.User)
	}
	for _, r := range u.Roles {
		if s.Roles[r] == nil {
			return nil, refuse(Denied, "connector %s gives %s the role %s, which does not exist", c.Connector, c.User, r)
		}
	}
	after := &User{User: u, CreatedSeq: math.MaxUint64} // who is new is in no list
	if old != nil {
		after.CreatedSeq = old.CreatedSeq
	}
	if l := s.LockOn(env.Now, s.holderTargets(after, env.Now)...); l != nil {
		return nil, locked(l)
	}
	if u.Disabled {
		return nil, refuse(Denied, "user %s is disabled", c.User)
	}
	if old == nil {
		return env.one("", "", &events.UserCreated{User: u, By: "connector/" + c.Connector}), nil
	}
	return env.one("", "", &events.UserUpdated{User: u, By: "connector/" + c.Connector}), nil
}
