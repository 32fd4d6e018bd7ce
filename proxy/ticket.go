package proxy

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
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
// restart too, knows what its users hold: no secret is on a stream. The user who
// holds it can neither read nor change it; what it is worth is decided anew with
// every request.
//
// A token says which key it was sealed under, so that keys can change: proxies know
// a key before any of them seals under it, and for as long as tokens of it last.
type tickets struct {
	keys func() [][]byte
}

// newTickets takes the keys of the moment, 32 bytes each, the one to seal under
// first; nil makes one that only this proxy has.
func newTickets(keys func() [][]byte) (*tickets, error) {
	if keys == nil {
		own := [][]byte{make([]byte, chacha20poly1305.KeySize)}
		rand.Read(own[0]) // never fails (crypto/rand, Go 1.24)
		keys = func() [][]byte { return own }
	}
	now := keys()
	if len(now) == 0 {
		return nil, errors.New("ticket keys: none")
	}
	for _, key := range now {
		if _, err := chacha20poly1305.NewX(key); err != nil {
			return nil, fmt.Errorf("ticket key: %w", err)
		}
	}
	return &tickets{keys}, nil
}

// sealedHead begins what is sealed under a key: what it is for and the key's id, which
// tells nothing of the key. What is sealed is bound to it.
func sealedHead(prefix string, key []byte) string {
	sum := sha256.Sum256(append([]byte("postern ticket key id\x00"), key...))
	return prefix + base64.RawURLEncoding.EncodeToString(sum[:6]) + "."
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
	token, err := t.sealAs(ticketPrefix, plain)
	if err != nil {
		return "", fmt.Errorf("seal credentials: %w", err)
	}
	return token, nil
}

// sealAs seals anything for those who have the keys; the prefix says what it is for.
func (t *tickets) sealAs(prefix string, plain []byte) (string, error) {
	keys := t.keys()
	if len(keys) == 0 {
		return "", errors.New("there is no key")
	}
	aead, err := chacha20poly1305.NewX(keys[0])
	if err != nil {
		return "", err
	}
	head := sealedHead(prefix, keys[0])
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	rand.Read(nonce)
	return head + base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, []byte(head))), nil
}

// openAs reads what sealAs made with this prefix, nil where it is not that.
func (t *tickets) openAs(prefix, sealed string) []byte {
	var aead cipher.AEAD
	var head, text string
	for _, key := range t.keys() {
		head = sealedHead(prefix, key)
		var ok bool
		if text, ok = strings.CutPrefix(sealed, head); ok {
			aead, _ = chacha20poly1305.NewX(key) // nil where the key is none
			break
		}
	}
	if aead == nil {
		return nil
	}
	box, err := base64.RawURLEncoding.DecodeString(text)
	n := aead.NonceSize()
	if err != nil || len(box) < n {
		return nil
	}
	plain, err := aead.Open(nil, box[:n], box[n:], []byte(head))
	if err != nil {
		return nil
	}
	return plain
}

var errTicket = errors.New("the session token is not of this postern's proxies, or was changed")

// open reads a session token that seal made. Errors hold nothing of it.
func (t *tickets) open(token string) (*issued, error) {
	plain := t.openAs(ticketPrefix, token)
	if plain == nil {
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
// in memory, in the request's own session token, or else where proxies leave what
// works without postern. nil: nothing that the proxies know.
func (p *Proxy) issuedFor(ctx context.Context, auth *sigv4.Authorization) *issued {
	x := p.issued.find(auth.AccessKeyID)
	if x != nil || auth.SessionToken == "" {
		return x
	}
	if strings.HasPrefix(auth.SessionToken, ticketPrefix) {
		x, _ = p.tickets.open(auth.SessionToken)
	} else {
		x = p.shared.find(ctx, auth.AccessKeyID)
	}
	if x == nil || x.AccessKeyID != auth.AccessKeyID {
		return nil
	}
	if p.now().Before(x.expires) {
		p.issued.add(x)
	}
	return x
}
