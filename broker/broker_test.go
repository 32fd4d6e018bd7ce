package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().UTC().Truncate(time.Second)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const demo = `
kind: role
version: v7
metadata: {name: admin}
spec:
  allow:
    rules: [{resources: ["*"], verbs: ["*"]}]
---
kind: role
version: v7
metadata: {name: aws-reader}
spec:
  options: {max_session_ttl: 8h}
  allow:
    app_labels: {env: [dev, staging]}
    aws_role_arns: arn:aws:iam::123456789012:role/ReadOnly
    request: {roles: [aws-engineer]}
---
kind: role
version: v7
metadata: {name: aws-engineer}
spec:
  allow:
    app_labels: {"*": "*"}
    aws_role_arns: ["*"]
---
kind: role
version: v7
metadata: {name: reviewer}
spec:
  allow:
    review_requests: {roles: ["aws-*"]}
---
kind: user
metadata: {name: admin}
spec: {roles: [admin]}
---
kind: user
metadata: {name: alice}
spec: {roles: [aws-reader]}
---
kind: user
metadata: {name: bob}
spec: {roles: [reviewer]}
---
kind: app
metadata:
  name: awsconsole
  labels: {env: dev}
spec:
  cloud: AWS
  uri: https://console.aws.amazon.com/
  aws:
    account_id: 123456789012
    role_arns:
    - arn:aws:iam::123456789012:role/ReadOnly
    - arn:aws:iam::123456789012:role/team/Admin
    external_id: postern-1
    source_identity: true
    session_tags: true
`

// start runs a broker on a journal until the test ends.
func start(t *testing.T, j *journal.Journal, c *clock) *Broker {
	t.Helper()
	b, _ := startIn(t, j, c, t.TempDir())
	return b
}

var sealKey = sealed.NewKey()

// secrets is the sealed store of all brokers on the journal's server.
func secrets(t testing.TB, j *journal.Journal) *sealed.Store {
	t.Helper()
	bucket, err := j.Bucket(t.Context(), sealed.Bucket, 1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sealed.Open(t.Context(), bucket, sealKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writer appends as a broker does that another does not know.
type writer struct {
	t         testing.TB
	j         *journal.Journal
	revisions map[string]uint64
}

func newWriter(t testing.TB, j *journal.Journal) *writer {
	w := &writer{t, j, map[string]uint64{}}
	for e, err := range j.Replay(t.Context(), events.Access) {
		if err != nil {
			t.Fatal(err)
		}
		w.revisions[e.Channel]++
	}
	return w
}

func (w *writer) append(p events.Payload) {
	w.t.Helper()
	w.revisions[p.Channel()]++
	if _, err := w.j.Append(w.t.Context(), events.Event{Meta: events.Meta{Sequence: w.revisions[p.Channel()]}, Data: p}); err != nil {
		w.t.Fatal(err)
	}
}

// startIn runs a broker with a data directory until the test ends, or stop is
// called.
func startIn(t *testing.T, j *journal.Journal, c *clock, dir string, change ...func(*Config)) (b *Broker, stop func()) {
	t.Helper()
	cfg := Config{
		Listen:      "127.0.0.1:0",
		DataDir:     dir,
		Journal:     j,
		Secrets:     secrets(t, j),
		ProxyAddr:   func() string { return "127.0.0.1:3081" },
		AuditorAddr: func() string { return "127.0.0.1:3082" },
		Log:         zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
		Clock:       c.now,
	}
	for _, f := range change {
		f(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	select {
	case <-b.Ready():
	case err := <-ended:
		t.Fatalf("broker ended: %v", err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("broker ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return b, stop
}

// demoBroker runs a broker with the demo's resources.
func demoBroker(t *testing.T) (*Broker, *journal.Journal, *clock) {
	t.Helper()
	j, c := eventstest.Journal(t), newClock()
	b := start(t, j, c)
	if _, err := b.Apply(t.Context(), "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	return b, j, c
}

// as returns a client that acts as a user.
func as(t *testing.T, b *Broker, user string) *client.Client {
	t.Helper()
	id, err := b.IssueIdentity(t.Context(), user, 0)
	if err != nil {
		t.Fatal(err)
	}
	if id, err = api.ParseIdentity(id.PEM()); err != nil {
		t.Fatal(err)
	}
	cfg, err := id.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, b, cfg)
}

func dial(t *testing.T, b *Broker, cfg *tls.Config) *client.Client {
	t.Helper()
	c, err := client.New("https://"+b.Addr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// stranger returns a client without a certificate.
func stranger(t *testing.T, b *Broker) *client.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CAPEM())
	return dial(t, b, &tls.Config{RootCAs: roots})
}

// newCSR makes a key and asks for a certificate for it.
func newCSR(t *testing.T, curve elliptic.Curve) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pemOf("CERTIFICATE REQUEST", der))
}

func pemOf(what string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: what, Bytes: der})
}

// code is the code of the broker's error, or "".
func code(err error) string {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err != nil {
		return "no api.Error: " + err.Error()
	}
	return ""
}

// history reads the events of the ACCESS stream.
func history(t *testing.T, j *journal.Journal) []journal.Entry {
	t.Helper()
	var out []journal.Entry
	for e, err := range j.Replay(t.Context(), events.Access) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// find returns the payloads of one type, in order.
func find[P events.Payload](es []journal.Entry) []P {
	var out []P
	for _, e := range es {
		if p, ok := e.Data.(P); ok {
			out = append(out, p)
		}
	}
	return out
}
