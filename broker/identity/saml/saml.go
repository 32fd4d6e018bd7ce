// Package saml is a service provider of SAML 2.0: the browser profile with
// requests by redirect, signed where the identity provider wants that, and
// responses by POST. Signatures, conditions, audience, recipient and InResponseTo
// are checked by github.com/crewjam/saml on the very element whose signature was
// verified; encrypted assertions are decrypted by it.
package saml

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/crewjam/saml"
	"github.com/crewjam/saml/samlsp"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/posternhq/postern/events"
)

// Person is what an identity provider says of whoever signed in.
type Person struct {
	User       string
	Attributes map[string][]string
	// ID names the assertion that says so.
	ID string
}

// Undisclosed says that an encrypted assertion was refused, and not why: from
// answers that differ, the plain text can be found (Jager and Somorovsky, "How To
// Break XML Encryption", CCS 2011). The reason is for the log.
type Undisclosed struct{ Reason error }

func (*Undisclosed) Error() string {
	return "saml response: its encrypted assertion was refused; the broker's log says why"
}

// provider is the library's; k may be nil where nothing is signed or decrypted.
func provider(c *events.SAMLConnector, k *Keys) (*saml.ServiceProvider, error) {
	acs, err := url.Parse(c.ACS)
	if err != nil {
		return nil, fmt.Errorf("acs: %w", err)
	}
	idp, err := samlsp.ParseMetadata([]byte(c.EntityDescriptor))
	if err != nil {
		return nil, fmt.Errorf("entity descriptor: %w", err)
	}
	sp := &saml.ServiceProvider{EntityID: c.Issuer, AcsURL: *acs, IDPMetadata: idp, AllowIDPInitiated: false}
	if sp.EntityID == "" {
		sp.EntityID = c.ACS
	}
	sp.MetadataURL = url.URL{Path: sp.EntityID}
	if k != nil {
		knowGCM()
		sp.Key, sp.Certificate = k.key, k.cert
		for _, d := range idp.IDPSSODescriptors {
			if d.WantAuthnRequestsSigned != nil && *d.WantAuthnRequestsSigned {
				sp.SignatureMethod = dsig.RSASHA256SignatureMethod
			}
		}
	}
	if c.ForceAuthn {
		sp.ForceAuthn = &c.ForceAuthn
	}
	audience := c.Audience
	if audience == "" {
		audience = sp.EntityID
	}
	sp.ValidateAudienceRestriction = func(a *saml.Assertion) error {
		if a.Conditions == nil || len(a.Conditions.AudienceRestrictions) == 0 {
			return errors.New("the assertion names no audience")
		}
		for _, r := range a.Conditions.AudienceRestrictions { // each must hold
			if r.Audience.Value != audience {
				return fmt.Errorf("the assertion is for %q, not for %q", r.Audience.Value, audience)
			}
		}
		return nil
	}
	return sp, nil
}

// AuthURL is where a browser begins, and the id of the request, which is to be
// kept until Parse.
func AuthURL(c *events.SAMLConnector, k *Keys, relayState string) (to, requestID string, err error) {
	sp, err := provider(c, k)
	if err != nil {
		return "", "", err
	}
	sso := sp.GetSSOBindingLocation(saml.HTTPRedirectBinding)
	if sso == "" {
		return "", "", errors.New("the entity descriptor names no single sign-on service with the redirect binding")
	}
	req, err := sp.MakeAuthenticationRequest(sso, saml.HTTPRedirectBinding, saml.HTTPPostBinding)
	if err != nil {
		return "", "", fmt.Errorf("authentication request: %w", err)
	}
	u, err := req.Redirect(relayState, sp)
	if err != nil {
		return "", "", fmt.Errorf("authentication request: %w", err)
	}
	return u.String(), req.ID, nil
}

