package signed

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// authority makes a CA, and certificates of keys that are good for an hour
// around t0.
func authority(t testing.TB) (*x509.CertPool, func(*Signer) []byte) {
	t.Helper()
	roots, certify, _ := authorityPEM(t)
	return roots, certify
}

func authorityPEM(t testing.TB) (*x509.CertPool, func(*Signer) []byte, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: t0.Add(-time.Hour), NotAfter: t0.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return roots, func(s *Signer) []byte {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: t0.Add(-time.Minute), NotAfter: t0.Add(time.Minute),
			UnknownExtKeyUsage: []asn1.ObjectIdentifier{Purpose()}}, cert, s.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func signer(t testing.TB) *Signer {
	t.Helper()
	s, err := NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stand encodes an event, signs it, and reads it again.
func stand(t testing.TB, s *Signer, p events.Payload) (events.Event, []byte) {
	t.Helper()
	raw, err := events.Encode(events.Event{Meta: events.Meta{ID: "1", Source: "/postern/broker/b", Time: t0, Sequence: 1}, Data: p})
	if err != nil {
		t.Fatal(err)
	}
	raw = s.Sign(p.Channel(), raw)
	e, err := events.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e, raw
}

func published(s *Signer, der []byte) *events.KeyPublished {
	return &events.KeyPublished{KeyID: s.ID(), NotAfter: t0.Add(time.Hour), Certificate: base64.StdEncoding.EncodeToString(der)}
}

func TestVerify(t *testing.T) {
	roots, certify := authority(t)
	s := signer(t)
	keys := NewKeys(roots)
	lock := &events.LockPlaced{LockID: "L", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"}
	e, raw := stand(t, s, lock)
	if err := keys.Verify(e.Data.Channel(), t0, e, raw); !errors.Is(err, ErrUnsigned) {
		t.Errorf("before its key is known: %v", err)
	}
	k, kraw := stand(t, s, published(s, certify(s)))
	if err := keys.Verify(k.Data.Channel(), t0.Add(2*time.Minute), k, kraw); err == nil || len(keys.All()) > 0 {
		t.Errorf("a key whose time is over: %v, known %v", err, keys.All())
	}
	if err := keys.Verify(k.Data.Channel(), t0, k, kraw); err != nil {
		t.Fatal(err)
	}
	if err := keys.Verify(e.Data.Channel(), t0, e, raw); err != nil {
		t.Error(err)
	}
	for want, at := range map[string]time.Time{"stored at 2026-03-01T12:02:00Z": t0.Add(2 * time.Minute), "stored at 2026-03-01T11:58:00Z": t0.Add(-2 * time.Minute)} {
		if err := keys.Verify(e.Data.Channel(), at, e, raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("out of the key's time: %v", err)
		}
	}
	if err := keys.Verify("access.lock.M", t0, e, raw); err == nil {
		t.Error("good on another channel")
	}
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		if keys.Verify(e.Data.Channel(), t0, e, changed) == nil {
			t.Errorf("good with byte %d changed: %s", i, changed)
		}
	}
	// A key is believed for its certificate.
	other := signer(t)
	o, oraw := stand(t, other, published(other, certify(s)))
	if err := keys.Verify(o.Data.Channel(), t0, o, oraw); err == nil || !strings.Contains(err.Error(), "of another key") {
		t.Errorf("a key with another's certificate: %v", err)
	}
	if all := keys.All(); len(all) != 1 || all[0].ID != s.ID() {
		t.Errorf("known: %v", all)
	}
	o, oraw = stand(t, s, published(other, certify(other)))
	if err := keys.Verify(o.Data.Channel(), t0, o, oraw); err != nil || len(keys.All()) != 2 {
		t.Errorf("a key published by another that is believed: %v", err)
	}
	third := signer(t)
	o, oraw = stand(t, signer(t), published(third, certify(third)))
	if err := keys.Verify(o.Data.Channel(), t0, o, oraw); !errors.Is(err, ErrUnsigned) {
		t.Errorf("a key published by a stranger: %v", err)
	}
}

// A new CA is believed on the word of the old one's keys, and vouches for the
// keys of before to those who know the new one alone.
func TestRotatedCA(t *testing.T) {
	oldRoots, oldCertify, _ := authorityPEM(t)
	newRoots, newCertify, newPEM := authorityPEM(t)
	old, next := signer(t), signer(t)
	history := []stood{
		put(t, old, published(old, oldCertify(old))),
		put(t, old, &events.LockPlaced{LockID: "L", By: "admin"}),
		put(t, old, &events.CARotated{Phase: "switched", Certificates: newPEM}),
		put(t, next, published(next, newCertify(next))),
		put(t, next, published(old, newCertify(old))),
		put(t, next, &events.LockLifted{LockID: "L", By: "admin"}),
	}
	for name, roots := range map[string]*x509.CertPool{"who knew the old CA": oldRoots, "who knows the new one": newRoots} {
		keys := NewKeys(roots)
		for _, e := range history {
			_ = keys.Verify(e.Data.Channel(), t0, e.Event, e.raw) // as journal.Keys does
		}
		for i, e := range history {
			if err := keys.Verify(e.Data.Channel(), t0, e.Event, e.raw); err != nil {
				t.Errorf("%s: %d: %s: %v", name, i, e.Data.Type(), err)
			}
		}
	}
}

// A CA that was dropped, and whoever has its key, vouches for no more keys, also
// where readers still pin it. What it vouched for before stays good.
func TestDroppedCA(t *testing.T) {
	oldRoots, oldCertify, oldPEM := authorityPEM(t)
	_, newCertify, newPEM := authorityPEM(t)
	old, next, thief := signer(t), signer(t), signer(t)
	stolen := published(thief, oldCertify(thief))
	history := []struct {
		stood
		good bool
	}{
		{put(t, old, published(old, oldCertify(old))), true},
		{put(t, old, &events.LockPlaced{LockID: "L", By: "admin"}), true},
		{put(t, old, &events.CARotated{Phase: "switched", Certificates: newPEM + oldPEM}), true},
		{put(t, next, published(next, newCertify(next))), true},
		{put(t, next, published(old, newCertify(old))), true},
		{put(t, next, &events.CARotated{Phase: events.CASteady, Certificates: newPEM}), true},
		{put(t, thief, stolen), false},
		{put(t, thief, &events.LockLifted{LockID: "L", By: "admin"}), false},
		{put(t, old, &events.LockPlaced{LockID: "M", By: "admin"}), true},
	}
	keys := NewKeys(oldRoots)
	for _, pass := range []string{"as journal.Keys reads it", "as it is followed"} {
		for i, e := range history {
			err := keys.Verify(e.Data.Channel(), t0.Add(time.Duration(i)*time.Second), e.Event, e.raw)
			if (err == nil) != e.good {
				t.Errorf("%s: %d: %s: %v", pass, i, e.Data.Type(), err)
			}
		}
	}
	// Before the rotation's end the same was good.
	keys = NewKeys(oldRoots)
	for i, e := range append(history[:5:5], history[6]) {
		if err := keys.Verify(e.Data.Channel(), t0.Add(time.Duration(i)*time.Second), e.Event, e.raw); err != nil {
			t.Errorf("without the end: %d: %s: %v", i, e.Data.Type(), err)
		}
	}
}

// stood is a signed event and its bytes.
type stood struct {
	events.Event
	raw []byte
}

func put(t testing.TB, s *Signer, p events.Payload) stood {
	t.Helper()
	e, raw := stand(t, s, p)
	return stood{e, raw}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		seq, head uint64
		want      error
	}{{1, 0, nil}, {5, 4, nil}, {0, 0, ErrRepeated}, {1, 1, ErrRepeated}, {4, 9, ErrRepeated}, {2, 0, ErrGap}, {9, 4, ErrGap}} {
		if err := Place(events.Event{Meta: events.Meta{Sequence: c.seq}}, c.head); !errors.Is(err, c.want) {
			t.Errorf("%d after %d: %v", c.seq, c.head, err)
		}
	}
}

// FuzzVerify: nothing but what was signed is good, whatever it looks like.
func FuzzVerify(f *testing.F) {
	roots, certify := authority(f)
	s := signer(f)
	keys := NewKeys(roots)
	k, kraw := stand(f, s, published(s, certify(s)))
	if err := keys.Verify(k.Data.Channel(), t0, k, kraw); err != nil {
		f.Fatal(err)
	}
	e, raw := stand(f, s, &events.LockLifted{LockID: "L", By: "admin"})
	f.Add(raw)
	f.Add(raw[:len(raw)-tail])
	f.Add([]byte(`{"a":1,"signature":"0123456789abcdef.` + strings.Repeat("A", sigLen) + `"}`))
	f.Add([]byte(`{"signature":"`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := keys.Verify(e.Data.Channel(), t0, e, b); (err == nil) != bytes.Equal(b, raw) {
			t.Errorf("%q: %v", b, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	roots, certify := authority(b)
	s := signer(b)
	keys := NewKeys(roots)
	k, kraw := stand(b, s, published(s, certify(s)))
	if err := keys.Verify(k.Data.Channel(), t0, k, kraw); err != nil {
		b.Fatal(err)
	}
	e, raw := stand(b, s, &events.LockLifted{LockID: "L", By: "admin"})
	for b.Loop() {
		if err := keys.Verify(e.Data.Channel(), t0, e, raw); err != nil {
			b.Fatal(err)
		}
	}
}
