package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/device"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events/journal"
)

// flow is what a terminal began and a browser carries out. Brokers keep nothing of
// it: it travels sealed, in the URL and in the forms.
//
// The browser's way ends at a port of the machine it runs on, with a code that is
// worth nothing without the verifier that the terminal kept (RFC 8252, RFC 7636).
// So whoever is lured into carrying out somebody else's flow gives nothing away.
type flow struct {
	ID      string `json:"id"`
	Purpose string `json:"purpose"`
	// Port on 127.0.0.1 where the terminal waits, Challenge the hash of its verifier.
	Port      int    `json:"port"`
	Challenge string `json:"challenge"`
	// Auth is the connector to sign in with, "" to choose in the browser. CSR,
	// TTL and Device, which has proved its key, are of the certificate.
	Auth   string        `json:"auth,omitempty"`
	CSR    string        `json:"csr,omitempty"`
	TTL    time.Duration `json:"ttl,omitempty"`
	Device device.Device `json:"device,omitzero"`
	// User is known except for sign-ins; App is what a session is for, Remove the
	// second factor to take away instead of adding one.
	User   string `json:"user,omitempty"`
	App    string `json:"app,omitempty"`
	Remove string `json:"remove,omitempty"`
	// By is the certificate that asked for it, nil for sign-ins.
	By *identity.Person `json:"by,omitempty"`
}

// goesOn refuses a flow whose certificate does not do any more: what a sign-in began, its
// revocation ends.
func (b *Broker) goesOn(f flow) (err error) {
	if f.By != nil {
		b.ledger.read(func(s *access.State, now time.Time) { err = admitted(s, now, *f.By) })
	}
	return err
}

// Purposes of flows, and of proofs of second factors.
const (
	forSignin  = "signin"
	forSession = "session"
	forFactor  = "factor"
)

// proof is what a flow came to.
type proof struct {
	Flow      flow   `json:"flow"`
	User      string `json:"user"`
	Method    string `json:"method"`
	Connector string `json:"connector,omitempty"`
	// Since tells the user who signed in from a later one of the name: where in the
	// stream they were made.
	Since uint64 `json:"since,omitempty"`
	// Factor is the id of the second factor, FactorEvent of the event that says so.
	Factor      string `json:"factor,omitempty"`
	FactorEvent string `json:"factor_event,omitempty"`
	// ID is that of what may be made of it, once: a certificate or a session.
	ID string `json:"id"`
}

// What tokens are sealed for, and how long they hold.
const (
	sealFlow     = "flow"
	sealProof    = "proof"
	sealStep     = "step"
	sealEnrol    = "enrolment"
	sealInvite   = "invitation"
	sealCeremony = "ceremony"
	sealCookie   = "cookie"
	sealDevice   = "device"

	flowTTL  = 10 * time.Minute
	proofTTL = 2 * time.Minute
)

// begin makes a flow's URL.
func (b *Broker) begin(f flow) (api.Browser, error) {
	if f.Port < 1 || f.Port > 65535 {
		return api.Browser{}, invalid("port: want the port on 127.0.0.1 where you wait")
	}
	if sum, err := base64.RawURLEncoding.DecodeString(f.Challenge); err != nil || len(sum) != sha256.Size {
		return api.Browser{}, invalid("challenge: want the SHA-256 of a verifier, in base64url")
	}
	f.ID = journal.NewID()
	until := b.now().Add(flowTTL)
	token, err := b.seed.Seal(sealFlow, until, f)
	if err != nil {
		return api.Browser{}, err
	}
	return api.Browser{URL: b.origin() + "/web/login?" + url.Values{"flow": {token}}.Encode(), ExpiresAt: until.UTC()}, nil
}

// landing is where the browser goes in the end.
func (b *Broker) landing(p proof) (string, error) {
	code, err := b.seed.Seal(sealProof, b.now().Add(proofTTL), p)
	if err != nil {
		return "", err
	}
	return "http://127.0.0.1:" + strconv.Itoa(p.Flow.Port) + "/callback?" + url.Values{"code": {code}}.Encode(), nil
}

// redeem takes a code that a browser brought to a terminal.
func (b *Broker) redeem(purpose, code, verifier string) (proof, error) {
	var p proof
	if err := b.seed.Open(sealProof, code, b.now(), &p); err != nil {
		return p, &access.Error{Code: access.Denied, Message: fmt.Sprintf("the browser's code: %v", err)}
	}
	sum := sha256.Sum256([]byte(verifier))
	if p.Flow.Purpose != purpose || subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(p.Flow.Challenge)) != 1 {
		return p, &access.Error{Code: access.Denied, Message: "the browser's code is of another sign-in"}
	}
	return p, nil
}

// origin is where browsers find the pages.
func (b *Broker) origin() string {
	if b.cfg.PublicURL != "" {
		return b.cfg.PublicURL
	}
	return "https://localhost:" + portOf(b.Addr())
}
