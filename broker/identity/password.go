package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Argon2id by the second recommendation of RFC 9106, section 4: 64 MiB, three
// passes, four lanes.
const (
	argonMemory  = 64 << 10 // KiB
	argonPasses  = 3
	argonLanes   = 4
	argonSalt    = 16
	argonTag     = 32
	parallelHash = 2 // at once: 128 MiB at most
)

// Bounds of a password, in bytes.
const (
	minPassword = 8
	maxPassword = 1024
)

// hasher computes Argon2id, few at a time: sign-ins of a crowd wait instead of
// using the memory up.
type hasher struct {
	slots chan struct{}
	// dummy is what an unknown user's password is compared with.
	dummy hash
}

type hash struct{ salt, tag []byte }

func newHasher() *hasher {
	h := &hasher{slots: make(chan struct{}, parallelHash)}
	h.dummy = hash{salt: randomBytes(argonSalt), tag: randomBytes(argonTag)}
	return h
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand
	return b
}

func (h *hasher) tag(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.slots }()
	return argon2.IDKey([]byte(password), salt, argonPasses, argonMemory, argonLanes, argonTag), nil
}

// make hashes a new password.
func (h *hasher) make(ctx context.Context, password string) (hash, error) {
	if err := CheckPassword(password); err != nil {
		return hash{}, err
	}
	out := hash{salt: randomBytes(argonSalt)}
	var err error
	out.tag, err = h.tag(ctx, password, out.salt)
	return out, err
}

// CheckPassword reports why a password will not do.
func CheckPassword(password string) error {
	switch {
	case len(password) < minPassword:
		return fmt.Errorf("a password has %d bytes at least", minPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("a password has %d bytes at most", maxPassword)
	}
	return nil
}

// verify compares in constant time. known false costs the same and is false.
func (h *hasher) verify(ctx context.Context, password string, want hash, known bool) (bool, error) {
	if len(password) > maxPassword {
		password, known = "", false
	}
	if !known {
		want = h.dummy
	}
	got, err := h.tag(ctx, password, want.salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want.tag) == 1 && known, nil
}

// String is the PHC form, $argon2id$v=19$m=65536,t=3,p=4$salt$tag.
func (h hash) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonLanes,
		b.EncodeToString(h.salt), b.EncodeToString(h.tag))
}

// parseHash reads the PHC form with the parameters of this version.
func parseHash(s string) (hash, error) {
	prefix := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonPasses, argonLanes)
	rest, ok := strings.CutPrefix(s, prefix)
	salt, tag, both := strings.Cut(rest, "$")
	if !ok || !both {
		return hash{}, errors.New("not an Argon2id hash with postern's parameters")
	}
	var h hash
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(salt); err != nil || len(h.salt) != argonSalt {
		return hash{}, errors.New("bad salt of an Argon2id hash")
	}
	if h.tag, err = base64.RawStdEncoding.Strict().DecodeString(tag); err != nil || len(h.tag) != argonTag {
		return hash{}, errors.New("bad tag of an Argon2id hash")
	}
	return h, nil
}
