package saml

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/posternhq/postern/events"
)

const (
	acs     = "https://postern.example/v1/webapi/saml/acs/corp"
	request = "id-of-the-request"
)

// idp makes responses as an identity provider does, and as an attacker would.
type idp struct {
	key  *rsa.PrivateKey
	cert []byte
	conn *events.SAMLConnector
	keys *Keys // of the service provider
	// What the assertion says.
	user, audience, recipient, inResponseTo, issuer string
	before, after                                   time.Time
	confirmation                                    bool
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return &idp{
		keys: spKeys(t),
		key:  key, cert: der, user: "dana@example.com", audience: acs, recipient: acs, inResponseTo: request, issuer: "urn:idp",
		before: now.Add(-time.Minute), after: now.Add(time.Minute), confirmation: true,
		conn: &events.SAMLConnector{ACS: acs, EntityDescriptor: `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="urn:idp"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>` +
			base64.StdEncoding.EncodeToString(der) + `</X509Certificate></X509Data></KeyInfo></KeyDescriptor><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example/sso"/></IDPSSODescriptor></EntityDescriptor>`},
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func parseXML(s string) *etree.Element {
	d := etree.NewDocument()
	if err := d.ReadFromString(s); err != nil {
		panic(err)
	}
	return d.Root()
}

// assertion is unsigned.
func (p *idp) assertion(id string) *etree.Element {
	confirmation := ""
	if p.confirmation {
		confirmation = fmt.Sprintf(`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData InResponseTo="%s" NotOnOrAfter="%s" Recipient="%s"/></saml:SubjectConfirmation>`,
			p.inResponseTo, stamp(p.after), p.recipient)
	}
	return parseXML(fmt.Sprintf(`<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="%s" IssueInstant="%s" Version="2.0"><saml:Issuer>%s</saml:Issuer><saml:Subject><saml:NameID>%s</saml:NameID>%s</saml:Subject><saml:Conditions NotBefore="%s" NotOnOrAfter="%s"><saml:AudienceRestriction><saml:Audience>%s</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AttributeStatement><saml:Attribute Name="groups"><saml:AttributeValue>staff</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>`,
		id, stamp(time.Now()), p.issuer, p.user, confirmation, stamp(p.before), stamp(p.after), p.audience))
}

func (p *idp) sign(el *etree.Element) *etree.Element {
	ctx := dsig.NewDefaultSigningContext(dsig.TLSCertKeyStore(tls.Certificate{Certificate: [][]byte{p.cert}, PrivateKey: p.key}))
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signed, err := ctx.SignEnveloped(el)
	if err != nil {
		panic(err)
	}
	d := etree.NewDocument()
	d.SetRoot(signed)
	text, err := d.WriteToString()
	if err != nil {
		panic(err)
	}
	signed = parseXML(text)
	// SAML wants the signature behind the issuer.
	sig := signed.FindElement("./Signature")
	signed.RemoveChild(sig)
	signed.InsertChildAt(1, sig)
	return signed
}

func (p *idp) response(children ...*etree.Element) *etree.Element {
	r := parseXML(fmt.Sprintf(`<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r" InResponseTo="%s" IssueInstant="%s" Version="2.0" Destination="%s"><saml:Issuer>urn:idp</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status></samlp:Response>`,
		request, stamp(time.Now()), acs))
	for _, c := range children {
		r.AddChild(c)
	}
	return r
}

func (p *idp) parse(response *etree.Element) (Person, error) {
	d := etree.NewDocument()
	d.SetRoot(response.Copy())
	text, err := d.WriteToBytes()
	if err != nil {
		panic(err)
	}
	return Parse(p.conn, p.keys, base64.StdEncoding.EncodeToString(text), request)
}

func TestHonest(t *testing.T) {
	p := newIDP(t)
	for name, r := range map[string]*etree.Element{
		"signed assertion": p.response(p.sign(p.assertion("_a"))),
		"signed response":  p.sign(p.response(p.assertion("_a"))),
		"both":             p.sign(p.response(p.sign(p.assertion("_a")))),
	} {
		got, err := p.parse(r)
		if err != nil || got.User != "dana@example.com" || got.ID != "saml/urn:idp/_a" || len(got.Attributes["groups"]) != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*idp)
		want   string
	}{
		"wrong audience":        {func(p *idp) { p.audience = "https://another.example" }, "audience"},
		"no audience":           {func(p *idp) { p.audience = "" }, "audience"},
		"wrong recipient":       {func(p *idp) { p.recipient = "https://another.example/acs" }, "Recipient"},
		"another request":       {func(p *idp) { p.inResponseTo = "another" }, "request IDs"},
		"no request":            {func(p *idp) { p.inResponseTo = "" }, "request IDs"},
		"expired":               {func(p *idp) { p.after = time.Now().Add(-time.Hour) }, "expired"},
		"not yet valid":         {func(p *idp) { p.before = time.Now().Add(time.Hour) }, "not yet valid"},
		"another issuer":        {func(p *idp) { p.issuer = "urn:evil" }, "issuer"},
		"no confirmation":       {func(p *idp) { p.confirmation = false }, "bearer"},
		"no user":               {func(p *idp) { p.user = "" }, "name the user"},
		"another key":           {func(p *idp) { p.key = newIDP(t).key }, "signature"},
		"another key and cert.": {func(p *idp) { o := newIDP(t); p.key, p.cert = o.key, o.cert }, "signature"},
	} {
		p := newIDP(t)
		c.change(p)
		got, err := p.parse(p.response(p.sign(p.assertion("_a"))))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want an error with %q", name, got, err, c.want)
		}
	}
}

