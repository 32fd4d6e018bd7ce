// Package device tells the machines apart from which people sign in. Each keeps a
// key of its own, and a sign-in proves by it where it comes from; the device's id
// is the key's, so that nobody signs in under another's. It says which machine,
// not whether it is a good one: who wipes it has another device.
package device

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posternhq/postern/broker/api"
)

// Device is a machine as its key and its user name it.
type Device struct {
	// ID is the first 16 bytes of the SHA-256 of the public key (DER of its
	// SubjectPublicKeyInfo), in hex.
	ID string `json:"id,omitempty"`
	// Name is what the machine calls itself: nobody vouches for it.
	Name string `json:"name,omitempty"`
}

const (
	idBytes = 16
	maxName = 64
)

// NewKey makes a device's key, as the PEM file that the machine keeps.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of this device: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of this device: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

const pemType = "PRIVATE KEY"

// Prove shows, with the key of NewKey, that this machine asks for the certificate
// of a CSR in PEM. The name is cut to what Verify takes.
func Prove(keyPEM []byte, name, csr string) (*api.DeviceProof, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != pemType {
		return nil, errors.New("key of this device: it is not a PRIVATE KEY in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key of this device: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("key of this device: it is not ECDSA P-256")
	}
	p := &api.DeviceProof{Name: clean(name)}
	if p.Key, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return nil, fmt.Errorf("key of this device: %w", err)
	}
	if p.Signature, err = ecdsa.SignASN1(rand.Reader, key, digest(csr)); err != nil {
		return nil, fmt.Errorf("key of this device: %w", err)
	}
	return p, nil
}

// Verify reads a device from its proof for a CSR in PEM. The CSR's key is made
// for one sign-in, whose certificate is worth nothing without it: so the proof
// cannot be used again by others.
func Verify(p api.DeviceProof, csr string) (Device, error) {
	public, err := x509.ParsePKIXPublicKey(p.Key)
	if err != nil {
		return Device{}, fmt.Errorf("key: %w", err)
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return Device{}, errors.New("key: it must be ECDSA P-256")
	}
	// The id is of the key, not of one of the ways to write it.
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return Device{}, fmt.Errorf("key: %w", err)
	}
	if !ecdsa.VerifyASN1(key, digest(csr), p.Signature) {
		return Device{}, errors.New("signature: it is not by this key for this CSR")
	}
	if p.Name != clean(p.Name) {
		return Device{}, fmt.Errorf("name: want %d printable bytes at most", maxName)
	}
	sum := sha256.Sum256(der)
	return Device{ID: hex.EncodeToString(sum[:idBytes]), Name: p.Name}, nil
}

// digest is what the signature is over: no signature for another purpose is one.
func digest(csr string) []byte {
	sum := sha256.Sum256([]byte("postern device v1\n" + csr))
	return sum[:]
}

// clean leaves out what is not printable, and what is too long.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	for len(name) > maxName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return strings.TrimSpace(name)
}
