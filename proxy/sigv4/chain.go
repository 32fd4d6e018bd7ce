package sigv4

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"
)

// sigSize is the length of a signature in hex; SigV4A's vary and are padded with
// asterisks to sigSizeA in chunk headers.
const (
	sigSize  = 64
	sigSizeA = 144
)

// chain is the state of a chain of signatures over a body: each covers the one
// before it.
type chain struct {
	auth   *Authorization
	secret string
	keys   *Keys
	key    *signingKey
	ecdsa  *ecdsa.PrivateKey
	prev   []byte // hex
	msg    []byte
	tmp    []byte
	scope  Scope // of key
}

func newChain(c *Chain, keys *Keys) (*chain, error) {
	ch := &chain{auth: c.Auth, secret: c.Secret, keys: keys, prev: []byte(c.Auth.Signature), scope: c.Auth.Scope}
	if c.Auth.Algorithm == SigV4A {
		var err error
		ch.ecdsa, err = keys.ecdsaKey(c.Auth.AccessKeyID, c.Secret)
		return ch, err
	}
	ch.key = keys.get(c.Secret, &ch.scope)
	return ch, nil
}

// message builds the string to sign of one link. kind is "PAYLOAD" or "TRAILER";
// hashes are one or two SHA-256 sums.
func (c *chain) message(kind string, t time.Time, hashes ...*[32]byte) []byte {
	b := append(c.msg[:0], c.auth.Algorithm.String()...)
	b = append(append(append(b, '-'), kind...), '\n')
	b = t.UTC().AppendFormat(b, timeFormat)
	b = append(b, '\n')
	b = c.scope.appendCredential(b)
	b = append(b, '\n')
	b = append(b, c.prev...)
	for _, h := range hashes {
		b = append(b, '\n')
		b = hex.AppendEncode(b, h[:])
	}
	c.msg = b
	return b
}

// check verifies one link's signature (hex, padding removed) and moves on.
func (c *chain) check(msg, signature []byte) bool {
	ok := false
	if c.ecdsa != nil {
		ok = verifyECDSA(&c.ecdsa.PublicKey, msg, string(signature))
	} else {
		sum := c.key.sign(msg, &c.tmp)
		c.tmp = hex.AppendEncode(c.tmp[:0], sum[:])
		ok = subtle.ConstantTimeCompare(c.tmp, signature) == 1
	}
	c.prev = append(c.prev[:0], signature...)
	return ok
}

// make signs one link and moves on. The result is valid until the next call.
func (c *chain) make(msg []byte) ([]byte, error) {
	if c.ecdsa != nil {
		sig, err := signECDSA(c.ecdsa, msg)
		c.prev = append(c.prev[:0], sig...)
		return c.prev, err
	}
	sum := c.key.sign(msg, &c.tmp)
	c.prev = hex.AppendEncode(c.prev[:0], sum[:])
	return c.prev, nil
}

// at moves the chain to another day: frames of an event stream carry their own
// time, and a stream may live past midnight.
func (c *chain) at(t time.Time) {
	if d := t.UTC().Format(dateFormat); d != c.scope.Date {
		c.scope.Date = d
		c.key = c.keys.get(c.secret, &c.scope)
	}
}

// emptySum is the hash of nothing, which stands for a chunk's headers.
func emptySum() [32]byte { return sha256.Sum256(nil) }
