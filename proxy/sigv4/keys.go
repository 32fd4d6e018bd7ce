package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// maxKeys bounds the cache: some thousand roles times regions and services of
// one day, at about 100 bytes each.
const maxKeys = 8192

// Keys derives signing keys and remembers them, so that a request costs one
// HMAC and not five. It may be shared by any number of signers and verifiers and
// goroutines. Secrets are looked up by a digest of them; only derived keys, each
// good for a day, a region and a service, are held. The zero value is ready.
type Keys struct {
	mu sync.RWMutex
	m  map[[32]byte]*signingKey
}

// signingKey is the padded halves of an HMAC key (RFC 2104), so that signing
// needs no allocation.
type signingKey struct{ inner, outer [64]byte }

func (k *Keys) get(secret string, scope *Scope) *signingKey {
	if k == nil {
		return derive(secret, scope)
	}
	id := keyID(secret, scope)
	k.mu.RLock()
	key := k.m[id]
	k.mu.RUnlock()
	if key != nil {
		return key
	}
	key = derive(secret, scope)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil || len(k.m) >= maxKeys {
		// Keys die at midnight in any case; starting afresh costs four HMACs
		// for each key in use.
		k.m = make(map[[32]byte]*signingKey)
	}
	k.m[id] = key
	return key
}

func keyID(secret string, s *Scope) [32]byte {
	var arr [192]byte
	b := arr[:0]
	for _, f := range [...]string{secret, s.Date, s.Region, s.Service} {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	return sha256.Sum256(b)
}

func derive(secret string, s *Scope) *signingKey {
	sum := mac([]byte("AWS4"+secret), s.Date)
	sum = mac(sum, s.Region)
	sum = mac(sum, s.Service)
	sum = mac(sum, ending)
	k := new(signingKey)
	for i := range k.inner {
		k.inner[i], k.outer[i] = 0x36, 0x5c
	}
	for i, c := range sum {
		k.inner[i] ^= c
		k.outer[i] ^= c
	}
	return k
}

func mac(key []byte, msg string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(msg))
	return h.Sum(nil)
}

// sign gives HMAC-SHA256 of msg. scratch is overwritten.
func (k *signingKey) sign(msg []byte, scratch *[]byte) [32]byte {
	b := append(append((*scratch)[:0], k.inner[:]...), msg...)
	*scratch = b
	sum := sha256.Sum256(b)
	var out [64 + 32]byte
	copy(out[:], k.outer[:])
	copy(out[64:], sum[:])
	return sha256.Sum256(out[:])
}
