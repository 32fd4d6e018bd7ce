package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/device"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

const brokers = 3

// world is three brokers as operators run them, `postern serve`, on three nodes.
type world struct {
	*nodes
	t       testing.TB
	brokers []*process
	apis    []string  // addresses of the brokers
	links   [][]*link // from each broker to each node
	journal *journal.Journal
	ca      *identity.CA
}

// people ask, review and administer.
const people = `
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
  allow:
    app_labels: {"*": "*"}
    aws_role_arns: ["arn:aws:iam::123456789012:role/ReadOnly"]
    request: {roles: [aws-engineer], thresholds: [{approve: 2, deny: 2}]}
---
kind: role
version: v7
metadata: {name: reviewer}
spec: {allow: {review_requests: {roles: ["aws-*"]}}}
---
kind: app
metadata: {name: payments, labels: {env: prod}}
spec:
  cloud: AWS
  aws: {account_id: 123456789012, role_arns: ["arn:aws:iam::123456789012:role/ReadOnly", "arn:aws:iam::123456789012:role/Admin"]}
---
kind: access_list
version: v1
metadata: {name: oncall}
spec:
  owners: [{name: admin}, {name: rev0}, {name: rev1}, {name: rev2}]
  grants: {roles: [aws-engineer]}
  audit: {recurrence: {frequency: 3months, day_of_month: 1}}
`

// engineerYAML is the role that is asked for: with a description, and with what it
// denies.
const engineerYAML = `---
kind: role
version: v7
metadata: {name: aws-engineer, description: %s}
spec:
  allow: {app_labels: {"*": "*"}, aws_role_arns: ["*"]}
  deny: {aws_actions: %s}
`

const (
	account  = "123456789012"
	adminARN = "arn:aws:iam::" + account + ":role/Admin"
	password = "a password of the model's"
)

var (
	askers    = []string{"ask0", "ask1", "ask2", "ask3"}
	reviewers = []string{"rev0", "rev1", "rev2"}
	proxies   = []string{"p1", "p2"}
)

func startWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	server, postern := build(t, dir, "github.com/nats-io/nats-server/v2"), build(t, dir, "github.com/posternhq/postern")
	w := &world{t: t, nodes: startNodes(t, dir, server)}
	key, err := sealed.KeepKey(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range brokers {
		name, api := fmt.Sprint("b", i+1), freeAddr(t)
		links, addrs := w.linksFrom(t)
		w.links, w.apis = append(w.links, links), append(w.apis, api)
		write(t, filepath.Join(dir, name+".yaml"), fmt.Appendf(nil, `
data_dir: %[1]s/%[2]s
nats: {url: "%[3]s", creds_file: %[1]s/postern.creds, sealed_creds_file: %[1]s/sealed.creds, ca_file: %[1]s/tls.crt, replicas: 3}
broker: {listen: "%[4]s", seal_key_file: %[1]s/seal.key}
`, dir, name, urls(addrs), api))
		w.brokers = append(w.brokers, &process{t: t, name: name, args: []string{postern, "serve", "--config", filepath.Join(dir, name+".yaml")}})
	}
	first := w.brokers[0]
	plain := first.args
	first.args = append(plain[:len(plain):len(plain)], "--admin-identity", filepath.Join(dir, "admin.pem"))
	for _, b := range w.brokers {
		b.start()
		w.ready(b)
		b.args = append(plain[:len(plain)-1:len(plain)-1], filepath.Join(dir, b.name+".yaml"))
	}

	w.journal, err = journal.New(w.connect(t, "postern", w.addrs), "/postern/clustertest")
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := journal.OpenBucket(t.Context(), w.connect(t, "sealed", w.addrs), sealed.Bucket, replicas)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sealed.Open(t.Context(), bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	if w.ca, err = identity.OpenCA(t.Context(), store, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	all := people + fmt.Sprintf(engineerYAML, "first", "[]")
	for _, name := range askers {
		all += userYAML(name, "aws-reader", "first")
	}
	for _, name := range reviewers {
		all += userYAML(name, "reviewer", "first")
	}
	if _, err := w.as("admin")[0].Apply(t.Context(), "people.yaml", []byte(all), true); err != nil {
		t.Fatal(err)
	}
	return w
}

// ready waits until a broker takes connections; one that could not start, because
// there was no quorum, is started again, as its supervisor would.
func (w *world) ready(b *process) {
	w.t.Helper()
	eventually(w.t, b.name+" starts", func() error {
		if b.ended() {
			b.start()
		}
		return b.said(`"message":"ready"`)
	})
}

// linksFrom makes links from one process to each node.
func (w *world) linksFrom(t testing.TB) (links []*link, addrs []string) {
	for _, addr := range w.addrs {
		l := newLink(t, addr)
		links, addrs = append(links, l), append(addrs, l.addr())
	}
	return links, addrs
}

// as gives a user's way to each broker.
func (w *world) as(user string) []*client.Client {
	w.t.Helper()
	public, key, err := identity.NewKey()
	if err != nil {
		w.t.Fatal(err)
	}
	issued, err := w.ca.IssueUser(public, user, nil, time.Now(), 10*time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.clients(api.Identity{User: user, KeyPEM: key, CertPEM: issued.PEM, CAPEM: w.ca.PEM()})
}

// signIn is as after a sign-in from a machine of the user's own.
func (w *world) signIn(user string) []*client.Client {
	w.t.Helper()
	fail := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	fail(w.as("admin")[0].SetPassword(w.t.Context(), user, password))
	machine, err := device.NewKey()
	fail(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	fail(err)
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	proof, err := device.Prove(machine, user, csr)
	fail(err)
	cert, err := w.clients(api.Identity{CAPEM: w.ca.PEM()})[0].Login(w.t.Context(), api.Login{User: user, Password: password, CSR: csr, Device: proof})
	fail(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	fail(err)
	return w.clients(api.Identity{User: user, KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
		CertPEM: []byte(cert.Certificate), CAPEM: w.ca.PEM()})
}

// clients are those of an identity, one for each broker.
func (w *world) clients(id api.Identity) []*client.Client {
	w.t.Helper()
	cfg := &tls.Config{RootCAs: w.ca.Pool()} // who has not signed in
	var err error
	if id.User != "" {
		cfg, err = id.TLSConfig()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*client.Client
	for _, addr := range w.apis {
		c, err := client.New("https://"+addr, cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(c.Close)
		out = append(out, c)
	}
	return out
}

func userYAML(name, role, mark string) string {
	return fmt.Sprintf("---\nkind: user\nmetadata: {name: %s}\nspec: {roles: [%s], traits: {mark: [%s]}}\n", name, role, mark)
}

// replay is the history and the state that it folds to.
func (w *world) replay() (history []journal.Entry, state *access.State, err error) {
	state = access.NewState()
	for e, err := range w.journal.Replay(w.t.Context(), events.Access) {
		if err != nil {
			return nil, nil, err
		}
		state.Apply(e.Event, e.Seq)
		history = append(history, e)
	}
	return history, state, nil
}

func asJSON(v any) string {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