// Parse checks the response, in base64, that a browser brings to the request with
// that id.
func Parse(c *events.SAMLConnector, k *Keys, response, requestID string) (out Person, err error) {
	sp, err := provider(c, k)
	if err != nil {
		return Person{}, err
	}
	text, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return Person{}, errors.New("saml response: it is not base64")
	}
	a, err := parse(sp, text, requestID)
	switch {
	case err != nil && bytes.Contains(text, []byte("EncryptedAssertion")):
		return Person{}, &Undisclosed{err}
	case err != nil:
		return Person{}, fmt.Errorf("saml response: %w", err)
	}
	out = Person{ID: "saml/" + a.Issuer.Value + "/" + a.ID, Attributes: attributes(a)}
	if name := c.UsernameAttribute; name != "" {
		if v := out.Attributes[name]; len(v) == 1 {
			out.User = v[0]
		}
	} else if a.Subject != nil && a.Subject.NameID != nil {
		out.User = strings.TrimSpace(a.Subject.NameID.Value)
	}
	if out.User == "" {
		return Person{}, errors.New("saml response: the assertion does not name the user")
	}
	return out, nil
}

// pkcs1 names the one way to encrypt keys that the library knows and nobody should
// use (XML Encryption 1.1, 5.5.1 and 6.1.2: Bleichenbacher's attack).
const pkcs1 = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"

// parse is the library's check, and what the library leaves out.
func parse(sp *saml.ServiceProvider, text []byte, requestID string) (a *saml.Assertion, err error) {
	defer func() { // it takes elements for granted that the schema makes optional
		if p := recover(); p != nil {
			a, err = nil, errors.New("the assertion lacks its subject or conditions")
		}
	}()
	if bytes.Contains(text, []byte(pkcs1)) {
		return nil, errors.New("its key is encrypted by RSA with PKCS #1 v1.5, which is broken; have it encrypted by RSA-OAEP")
	}
	a, err = sp.ParseXMLResponse(text, []string{requestID}, sp.AcsURL)
	var invalid *saml.InvalidResponseError
	switch {
	case errors.As(err, &invalid):
		return nil, invalid.PrivateErr
	case err != nil:
		return nil, err
	case a.ID == "":
		return nil, errors.New("the assertion has no id")
	}
	// Recipient and InResponseTo stand in the confirmations: without one, nothing
	// ties the assertion to this sign-in. (SAML profiles, 4.1.4.2 and 4.1.4.3.)
	for _, s := range a.Subject.SubjectConfirmations {
		if s.Method == "urn:oasis:names:tc:SAML:2.0:cm:bearer" {
			return a, nil
		}
	}
	return nil, errors.New("the assertion has no bearer confirmation")
}

func attributes(a *saml.Assertion) map[string][]string {
	out := map[string][]string{}
	for _, s := range a.AttributeStatements {
		for _, attr := range s.Attributes {
			if strings.ContainsAny(attr.Name, "\"{}()[] \t\n") {
				continue
			}
			for _, v := range attr.Values {
				out[attr.Name] = append(out[attr.Name], v.Value)
			}
		}
	}
	return out
}

// Metadata is what an identity provider wants to know of us, as XML: where
// responses go to, and the certificate for requests and assertions.
func Metadata(c *events.SAMLConnector, k *Keys) ([]byte, error) {
	sp, err := provider(c, k)
	if err != nil {
		return nil, err
	}
	sp.MetadataValidDuration = certificateTTL
	d := sp.Metadata()
	d.ValidUntil = k.cert.NotAfter
	sso := &d.SPSSODescriptors[0]
	sso.ValidUntil = nil
	sso.AssertionConsumerServices = sso.AssertionConsumerServices[:1] // no artifacts
	return xml.MarshalIndent(d, "", "  ")
}

// Check reports what is wrong with a connector's metadata.
func Check(c *events.SAMLConnector) error {
	var syntax *xml.SyntaxError
	if _, _, err := AuthURL(c, nil, ""); errors.As(err, &syntax) {
		return fmt.Errorf("entity descriptor: line %d: %s", syntax.Line, syntax.Msg)
	} else if err != nil {
		return err
	}
	return nil
}
