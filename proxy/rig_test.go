package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// rig is a running proxy between clients and a stand-in for AWS, over a real
// NATS server.
type rig struct {
	t    testing.TB
	p    *proxy.Proxy
	j    *journal.Journal // the test's own, with all permissions
	aws  *ststest.AWS
	ca   *authority
	stop func()
	nc   *nats.Conn // the proxy's
	// broker stands for one: it signs what is appended to ACCESS through j.
	broker *broker
}

// newRig starts it all. The proxy has a proxy's permissions and no more.
func newRig(t testing.TB, change ...func(*proxy.Config, *ststest.AWS)) *rig {
	t.Helper()
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	return newRigOn(t, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), eventstest.Open(t, admin), change...)
}

// newRigAway is newRig on a NATS server that away stops, and back starts again at the same
// address with all that it had.
func newRigAway(t *testing.T, change ...func(*proxy.Config, *ststest.AWS)) (r *rig, away, back func()) {
	t.Helper()
	dir, port := t.TempDir(), 0
	var server *embedded.NATS
	var stop func()
	back = func() {
		var err error
		if server, err = embedded.NewNATS(embedded.NATSConfig{Dir: dir, Port: port, LazySync: true, Log: zerolog.Nop()}); err != nil {
			t.Fatal(err)
		}
		stop = embeddedtest.Run(t, server)
	}
	back()
	port = embeddedtest.PortOf(t, server.URL())
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	return newRigOn(t, embeddedtest.Connect(t, server, "proxy", embedded.Proxy()), eventstest.Open(t, admin), change...), func() { stop() }, back
}

func newRigOn(t testing.TB, nc *nats.Conn, own *journal.Journal, change ...func(*proxy.Config, *ststest.AWS)) *rig {
	t.Helper()
	return newRigBy(t, newAuthority(t), nc, own, change...)
}

func newRigBy(t testing.TB, ca *authority, nc *nats.Conn, own *journal.Journal, change ...func(*proxy.Config, *ststest.AWS)) *rig {
	t.Helper()
	r := &rig{t: t, nc: nc, j: own, aws: ststest.Start(t), ca: ca}
	r.broker = newBroker(t, own, r.ca)
	j, err := journal.New(nc, "/postern/proxy/test")
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.config(func(c *proxy.Config) { c.Journal = j })
	for _, f := range change {
		f(&cfg, r.aws)
	}
	if r.p, err = proxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.p.SetPatience(time.Second)
	r.stop = embeddedtest.Run(t, r.p)
	return r
}

// serverTLS is a proxy's side of TLS, that of one that trusts a CA.
func (r *rig) serverTLS(trusted *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs: trusted, Certificates: []tls.Certificate{r.ca.issue(r.t, "proxy.test", nil)}}
}

// config is that of a proxy called test, but for its journal.
func (r *rig) config(change func(*proxy.Config)) proxy.Config {
	cfg := proxy.Config{
		Name: "test", Listen: "127.0.0.1:0",
		TLS: r.serverTLS(r.ca.pool),
		AWS: proxy.AWS{Link: r.aws.Link(), Base: r.aws.Base()},
		Log: zerolog.New(zerolog.NewTestWriter(r.t)).Level(zerolog.ErrorLevel),
	}
	if _, bench := r.t.(*testing.B); bench {
		cfg.Log = zerolog.Nop()
	}
	change(&cfg)
	return cfg
}

// emit appends an ACCESS event and waits until the proxy has applied it.
func (r *rig) emit(p events.Payload) uint64 {
	r.t.Helper()
	seq := r.broker.append(p)
	r.eventually("the proxy follows", func() bool { return r.p.Seq() >= seq })
	return seq
}

// eventually waits for what other goroutines bring about.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			r.t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// session starts a session of alice on a role.
func (r *rig) session(change ...func(*events.SessionStarted)) *events.SessionStarted {
	r.t.Helper()
	s := &events.SessionStarted{
		SessionID: journal.NewID(), User: "alice", App: "prod", Roles: []events.RoleRef{{Name: "engineer", Revision: 1}},
		AWSRoleARN: "arn:aws:iam::111122223333:role/dev", Account: "111122223333", Partition: "aws", Region: "us-east-1",
		RoleSessionName: "alice", StartedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}
	for _, f := range change {
		f(s)
	}
	r.emit(s)
	return s
}

// client is a helper's: it signs with worthless credentials and names the session.
type client struct {
	*http.Client
	session string
	signer  *v4.Signer
}

