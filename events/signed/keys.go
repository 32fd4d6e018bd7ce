package signed

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/events"
)

// Purpose is the extended key usage of certificates for signing decisions,
// which no user's or server's certificate has: an OID under the arc that anybody
// may draw numbers in (ITU-T X.667).
func Purpose() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 25, 1329401651, 1816740093, 1201336411}
}

// Key is a key that readers believe.
type Key struct {
	ID     string
	Public ed25519.PublicKey
	// NotBefore and NotAfter are its time, by the clock of the stream.
	NotBefore, NotAfter time.Time
}

// Keys are those that readers believe. Make them with [NewKeys]. They are safe
// for concurrent use.
type Keys struct {
	mu        sync.RWMutex
	roots     *x509.CertPool
	rotations []rotation // by time
	known     map[string]Key
}

// rotation is a phase of a rotation of the CA.
type rotation struct {
	at    time.Time // by the clock of the stream
	alone bool      // others vouch for no key from then on
	certs []byte    // PEM
}

// NewKeys returns no keys yet. roots are the broker's CA.
func NewKeys(roots *x509.CertPool) *Keys {
	return &Keys{roots: roots, known: map[string]Key{}}
}

// Verify says what is wrong with an event as it stands on a channel since
// storedAt, by the stream's clock. It learns from what it verifies: a key that
// is published with a certificate of the CA, by itself or by a key that is
// believed, and what the CA changes to. A CA that a rotation has dropped vouches
// for no key that is published later; what it vouched for before stays.
//
// The order of events is not looked at: see [Place].
func (k *Keys) Verify(channel string, storedAt time.Time, e events.Event, raw []byte) error {
	return k.verify(channel, storedAt, e, raw, false)
}

// VerifyAttested is Verify but for the signature itself, which a broker attests that
// it verified: it has to be there, and of a key that is believed and whose time it was.
func (k *Keys) VerifyAttested(channel string, storedAt time.Time, e events.Event, raw []byte) error {
	return k.verify(channel, storedAt, e, raw, true)
}

func (k *Keys) verify(channel string, storedAt time.Time, e events.Event, raw []byte, attested bool) error {
	open, id, sig, err := split(raw)
	if err != nil {
		return err
	}
	k.mu.RLock()
	by, known := k.known[id]
	var published Key
	if p, ok := e.Data.(*events.KeyPublished); ok {
		published, err = read(p, k.rootsAt(storedAt), storedAt)
		if _, again := k.known[p.KeyID]; again {
			err = nil // a key that is believed may be known by a CA of later only
		}
		if !known && id == p.KeyID {
			by, known = published, true
		}
	}
	k.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("key %s: %w", e.Data.(*events.KeyPublished).KeyID, err)
	}
	switch {
	case !known:
		return fmt.Errorf("%w: key %s is none that the broker's CA vouches for", ErrUnsigned, id)
	case storedAt.Before(by.NotBefore), storedAt.After(by.NotAfter):
		return fmt.Errorf("it was stored at %s, and key %s is good from %s to %s only", storedAt.UTC().Format(time.RFC3339),
			id, by.NotBefore.UTC().Format(time.RFC3339), by.NotAfter.UTC().Format(time.RFC3339))
	case !attested && !ed25519.Verify(by.Public, message(channel, open), sig):
		return errors.New("its signature is wrong: it was changed, or made for another subject")
	}
	switch e.Data.(type) {
	case *events.KeyPublished, *events.CARotated:
	default:
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if published.ID != "" {
		k.known[published.ID] = published
	}
	if r, ok := e.Data.(*events.CARotated); ok {
		at, again := slices.BinarySearchFunc(k.rotations, storedAt, func(r rotation, t time.Time) int { return r.at.Compare(t) })
		if !again {
			k.rotations = slices.Insert(k.rotations, at, rotation{storedAt, r.Phase == events.CASteady, []byte(r.Certificates)})
		}
	}
	return nil
}

// rootsAt are the CAs that could vouch for a key at a time. The caller holds k.mu.
func (k *Keys) rootsAt(t time.Time) *x509.CertPool {
	roots := k.roots.Clone()
	for _, r := range k.rotations {
		if r.at.After(t) {
			break
		}
		if r.alone {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM(r.certs)
	}
	return roots
}

// All returns the keys that are believed, by id.
func (k *Keys) All() []Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.SortedFunc(maps.Values(k.known), func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
}

// read checks a key's certificate, of which the CA may have made one for the key
// long after the key's time.
func read(p *events.KeyPublished, roots *x509.CertPool, at time.Time) (Key, error) {
	der, err := base64.StdEncoding.DecodeString(p.Certificate)
	if err != nil {
		return Key{}, fmt.Errorf("certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Key{}, err
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return Key{}, fmt.Errorf("its certificate is not of the broker's CA: %w", err)
	}
	if !slices.ContainsFunc(cert.UnknownExtKeyUsage, Purpose().Equal) {
		return Key{}, errors.New("its certificate is not for signing decisions")
	}
	public, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || KeyID(public) != p.KeyID {
		return Key{}, errors.New("its certificate is of another key")
	}
	until := cert.NotAfter
	if p.NotAfter.Before(until) {
		until = p.NotAfter
	}
	return Key{ID: p.KeyID, Public: public, NotBefore: cert.NotBefore, NotAfter: until}, nil
}
