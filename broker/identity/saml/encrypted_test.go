package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	"github.com/crewjam/saml/xmlenc"
)

var madeKeys = sync.OnceValues(func() (*Keys, error) { return NewKeys(time.Now()) })

func spKeys(t *testing.T) *Keys {
	t.Helper()
	k, err := madeKeys()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// encrypted puts an assertion into an EncryptedAssertion for the keys.
func encrypted(t *testing.T, with xmlenc.RSA, k *Keys, a *etree.Element) *etree.Element {
	t.Helper()
	d := etree.NewDocument()
	d.SetRoot(a)
	text, err := d.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	data, err := with.Encrypt(k.cert, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	data.CreateAttr("Type", "http://www.w3.org/2001/04/xmlenc#Element")
	e := etree.NewElement("saml:EncryptedAssertion")
	e.AddChild(data)
	return e
}

// gcm encrypts as XML Encryption 1.1 wants (5.2.4); the library only decrypts.
type gcm struct{ bits int }

func (g gcm) Algorithm() string {
	return fmt.Sprintf("http://www.w3.org/2009/xmlenc11#aes%d-gcm", g.bits)
}
func (g gcm) KeySize() int { return g.bits / 8 }

func (g gcm) Decrypt(any, *etree.Element) ([]byte, error) { panic("for the encrypting side") }

func (g gcm) Encrypt(key any, text, _ []byte) (*etree.Element, error) {
	block, err := aes.NewCipher(key.([]byte))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return parseXML(fmt.Sprintf(`<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"><xenc:EncryptionMethod Algorithm="%s"/><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>`,
		g.Algorithm(), base64.StdEncoding.EncodeToString(aead.Seal(nil, nil, text, nil)))), nil
}

func TestEncrypted(t *testing.T) {
	p := newIDP(t)
	with := func(c xmlenc.BlockCipher) xmlenc.RSA {
		r := xmlenc.OAEP()
		r.BlockCipher = c
		return r
	}
	for name, how := range map[string]xmlenc.RSA{"CBC": xmlenc.OAEP(), "GCM": with(gcm{128}), "GCM of AES-256": with(gcm{256})} {
		for where, r := range map[string]*etree.Element{
			"signed assertion": p.response(encrypted(t, how, p.keys, p.sign(p.assertion("_a")))),
			"signed response":  p.sign(p.response(encrypted(t, how, p.keys, p.assertion("_a")))),
		} {
			if got, err := p.parse(r); err != nil || got.User != "dana@example.com" {
				t.Errorf("%s, %s: %+v, %v", name, where, got, undisclosed(err))
			}
		}
	}
}

// Whatever is wrong with an encrypted assertion, the answer is one.
func TestEncryptedRefused(t *testing.T) {
	p := newIDP(t)
	others, err := NewKeys(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	evil := newIDP(t)
	changed := func(path string) *etree.Element {
		e := encrypted(t, xmlenc.OAEP(), p.keys, p.sign(p.assertion("_a")))
		values := e.FindElements(path)
		if len(values) == 0 {
			t.Fatalf("nothing at %s", path)
		}
		v := values[len(values)-1]
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(v.Text()), ""))
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)-1] ^= 1
		v.SetText(base64.StdEncoding.EncodeToString(raw))
		return e
	}
	late := newIDP(t)
	late.key, late.cert, late.conn, late.after = p.key, p.cert, p.conn, time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		e      *etree.Element
		reason string
	}{
		"unsigned":          {encrypted(t, xmlenc.OAEP(), p.keys, p.assertion("_a")), "signature element not present"},
		"by another":        {encrypted(t, xmlenc.OAEP(), p.keys, evil.sign(evil.assertion("_a"))), "signature"},
		"for another":       {encrypted(t, xmlenc.OAEP(), others, p.sign(p.assertion("_a"))), "decrypt"},
		"changed key":       {changed("./EncryptedData/KeyInfo/EncryptedKey/CipherData/CipherValue"), "decrypt"},
		"changed padding":   {changed("./EncryptedData/CipherData/CipherValue"), ""},
		"too late":          {encrypted(t, xmlenc.OAEP(), p.keys, late.sign(late.assertion("_a"))), "expired"},
		"PKCS #1 v1.5":      {encrypted(t, xmlenc.PKCS1v15(), p.keys, p.sign(p.assertion("_a"))), "RSA-OAEP"},
		"nothing encrypted": {parseXML(`<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"/>`), ""},
	} {
		got, err := p.parse(p.response(c.e))
		e, ok := errors.AsType[*Undisclosed](err)
		if !ok || err.Error() != (&Undisclosed{}).Error() || !strings.Contains(e.Reason.Error(), c.reason) {
			t.Errorf("%s: %+v, %v; want a reason with %q, but %v", name, got, err, c.reason, undisclosed(err))
		}
	}
}

// TestSignedRequest: as the identity provider's metadata wants it, verified as one
// would (SAML bindings, 3.4.4.1).
func TestSignedRequest(t *testing.T) {
	p := newIDP(t)
	conn := *p.conn
	conn.EntityDescriptor = strings.Replace(conn.EntityDescriptor, "<IDPSSODescriptor ", `<IDPSSODescriptor WantAuthnRequestsSigned="true" `, 1)
	to, _, err := AuthURL(&conn, p.keys, "state")
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(to, "?")
	verifySignedQuery(t, query, p.keys)
	if to, _, err = AuthURL(p.conn, p.keys, "state"); err != nil || strings.Contains(to, "Signature") {
		t.Errorf("nobody asked for a signature: %s, %v", to, err)
	}
}

func TestMetadata(t *testing.T) {
	p := newIDP(t)
	text, err := Metadata(p.conn, p.keys)
	if err != nil {
		t.Fatal(err)
	}
	var d saml.EntityDescriptor
	if err := xml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	sso := d.SPSSODescriptors[0]
	if d.EntityID != acs || len(sso.AssertionConsumerServices) != 1 || sso.AssertionConsumerServices[0].Location != acs ||
		sso.KeyDescriptors[0].KeyInfo.X509Data.X509Certificates[0].Data != base64.StdEncoding.EncodeToString(p.keys.cert.Raw) {
		t.Errorf("%s", text)
	}
	if strings.Contains(string(text), "PRIVATE") {
		t.Error("a private key")
	}
}

func TestKeysKept(t *testing.T) {
	k := spKeys(t)
	text, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeys(text)
	if err != nil || !again.key.Equal(k.key) || !again.cert.Equal(k.cert) {
		t.Errorf("%+v, %v", again, err)
	}
	for _, bad := range [][]byte{nil, []byte("x"), text[:len(text)/2]} {
		if _, err := ParseKeys(bad); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
	}
}

func verifySignedQuery(t *testing.T, query string, k *Keys) {
	t.Helper()
	signed, sig, ok := strings.Cut(query, "&Signature=")
	if !ok || !strings.HasPrefix(signed, "SAMLRequest=") || !strings.Contains(signed, "&RelayState=state&SigAlg=") {
		t.Fatalf("query %s", query)
	}
	sig, err := url.QueryUnescape(sig)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(signed))
	if err := rsa.VerifyPKCS1v15(&k.key.PublicKey, crypto.SHA256, sum[:], raw); err != nil {
		t.Error(err)
	}
}

func undisclosed(err error) error {
	if e, ok := errors.AsType[*Undisclosed](err); ok {
		return e.Reason
	}
	return err
}