// Signature wrapping: a signed assertion is somewhere, and another is where it would
// be read. (Somorovsky and others, "On Breaking SAML: Be Whoever You Want to Be",
// USENIX Security 2012: the numbers are theirs.) Nobody becomes mallory.
func TestWrapping(t *testing.T) {
	p := newIDP(t)
	evil := func(id string) *etree.Element {
		p.user = "mallory@example.com"
		defer func() { p.user = "dana@example.com" }()
		return p.assertion(id)
	}
	signed := func() *etree.Element { return p.sign(p.assertion("_a")) }
	signature := func(el *etree.Element) *etree.Element { return el.FindElement("./Signature") }
	// stripped is the signed assertion without its signature.
	stripped := func() (*etree.Element, *etree.Element) {
		s := signed()
		sig := signature(s)
		s.RemoveChild(sig)
		return s, sig
	}
	with := func(el *etree.Element, children ...*etree.Element) *etree.Element {
		for _, c := range children {
			el.AddChild(c)
		}
		return el
	}
	whole := func() *etree.Element { return p.sign(p.response(p.assertion("_a"))) }
	wrap := func(name string, children ...*etree.Element) *etree.Element {
		return with(etree.NewElement(name), children...)
	}
	shapes := map[string]func() *etree.Element{
		"unsigned": func() *etree.Element { return p.response(evil("_a")) },
		"XSW1, the signed response in the signature of another": func() *etree.Element {
			r := p.response(evil("_b"))
			sig := signature(whole()).Copy()
			sig.AddChild(whole())
			r.InsertChildAt(1, sig)
			r.CreateAttr("ID", "_evil")
			return r
		},
		"XSW2, the signature detached before the signed response": func() *etree.Element {
			original := whole()
			sig := signature(original)
			original.RemoveChild(sig)
			r := p.response(evil("_b"))
			r.InsertChildAt(1, sig)
			r.InsertChildAt(1, original)
			r.CreateAttr("ID", "_evil")
			return r
		},
		"XSW3, the forged one before the signed one": func() *etree.Element { return p.response(evil("_b"), signed()) },
		"XSW3, behind it":                        func() *etree.Element { return p.response(signed(), evil("_b")) },
		"XSW4, the signed one in the forged one": func() *etree.Element { return p.response(with(evil("_b"), signed())) },
		"XSW5, the forged one has the signature, the signed one is behind": func() *etree.Element {
			s, sig := stripped()
			e := evil("_b")
			e.InsertChildAt(1, sig)
			return p.response(e, s)
		},
		"XSW6, the signed one in the signature of the forged one": func() *etree.Element {
			s, sig := stripped()
			e := evil("_b")
			e.InsertChildAt(1, with(sig, s))
			return p.response(e)
		},
		"XSW7, the forged one in extensions": func() *etree.Element {
			r := p.response(signed())
			r.InsertChildAt(1, wrap("samlp:Extensions", evil("_a")))
			return r
		},
		"XSW8, the signed one in an object of the signature": func() *etree.Element {
			s, sig := stripped()
			e := evil("_a")
			e.InsertChildAt(1, with(sig, wrap("ds:Object", s)))
			return p.response(e)
		},
		"the same id twice, forged first": func() *etree.Element { return p.response(evil("_a"), signed()) },
		"the same id, the signature on the forged one": func() *etree.Element {
			s, sig := stripped()
			e := evil("_a")
			e.InsertChildAt(1, sig)
			return p.response(e, s)
		},
		"two signatures, the second one good": func() *etree.Element {
			s := signed()
			e := evil("_a")
			e.InsertChildAt(1, signature(s).Copy())
			e.InsertChildAt(1, signature(p.sign(p.assertion("_a"))).Copy())
			return p.response(e)
		},
		"changed after signing": func() *etree.Element {
			s := signed()
			s.FindElement("./Subject/NameID").SetText("mallory@example.com")
			return p.response(s)
		},
		"a second name": func() *etree.Element {
			s := signed()
			s.FindElement("./Subject").InsertChildAt(0, parseXML(`<saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">mallory@example.com</saml:NameID>`))
			return p.response(s)
		},
		"HMAC with the certificate": func() *etree.Element {
			s := signed()
			s.FindElement("./Signature/SignedInfo/SignatureMethod").CreateAttr("Algorithm", "http://www.w3.org/2000/09/xmldsig#hmac-sha1")
			s.FindElement("./Subject/NameID").SetText("mallory@example.com")
			return p.response(s)
		},
	}
	for name, shape := range shapes {
		got, err := p.parse(shape())
		if err == nil && got.User != "dana@example.com" {
			t.Errorf("%s: signed in as %q", name, got.User)
		}
		t.Logf("%s: %q, %v", name, got.User, err)
	}
}

