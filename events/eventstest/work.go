package eventstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
)

// Work is a long history on ACCESS, for benchmarks: signed, and attested as brokers
// attest it.
type Work struct {
	// Roots is the CA that vouches for the key of all of it.
	Roots *x509.CertPool

	nc       *nats.Conn
	signer   *signed.Signer
	attested uint64
	revision uint64 // of the last attestation
	leaves   []signed.Leaf
}

// NewWork begins a history.
func NewWork(b testing.TB, nc *nats.Conn) *Work {
	b.Helper()
	fail := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	fail(err)
	ca, err = x509.ParseCertificate(der)
	fail(err)
	w := &Work{Roots: x509.NewCertPool(), nc: nc}
	w.Roots.AddCert(ca)
	w.signer, err = signed.NewSigner()
	fail(err)
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{signed.Purpose()}}, ca, w.signer.Public(), key)
	fail(err)
	fail(w.append(b, events.Event{Meta: events.Meta{Sequence: 1}, Data: &events.KeyPublished{
		KeyID: w.signer.ID(), Certificate: base64.StdEncoding.EncodeToString(cert), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}}))
	return w
}

// Journal returns a journal whose events are signed.
func (w *Work) Journal(b testing.TB) *journal.Journal {
	b.Helper()
	j := Open(b, w.nc)
	j.SignWith(w.signer.Sign)
	return j
}

func (w *Work) append(b testing.TB, e events.Event) error {
	_, err := w.Journal(b).Append(b.Context(), e)
	return err
}

// Fill publishes events of a history of n, from one number to another, spread evenly
// over a time that ends at now, and attests them.
func (w *Work) Fill(b testing.TB, from, to, n int, over time.Duration, now time.Time) {
	b.Helper()
	js, err := jetstream.New(w.nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		b.Fatal(err)
	}
	const portion = signed.MinRun
	for i := from; i < to; {
		end := min(i+portion, to)
		for ; i < end; i++ {
			e := AtWork(i, now.Add(-over+time.Duration(float64(over)*float64(i)/float64(n))).UTC())
			body, err := events.Encode(e)
			if err == nil {
				_, err = js.PublishAsync(e.Data.Channel(), w.signer.Sign(e.Data.Channel(), body), jetstream.WithStallWait(time.Minute))
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-b.Context().Done():
			b.Fatal(b.Context().Err())
		}
		w.attest(b)
	}
}

// attest has a broker attest what was published since.
func (w *Work) attest(b testing.TB) {
	j := w.Journal(b)
	for e, err := range j.ReplayAfter(b.Context(), events.Access, w.attested) {
		if err != nil {
			b.Fatal(err)
		}
		w.leaves = append(w.leaves, signed.NewLeaf(e.Channel, e.Seq, e.StoredAt, e.Raw))
	}
	w.revision++
	d := &events.HistoryAttested{FirstSequence: w.leaves[0].Seq, LastSequence: w.leaves[len(w.leaves)-1].Seq, SHA256: signed.Digest(w.leaves)}
	if err := w.append(b, events.Event{Meta: events.Meta{Sequence: w.revision}, Data: d}); err != nil {
		b.Fatal(err)
	}
	w.attested, w.leaves = d.LastSequence, w.leaves[:0]
}

// AtWork is event i of people at work: of 20 events 8 begin a session, 8 end one, 2
// are sign-ins, and 2 are of a request and its approval; in place of every tenth
// sign-in a user is changed, and another is locked or a lock lifted.
func AtWork(i int, at time.Time) events.Event {
	var p events.Payload
	revision := uint64(1)
	id, user := fmt.Sprintf("S%09d", i/20*8+i%20%8), fmt.Sprintf("user%d@example.com", i%500)
	switch k := i % 20; {
	case i%200 == 16:
		if revision = uint64(i/200/500) + 1; revision == 1 {
			p = &events.UserCreated{User: events.User{Name: fmt.Sprintf("user%d@example.com", i/200%500), Roles: []string{"aws-engineer"}}, By: "admin"}
		} else {
			p = &events.UserUpdated{User: events.User{Name: fmt.Sprintf("user%d@example.com", i/200%500), Roles: []string{"aws-engineer"}}, By: "admin"}
		}
	case i%200 == 36:
		p = &events.LockPlaced{LockID: fmt.Sprintf("L%09d", i/200), Target: events.LockTarget{Kind: "user", Name: "former" + user}, By: "admin"}
	case i%200 == 56:
		p, revision = &events.LockLifted{LockID: fmt.Sprintf("L%09d", i/200), By: "admin"}, 2
	case k < 8:
		p = &events.SessionStarted{SessionID: id, User: user, Roles: []events.RoleRef{{Name: "aws-engineer", Revision: 3}}, App: "awsconsole",
			AppLabels: map[string]string{"env": "prod", "team": "payments"}, AWSRoleARN: "arn:aws:iam::123456789012:role/team/Admin", Account: "123456789012", Partition: "aws", Region: "us-east-1",
			RoleSessionName: user, SourceIdentity: user, ExternalID: "postern-1", Permissions: []events.Permission{{Role: "aws-engineer", Effect: "Allow", Actions: []string{"s3:*", "@Read"}}},
			Requestable: []string{"aws-admin"}, StartedAt: at, ExpiresAt: at.Add(8 * time.Hour), ClientAddr: "192.0.2.10"}
	case k < 16:
		p, revision = &events.SessionEnded{SessionID: id, User: user, By: user, Reason: "ended by " + user}, 2
	case k < 18:
		p = &events.SigninSucceeded{User: user, Method: "password", ClientAddr: "192.0.2.10", CertificateSerial: id, ExpiresAt: at.Add(12 * time.Hour)}
	case k == 18:
		p = &events.RequestCreated{RequestID: "Q" + id, User: user, Roles: []string{"aws-engineer"}, Reason: "incident", TTL: 3600, ExpiresAt: at.Add(time.Hour),
			Thresholds: []events.Threshold{{Approve: 1, Deny: 1}}}
	default:
		p, revision = &events.RequestApproved{RequestID: "Q" + fmt.Sprintf("S%09d", (i-1)/20*8+(i-1)%20%8), User: user, Roles: []string{"aws-engineer"}, AccessExpiresAt: at.Add(time.Hour), Reviewers: []string{"bob"}}, 2
	}
	return events.Event{Meta: events.Meta{ID: journal.NewID(), Source: "/postern/broker/bench", Time: at, CorrelationID: "bench", Sequence: revision}, Data: p}
}
