package joining

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"strings"
	"time"
)

// challengeTTL is how long a service may take to answer a challenge.
const challengeTTL = 2 * time.Minute

// Challenger gives out challenges and knows them again. Brokers with the same
// key know each other's; none remembers any.
type Challenger struct{ key []byte }

// NewChallenger returns a Challenger with a key of 32 random bytes.
func NewChallenger(key []byte) *Challenger { return &Challenger{key} }

const (
	challengeNonce  = 16
	challengeHeader = 8 + challengeNonce // its end in Unix seconds, and the nonce
)

// New returns a challenge.
func (c *Challenger) New(now time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(now.Add(challengeTTL).Unix()))
	b = append(b, make([]byte, challengeNonce)...)
	rand.Read(b[8:]) // never fails: crypto/rand
	return base64.RawURLEncoding.EncodeToString(append(b, c.mac(b)...))
}

// Check reports why a challenge is not one of ours, or not any more.
func (c *Challenger) Check(challenge string, now time.Time) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	if err != nil || len(b) != challengeHeader+sha256.Size || !hmac.Equal(b[challengeHeader:], c.mac(b[:challengeHeader])) {
		return errors.New("the challenge is not this broker's")
	}
	if now.Unix() > int64(binary.BigEndian.Uint64(b)) {
		return errors.New("the challenge is over: ask for another")
	}
	return nil
}

func (c *Challenger) mac(b []byte) []byte {
	h := hmac.New(sha256.New, c.key)
	h.Write(b)
	return h.Sum(nil)
}

// Bind ties a challenge to the key of a CSR in PEM: what is signed over it
// serves nobody without that key.
func Bind(challenge, csr string) (string, error) {
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		return "", errors.New("csr: no PEM")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(req.RawSubjectPublicKeyInfo)
	return strings.Join([]string{challenge, base64.RawURLEncoding.EncodeToString(sum[:])}, "."), nil
}
