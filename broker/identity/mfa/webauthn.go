package mfa

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/posternhq/postern/events"
)

// Keys registers security keys and passkeys, and checks what they answer.
type Keys struct{ rp *webauthn.WebAuthn }

// NewKeys returns the relying party of an origin such as
// "https://postern.example.com:3080". Browsers bind credentials to its host.
func NewKeys(origin string) (*Keys, error) {
	u, err := url.Parse(origin)
	if err != nil {
		return nil, fmt.Errorf("webauthn: %w", err)
	}
	if net.ParseIP(u.Hostname()) != nil {
		return nil, fmt.Errorf("webauthn: %s is an address: browsers want a host name", u.Hostname())
	}
	rp, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: "postern", RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementDiscouraged, UserVerification: protocol.VerificationPreferred,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("webauthn: %w", err)
	}
	return &Keys{rp}, nil
}

// Ceremony is a challenge that a browser has to answer. It is for the broker's
// eyes: what the browser gets are the options.
type Ceremony struct{ webauthn.SessionData }

// Register begins a registration. options are PublicKeyCredentialCreationOptions
// in JSON.
func (k *Keys) Register(user string, have []events.Factor) (options []byte, c Ceremony, err error) {
	p := person{user, have}
	creation, session, err := k.rp.BeginRegistration(p, webauthn.WithExclusions(webauthn.Credentials(p.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return nil, c, fmt.Errorf("webauthn: %w", err)
	}
	options, err = json.Marshal(creation.Response)
	return options, Ceremony{*session}, err
}

// Registered checks a browser's answer to Register, a PublicKeyCredential in JSON,
// and says how far the authenticator has counted.
func (k *Keys) Registered(user string, c Ceremony, answer []byte) (key *events.PublicKey, counter int64, err error) {
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return nil, 0, explain(err)
	}
	cred, err := k.rp.CreateCredential(person{name: user}, c.SessionData, parsed)
	if err != nil {
		return nil, 0, explain(err)
	}
	key = &events.PublicKey{CredentialID: b64(cred.ID), COSE: b64(cred.PublicKey), BackupEligible: cred.Flags.BackupEligible}
	for _, t := range cred.Transport {
		key.Transports = append(key.Transports, string(t))
	}
	return key, int64(cred.Authenticator.SignCount), nil
}

// Ask begins a proof. options are PublicKeyCredentialRequestOptions in JSON.
func (k *Keys) Ask(user string, have []events.Factor) (options []byte, c Ceremony, err error) {
	assertion, session, err := k.rp.BeginLogin(person{user, have})
	if err != nil {
		return nil, c, fmt.Errorf("webauthn: %w", err)
	}
	options, err = json.Marshal(assertion.Response)
	return options, Ceremony{*session}, err
}

// Answered checks a browser's answer to Ask and says which factor it is of and
// how far that counts.
func (k *Keys) Answered(user string, have []events.Factor, c Ceremony, answer []byte) (factorID string, counter int64, err error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return "", 0, explain(err)
	}
	cred, err := k.rp.ValidateLogin(person{user, have}, c.SessionData, parsed)
	if err != nil {
		return "", 0, explain(err)
	}
	for _, f := range have {
		if f.PublicKey != nil && f.PublicKey.CredentialID == b64(cred.ID) {
			return f.ID, int64(parsed.Response.AuthenticatorData.Counter), nil
		}
	}
	return "", 0, errors.New("webauthn: the answer is of another security key")
}

// explain makes the library's error say what it keeps apart.
func explain(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.DevInfo != "" {
		return fmt.Errorf("webauthn: %s: %s", e.Details, e.DevInfo)
	}
	return fmt.Errorf("webauthn: %w", err)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// person is a user as the library asks for it.
type person struct {
	name    string
	factors []events.Factor
}

func (p person) WebAuthnID() []byte          { id := sha256.Sum256([]byte(p.name)); return id[:] }
func (p person) WebAuthnName() string        { return p.name }
func (p person) WebAuthnDisplayName() string { return p.name }

func (p person) WebAuthnCredentials() []webauthn.Credential {
	var out []webauthn.Credential
	for _, f := range p.factors {
		if f.PublicKey == nil {
			continue
		}
		id, err := base64.RawURLEncoding.DecodeString(f.PublicKey.CredentialID)
		key, keyErr := base64.RawURLEncoding.DecodeString(f.PublicKey.COSE)
		if err != nil || keyErr != nil {
			continue
		}
		c := webauthn.Credential{
			ID: id, PublicKey: key,
			Flags:         webauthn.CredentialFlags{BackupEligible: f.PublicKey.BackupEligible},
			Authenticator: webauthn.Authenticator{SignCount: uint32(f.Counter)},
		}
		for _, t := range f.PublicKey.Transports {
			c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
		}
		out = append(out, c)
	}
	return out
}
