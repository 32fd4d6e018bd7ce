package signed

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

const (
	context = "postern decision v1\n"
	member  = `,"signature":"`
	keyLen  = 16 // hex digits
	sigLen  = 86 // 64 bytes in base64url
	tail    = len(member) + keyLen + 1 + sigLen + len(`"}`)
)

// ErrUnsigned is wrapped by the error for an event without a signature of a
// known key.
var ErrUnsigned = errors.New("it is not signed by a broker")

// Signer is a signing key. It exists in memory only.
type Signer struct {
	id  string
	key ed25519.PrivateKey
}

// NewSigner makes a key.
func NewSigner() (*Signer, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return &Signer{id: KeyID(public), key: key}, nil
}

// KeyID names a public key.
func KeyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:keyLen/2])
}

// ID names the key.
func (s *Signer) ID() string { return s.id }

// Public is what signatures are verified with.
func (s *Signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// Sign returns an encoded event with its signature for a channel.
func (s *Signer) Sign(channel string, event []byte) []byte {
	open := event[:len(event)-1]
	sig := ed25519.Sign(s.key, message(channel, open))
	out := make([]byte, 0, len(event)+tail-1)
	out = append(out, open...)
	out = append(out, member+s.id+"."...)
	out = base64.RawURLEncoding.AppendEncode(out, sig)
	return append(out, `"}`...)
}

// message is what is signed of an event, given without its last brace.
func message(channel string, open []byte) []byte {
	return slices.Concat([]byte(context), []byte(channel), []byte("\n"), open, []byte("}"))
}

// split takes an event apart: what was signed, without its last brace, by which key,
// the signature.
func split(raw []byte) (open []byte, key string, sig []byte, err error) {
	at := len(raw) - tail
	if at < 1 || string(raw[at:at+len(member)]) != member || string(raw[len(raw)-2:]) != `"}` {
		return nil, "", nil, ErrUnsigned
	}
	text := raw[at+len(member) : len(raw)-2]
	if text[keyLen] != '.' {
		return nil, "", nil, ErrUnsigned
	}
	sig, err = base64.RawURLEncoding.Strict().DecodeString(string(text[keyLen+1:]))
	if err != nil {
		return nil, "", nil, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	return raw[:at], string(text[:keyLen]), sig, nil
}
