package journal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	random "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/signed"
)

// world is a stream of ACCESS that brokers and others write to.
type world struct {
	t       testing.TB
	r       *random.Rand
	roots   *x509.CertPool
	pem     string
	certify func(*signed.Signer) string
	// brokers are keys that the CA vouches for, stranger one that it does not.
	brokers   []*signed.Signer
	stranger  *signed.Signer
	now       time.Time
	entries   []Entry
	revisions map[string]uint64
	attested  uint64
	known     *signed.Keys // those of entries
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, r: random.New(random.NewPCG(seed, 1)), roots: x509.NewCertPool(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), revisions: map[string]uint64{}}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(100 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	w.roots.AddCert(ca)
	w.known = signed.NewKeys(w.roots)
	w.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	w.certify = func(s *signed.Signer) string {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: w.now.Add(-time.Minute), NotAfter: w.now.Add(50 * time.Hour),
			UnknownExtKeyUsage: []asn1.ObjectIdentifier{signed.Purpose()}}, ca, s.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(der)
	}
	w.stranger = w.signer()
	return w
}

func (w *world) signer() *signed.Signer {
	s, err := signed.NewSigner()
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// put has the stream take a message.
func (w *world) put(channel string, raw []byte) {
	w.now = w.now.Add(time.Duration(1+w.r.IntN(1000)) * time.Millisecond)
	e := Entry{Stream: events.Access, Channel: channel, Seq: uint64(len(w.entries)) + 1, StoredAt: w.now, Raw: raw}
	e.Event, _ = decode(e)
	w.entries = append(w.entries, e)
	learn(w.known, e)
}

func learn(keys *signed.Keys, e Entry) {
	switch e.Data.(type) {
	case *events.KeyPublished, *events.CARotated:
		_ = keys.Verify(e.Channel, e.StoredAt, e.Event, e.Raw)
	}
}

func (w *world) encode(p events.Payload) []byte {
	raw, err := events.Encode(events.Event{Meta: events.Meta{ID: NewID(), Source: "/b", Time: w.now, Sequence: w.revisions[p.Channel()] + 1}, Data: p})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// decide has a broker append an event.
func (w *world) decide(by *signed.Signer, p events.Payload) {
	raw := by.Sign(p.Channel(), w.encode(p))
	w.revisions[p.Channel()]++
	w.put(p.Channel(), raw)
}

func (w *world) publish() {
	s := w.signer()
	w.brokers = append(w.brokers, s)
	w.decide(s, &events.KeyPublished{KeyID: s.ID(), Certificate: w.certify(s), NotBefore: w.now, NotAfter: w.now.Add(40 * time.Hour)})
}

// attestation is what an honest broker, which verifies each signature, says of all
// since the last one.
func (w *world) attestation() *events.HistoryAttested {
	var leaves []signed.Leaf
	d := &events.HistoryAttested{FirstSequence: w.attested + 1, LastSequence: uint64(len(w.entries))}
	for _, e := range w.entries[w.attested:] {
		leaves = append(leaves, signed.NewLeaf(e.Channel, e.Seq, e.StoredAt, e.Raw))
		if w.known.Verify(e.Channel, e.StoredAt, e.Event, e.Raw) != nil {
			d.Refused = append(d.Refused, e.Seq)
		}
	}
	d.SHA256 = signed.Digest(leaves)
	return d
}

// keys are those of entries, as Journal.Keys reads them.
func (w *world) keys(entries []Entry) *signed.Keys {
	keys := signed.NewKeys(w.roots)
	for _, e := range entries {
		learn(keys, e)
	}
	return keys
}

func (w *world) step() {
	lock := func() events.Payload {
		return &events.LockPlaced{LockID: fmt.Sprint("L", w.r.IntN(40)), Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "x"}
	}
	by := w.brokers[w.r.IntN(len(w.brokers))]
	past := w.entries[w.r.IntN(len(w.entries))]
	switch w.r.IntN(40) {
	default:
		w.decide(by, lock())
	case 0:
		w.publish()
	case 1:
		w.decide(by, &events.CARotated{Phase: "introduced", Certificates: w.pem})
	case 2, 3:
		if len(w.entries) > int(w.attested)+signed.MaxRun {
			w.attested = uint64(len(w.entries)) - 10 // too late
		}
		d := w.attestation()
		for range w.r.IntN(4) {
			w.decide(by, lock()) // meanwhile
		}
		w.decide(by, d)
		w.attested = d.LastSequence
	case 4: // nobody's
		w.put(lock().Channel(), w.encode(lock()))
	case 5:
		p := lock()
		w.put(p.Channel(), w.stranger.Sign(p.Channel(), w.encode(p)))
	case 6:
		p := lock()
		raw := by.Sign(p.Channel(), w.encode(p))
		raw[len(raw)-10] ^= 1
		w.put(p.Channel(), raw)
	case 7: // a copy, of an attestation for example
		w.put(past.Channel, past.Raw)
	case 8:
		w.put("access.lock.moved", past.Raw)
	case 9:
		w.put("access.lock.x", []byte("what?"))
	case 10: // an attestation of all that is forged so far
		d := w.attestation()
		d.Refused = nil
		w.put(d.Channel(), w.stranger.Sign(d.Channel(), w.encode(d)))
	case 11:
		d := w.attestation()
		d.Refused = nil
		w.put(d.Channel(), w.encode(d))
	case 12: // a genuine one, changed
		for _, e := range w.entries {
			if d, ok := e.Data.(*events.HistoryAttested); ok && len(d.Refused) > 0 {
				w.put(e.Channel, slices.Concat(e.Raw[:200], []byte("0"), e.Raw[201:]))
				break
			}
		}
	case 13:
		p := &events.KeyPublished{KeyID: w.stranger.ID(), Certificate: w.certify(by), NotAfter: w.now.Add(time.Hour)}
		w.put(p.Channel(), w.stranger.Sign(p.Channel(), w.encode(p)))
	}
}

// tamper changes what stands in the stream, which takes power over the stream itself.
func (w *world) tamper() {
	for range 1 + w.r.IntN(12) {
		i, k := w.r.IntN(len(w.entries)-1), w.r.IntN(len(w.entries))
		switch w.r.IntN(9) {
		case 0:
			w.entries = slices.Delete(w.entries, i, i+1)
		case 1: // two change places, each with the other's sequence
			a, b := &w.entries[i], &w.entries[i+1]
			a.Channel, b.Channel, a.Raw, b.Raw, a.Event, b.Event = b.Channel, a.Channel, b.Raw, a.Raw, b.Event, a.Event
		case 2:
			e := &w.entries[i]
			e.StoredAt = e.StoredAt.Add(time.Duration(w.r.IntN(100)-50) * time.Hour)
		case 3: // on another channel
			w.entries[i].Channel = w.entries[k].Channel
		case 4: // one in another's place
			a, b := &w.entries[i], w.entries[k]
			a.Channel, a.Raw, a.Event = b.Channel, b.Raw, b.Event
		case 5: // cut off at the front
			w.entries = w.entries[min(i, len(w.entries)/4):]
		default:
			e := &w.entries[i]
			if len(e.Raw) > 0 {
				e.Raw = slices.Clone(e.Raw)
				e.Raw[w.r.IntN(len(e.Raw))] ^= 1
				e.Event, _ = decode(*e)
			}
		}
	}
}

// check reads the stream from some entry on, in portions, and compares each verdict
// with what verifying the entry by itself gives. It returns how many were attested.
func (w *world) check(entries []Entry) (attested int) {
	w.t.Helper()
	alone, judge := w.keys(w.entries), NewJudge(w.keys(w.entries))
	next := 0
	look := func(vs []*Verified) {
		for _, v := range vs {
			e := entries[next]
			next++
			want := alone.Verify(e.Channel, e.StoredAt, e.Event, e.Raw)
			if v.Seq != e.Seq || fmt.Sprint(v.Forged) != fmt.Sprint(want) || (v.Data == nil) != (e.Data == nil) || v.Leaf != signed.NewLeaf(e.Channel, e.Seq, e.StoredAt, e.Raw) {
				w.t.Fatalf("%d of %d on %s (attested: %v): %v, want %d: %v", v.Seq, len(entries), v.Channel, v.Attested, v.Forged, e.Seq, want)
			}
			if v.Attested {
				attested++
			}
		}
	}
	for at := 0; at < len(entries); {
		n := min(1+w.r.IntN(400), len(entries)-at)
		portion := make([]Verified, n)
		for i := range portion {
			portion[i].Entry = entries[at+i]
			portion[i].Event = events.Event{}
		}
		at += n
		judge.hold(portion)
		look(judge.take(at < len(entries) && w.r.IntN(8) > 0))
	}
	if next != len(entries) {
		w.t.Fatalf("%d of %d came", next, len(entries))
	}
	return attested
}

// What comes of attestations is what comes of verifying each event, whatever stands
// in the stream, and whoever reads it from wherever.
func TestJudge(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			w.publish()
			for range 700 {
				w.step()
			}
			if n := w.check(w.entries); n < len(w.entries)/2 {
				t.Errorf("%d of %d are attested", n, len(w.entries))
			}
			w.check(w.entries[w.r.IntN(len(w.entries)):])
			some := slices.DeleteFunc(slices.Clone(w.entries), func(e Entry) bool { return w.r.IntN(50) == 0 })
			w.check(some) // through a filter
			w.tamper()
			w.check(w.entries)
		})
	}
}

// FuzzJudge is TestJudge of any seed, with attestations that are changed in transit
// in any way.
func FuzzJudge(f *testing.F) {
	f.Add(uint64(1), []byte(`"refused":[`), uint16(9))
	f.Fuzz(func(t *testing.T, seed uint64, change []byte, at uint16) {
		w := newWorld(t, seed)
		w.publish()
		for range 60 {
			w.step()
		}
		for i := range w.entries {
			e := &w.entries[i]
			if e.Channel == events.HistoryChannel && int(at) < len(e.Raw) && w.r.IntN(2) == 0 {
				e.Raw = slices.Clone(e.Raw)
				copy(e.Raw[at:], change)
				e.Event, _ = decode(*e)
			}
		}
		w.check(w.entries)
	})
}
