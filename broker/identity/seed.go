package identity

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/posternhq/postern/broker/sealed"
)

// seedSize is of a seed and of the keys that come of it, in bytes.
const seedSize = 32

// Seed is the one secret of which brokers make all others: TOTP secrets, and the
// keys of the tokens that they hand to browsers and take back. Brokers that share
// it need to remember nothing of a sign-in that is under way.
type Seed struct{ secret []byte }

// OpenSeed reads the seed of a store, or makes it: of several brokers at once,
// all get the same.
func OpenSeed(ctx context.Context, store *sealed.Store) (*Seed, error) {
	secret, err := store.Keep(ctx, "seed", func() ([]byte, error) { return randomBytes(seedSize), nil })
	switch {
	case err != nil:
		return nil, fmt.Errorf("seed: %w", err)
	case len(secret) != seedSize:
		return nil, fmt.Errorf("seed: it has %d bytes, not %d", len(secret), seedSize)
	}
	return &Seed{secret: secret}, nil
}

// Derive returns n bytes for a purpose, always the same (HKDF, RFC 5869).
func (s *Seed) Derive(purpose string, n int) []byte {
	key, err := hkdf.Key(sha256.New, s.secret, nil, "postern "+purpose, n)
	if err != nil {
		panic(err) // only for n beyond 255 hashes
	}
	return key
}

type token struct {
	Until time.Time       `json:"until"`
	Value json.RawMessage `json:"value"`
}

// Seal makes a token of a value that only a broker can read, or make, and that
// is worth nothing for another purpose or after a time.
func (s *Seed) Seal(purpose string, until time.Time, v any) (string, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(token{until, value})
	if err != nil {
		return "", err
	}
	box, err := s.box(purpose)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(box.Seal(nil, nil, text, nil)), nil
}

// errToken does not say what is wrong with a token: most likely its age.
var errToken = errors.New("it is too old, or not of this postern: begin again")

// Open reads what Seal made.
func (s *Seed) Open(purpose, text string, now time.Time, into any) error {
	box, err := s.box(purpose)
	if err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return errToken
	}
	var t token
	if raw, err = box.Open(nil, nil, raw, nil); err != nil || json.Unmarshal(raw, &t) != nil || !now.Before(t.Until) {
		return errToken
	}
	return json.Unmarshal(t.Value, into)
}

func (s *Seed) box(purpose string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.Derive("seal "+purpose, seedSize))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