func (r *rig) client(s *events.SessionStarted) *client {
	return r.clientAs("alice", s.SessionID)
}

func (r *rig) clientAs(user, session string) *client {
	return &client{session: session, signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
		Client: &http.Client{Transport: r.transport(user)}}
}

// transport leads every host to the proxy, as user.
func (r *rig) transport(user string) *http.Transport { return r.transportTo(user, r.p.Addr) }

func (r *rig) transportTo(user string, addr func() string) *http.Transport {
	cfg := r.tls(user)
	t := &http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, addr())
		},
		DisableCompression: true, MaxIdleConnsPerHost: 128, ExpectContinueTimeout: 10 * time.Second,
		ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10,
	}
	r.t.Cleanup(t.CloseIdleConnections)
	return t
}

func (r *rig) tls(user string) *tls.Config {
	return &tls.Config{
		ServerName: "proxy.test", RootCAs: r.ca.pool, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{r.ca.issue(r.t, user, nil)},
	}
}

func (r *rig) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, r.p.Addr())
}

var helperKey = aws.Credentials{AccessKeyID: "POSTERNHELPER", SecretAccessKey: "worthless"}

// sign signs as the AWS CLI signs for S3.
func (c *client) sign(t testing.TB, req *http.Request, payload string) *http.Request {
	t.Helper()
	req.Header.Set("X-Amz-Content-Sha256", payload)
	if err := c.signer.SignHTTP(t.Context(), helperKey, req, payload, "s3", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Postern-Session", c.session)
	return req
}

// call is a request of a service of us-east-1 as an SDK signs it, with its body's hash.
func (c *client) call(t testing.TB, service, method, url, body string, header http.Header) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	if err := c.signer.SignHTTP(t.Context(), helperKey, req, hexHash([]byte(body)), service, "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Postern-Session", c.session)
	return req
}

// target is the head of a call by one of AWS's JSON protocols, "1.0" or "1.1".
func target(operation, version string) http.Header {
	return http.Header{"X-Amz-Target": {operation}, "Content-Type": {"application/x-amz-json-" + version}}
}

func (c *client) request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return c.sign(t, req, "UNSIGNED-PAYLOAD")
}

// do sends a request and reads the answer.
func (c *client) do(t testing.TB, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// audit stops the proxy, so that all is recorded, and returns the events of the
// AUDIT stream in order.
func (r *rig) audit() []journal.Entry {
	r.t.Helper()
	r.stop()
	var out []journal.Entry
	for e, err := range r.j.Replay(r.t.Context(), events.Audit) {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// shown are payloads as a failure tells them.
func shown[T events.Payload](ps []T) string {
	b, err := json.Marshal(ps)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// payloads are the audit events of one type, in order.
func payloads[T events.Payload](es []journal.Entry) []T {
	var out []T
	for _, e := range es {
		if p, ok := e.Data.(T); ok {
			out = append(out, p)
		}
	}
	return out
}

// clean fails the test if AWS was ever sent something that was not right.
func (r *rig) clean() {
	r.t.Helper()
	if bad := r.aws.Violations(); len(bad) > 0 {
		r.t.Errorf("AWS refused what the proxy sent:\n%s", strings.Join(bad, "\n"))
	}
}

// broker signs and numbers as brokers do.
type broker struct {
	t         testing.TB
	j         *journal.Journal
	signer    *signed.Signer
	mu        sync.Mutex
	revisions map[string]uint64
}

func newBroker(t testing.TB, j *journal.Journal, ca *authority) *broker {
	t.Helper()
	signer, err := signed.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, j: j, signer: signer, revisions: map[string]uint64{}}
	j.SignWith(signer.Sign)
	b.append(&events.KeyPublished{KeyID: signer.ID(), NotAfter: time.Now().Add(time.Hour), Certificate: base64.StdEncoding.EncodeToString(ca.signing(t, signer, nil))})
	return b
}

func (b *broker) append(p events.Payload) uint64 {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revisions[p.Channel()]++
	seq, err := b.j.Append(b.t.Context(), events.Event{Meta: events.Meta{Sequence: b.revisions[p.Channel()]}, Data: p})
	if err != nil {
		b.t.Fatal(err)
	}
	return seq
}

// signing makes a certificate for a key that signs decisions.
func (a *authority) signing(t testing.TB, s *signed.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "signing key"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), UnknownExtKeyUsage: []asn1.ObjectIdentifier{signed.Purpose()}}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, s.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// authority stands for the broker's CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postern test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

// issue makes a certificate with this common name and DNS name.
func (a *authority) issue(t testing.TB, name string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