// A comment in a name does not cut it: it is not signed, and would make dana of
// "dana@example.com<!---->.evil.example".
func TestCommentInName(t *testing.T) {
	p := newIDP(t)
	p.user = "dana@example.com.evil.example"
	s := p.sign(p.assertion("_a"))
	name := s.FindElement("./Subject/NameID")
	name.SetText("dana@example.com")
	name.AddChild(etree.NewComment("x"))
	name.AddChild(etree.NewText(".evil.example"))
	if got, err := p.parse(p.response(s)); err == nil && got.User != p.user {
		t.Errorf("signed in as %q", got.User)
	}
}

func TestNonsense(t *testing.T) {
	p := newIDP(t)
	for name, text := range map[string]string{
		"empty":     "",
		"no XML":    "hello",
		"a doctype": `<!DOCTYPE r [<!ENTITY x "y">]><samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol">&x;</samlp:Response>`,
	} {
		if got, err := Parse(p.conn, p.keys, base64.StdEncoding.EncodeToString([]byte(text)), request); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := Parse(p.conn, p.keys, "%", request); err == nil {
		t.Error("what is not base64 was taken")
	}
	bare := p.assertion("_a") // signed, and without what the schema makes optional
	for _, name := range []string{"./Subject", "./Conditions"} {
		a := bare.Copy()
		a.RemoveChild(a.FindElement(name))
		if got, err := p.parse(p.response(p.sign(a))); err == nil {
			t.Errorf("without %s: %+v", name, got)
		}
	}
}

func TestAuthURL(t *testing.T) {
	p := newIDP(t)
	to, id, err := AuthURL(p.conn, p.keys, "state")
	if err != nil || !strings.HasPrefix(to, "https://idp.example/sso?") || !strings.Contains(to, "RelayState=state") || id == "" {
		t.Errorf("%s, %s, %v", to, id, err)
	}
	if err := Check(p.conn); err != nil {
		t.Error(err)
	}
	bad := *p.conn
	bad.EntityDescriptor = "<a><b></a>"
	if err := Check(&bad); err == nil {
		t.Error("broken metadata was taken")
	}
}
