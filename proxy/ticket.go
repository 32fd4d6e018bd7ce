package proxy

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/posternhq/postern/proxy/sigv4"
)

// ticketPrefix begins the session tokens that postern gives in the place of AWS's.
const ticketPrefix = "postern1."

// tickets makes the session tokens of credentials that are good through postern
// only, and reads them. A token holds the credentials that AWS gave, sealed under
// a key that the proxies of one postern share, so that each of them, after a
// restart too, knows what its users hold: nothing is stored, and no secret is on
// a stream. The user who holds it can neither read nor change it; what it is
// worth is decided anew with every request.
type tickets struct {
	aead cipher.AEAD
}

// newTickets takes a key of 32 bytes; nil makes one that only this proxy has.
func newTickets(key []byte) (*tickets, error) {
	if key == nil {
		key = make([]byte, chacha20poly1305.KeySize)
		rand.Read(key) // never fails (crypto/rand, Go 1.24)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("ticket key: %w", err)
	}
	return &tickets{aead}, nil
}

// ticket is what is sealed, in JSON.
type ticket struct {
	AccessKeyID     string    `json:"id"`
	SecretAccessKey string    `json:"key"` // AWS's
	SessionToken    string    `json:"token"`
	S3Session       bool      `json:"s3,omitempty"`
	Secret          string    `json:"own"` // what the user signs with
	Session         string    `json:"session"`
	RoleARN         string    `json:"role"`
	Account         string    `json:"account"`
	RoleSessionName string    `json:"name"`
	SourceIdentity  string    `json:"source,omitempty"`
	Expires         time.Time `json:"exp"`
}

// seal makes the session token of what a user is given.
func (t *tickets) seal(x *issued) (string, error) {
	plain, err := json.Marshal(ticket{
		AccessKeyID: x.AccessKeyID, SecretAccessKey: x.SecretAccessKey, SessionToken: x.SessionToken, S3Session: x.S3Session,
		Secret: x.secret, Session: x.session, RoleARN: x.roleARN, Account: x.account,
		RoleSessionName: x.roleSessionName, SourceIdentity: x.sourceIdentity, Expires: x.expires,
	})
	if err != nil {
		return "", fmt.Errorf("seal credentials: %w", err)
	}
	nonce := make([]byte, t.aead.NonceSize(), t.aead.NonceSize()+len(plain)+t.aead.Overhead())
	rand.Read(nonce)
	return ticketPrefix + base64.RawURLEncoding.EncodeToString(t.aead.Seal(nonce, nonce, plain, []byte(ticketPrefix))), nil
}

var errTicket = errors.New("the session token is not of this postern's proxies, or was changed")

// open reads a session token that seal made. Errors hold nothing of it.
func (t *tickets) open(token string) (*issued, error) {
	text, ok := strings.CutPrefix(token, ticketPrefix)
	if !ok {
		return nil, errTicket
	}
	box, err := base64.RawURLEncoding.DecodeString(text)
	n := t.aead.NonceSize()
	if err != nil || len(box) < n {
		return nil, errTicket
	}
	plain, err := t.aead.Open(nil, box[:n], box[n:], []byte(ticketPrefix))
	if err != nil {
		return nil, errTicket
	}
	var k ticket
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.DisallowUnknownFields() // a newer proxy's: it may mean less than what is read here
	if err := dec.Decode(&k); err != nil || k.AccessKeyID == "" || k.Secret == "" || k.Session == "" {
		return nil, errTicket
	}
	return &issued{
		Credentials: sigv4.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken, S3Session: k.S3Session},
		secret:      k.Secret, session: k.Session, roleARN: k.RoleARN, account: k.Account,
		roleSessionName: k.RoleSessionName, sourceIdentity: k.SourceIdentity, expires: k.Expires,
	}, nil
}

// issuedFor finds what was given to a user under the key that signed a request:
// in memory, else in the request's own session token. nil: nothing that this
// proxy knows.
func (p *Proxy) issuedFor(auth *sigv4.Authorization) *issued {
	if x := p.issued.find(auth.AccessKeyID); x != nil || auth.SessionToken == "" {
		return x
	}
	x, err := p.tickets.Load().open(auth.SessionToken)
	if err != nil || x.AccessKeyID != auth.AccessKeyID {
		return nil
	}
	if p.now().Before(x.expires) {
		p.issued.add(x)
	}
	return x
}

// UseTicketKey has the proxy seal under a key that others share with it, 32 bytes,
// from now on; what it gave before, it knows as long as it runs.
func (p *Proxy) UseTicketKey(key []byte) error {
	t, err := newTickets(key)
	if err != nil {
		return err
	}
	p.tickets.Store(t)
	return nil
}
