package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/posternhq/postern/deploy/embedded"
)

// nodes are three real nats-servers that run deploy/nats-cluster.conf, and
// reach each other through links.
type nodes struct {
	dir   string
	addrs []string // of clients, without a link
	procs []*process
	// routes[i][j] leads from node i to node j.
	routes [][]*link
}

const replicas = 3

func startNodes(t testing.TB, dir, bin string) *nodes {
	t.Helper()
	n := &nodes{dir: dir}
	writeAccounts(t, dir)
	conf, err := os.ReadFile("../../deploy/nats-cluster.conf")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "nats-cluster.conf"), conf)
	var clusters []string
	for range replicas {
		n.addrs, clusters = append(n.addrs, freeAddr(t)), append(clusters, freeAddr(t))
	}
	writeTLS(t, dir, n.addrs)
	for i := range replicas {
		n.routes = append(n.routes, make([]*link, replicas))
		var urls []string
		for j := range replicas {
			if j != i {
				n.routes[i][j] = newLink(t, clusters[j])
				urls = append(urls, "tls://"+n.routes[i][j].addr())
			}
		}
		p := &process{t: t, name: fmt.Sprint("n", i+1), args: []string{bin, "-c", filepath.Join(dir, "nats-cluster.conf"),
			// Nodes tell each other where others are; nobody is there, so that the links stay the only way.
			"--cluster_advertise", freeAddr(t)}}
		for name, value := range map[string]string{"NAME": p.name, "LISTEN": n.addrs[i], "CLUSTER_LISTEN": clusters[i],
			"ROUTES": "[" + strings.Join(urls, ", ") + "]", "STORE": filepath.Join(dir, p.name),
			"CERT": filepath.Join(dir, "tls.crt"), "KEY": filepath.Join(dir, "tls.key"), "CA": filepath.Join(dir, "tls.crt")} {
			p.env = append(p.env, "NATS_"+name+"="+value)
		}
		n.procs = append(n.procs, p)
		p.start()
	}
	return n
}

// part isolates a node from the other two, or lets it back.
func (n *nodes) part(i int, do func(*link)) {
	for j := range replicas {
		if j != i {
			do(n.routes[i][j])
			do(n.routes[j][i])
		}
	}
}

// connect reaches the nodes at addrs with credentials of this name.
func (n *nodes) connect(t testing.TB, name string, addrs []string) *nats.Conn {
	t.Helper()
	creds, err := os.ReadFile(filepath.Join(n.dir, name+".creds"))
	if err != nil {
		t.Fatal(err)
	}
	opts, err := embedded.ClientOptions(creds)
	if err != nil {
		t.Fatal(err)
	}
	opts = append(opts, nats.RootCAs(filepath.Join(n.dir, "tls.crt")), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond))
	var nc *nats.Conn
	eventually(t, "connect to NATS", func() error {
		nc, err = nats.Connect(urls(addrs), opts...)
		return err
	})
	t.Cleanup(nc.Close)
	return nc
}

func urls(addrs []string) string { return "tls://" + strings.Join(addrs, ",tls://") }

// writeTLS makes the certificate of all nodes, which is its own CA.
func writeTLS(t testing.TB, dir string, addrs []string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, addr := range addrs {
		host, _, _ := net.SplitHostPort(addr)
		c.IPAddresses = append(c.IPAddresses, net.ParseIP(host))
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// writeAccounts makes what docs/nats.md makes by nsc: an operator, the accounts
// POSTERN and SEALED with JetStream, and a user of each.
func writeAccounts(t testing.TB, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pair := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		p, err := create()
		must(err)
		id, err := p.PublicKey()
		must(err)
		return p, id
	}
	operator, operatorID := pair(nkeys.CreateOperator)
	_, system := pair(nkeys.CreateAccount)
	o := jwt.NewOperatorClaims(operatorID)
	o.Name, o.SystemAccount = "postern", system
	token, err := o.Encode(operator)
	must(err)
	conf := "operator: " + token + "\nsystem_account: " + system + "\nresolver: MEMORY\nresolver_preload: {\n"
	account := func(id, name string, streams bool) {
		c := jwt.NewAccountClaims(id)
		if c.Name = name; streams {
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
		}
		token, err := c.Encode(operator)
		must(err)
		conf += "  " + id + ": " + token + "\n"
	}
	account(system, "SYS", false)
	for _, name := range []string{"postern", "sealed"} {
		signer, id := pair(nkeys.CreateAccount)
		account(id, strings.ToUpper(name), true)
		user, userID := pair(nkeys.CreateUser)
		c := jwt.NewUserClaims(userID)
		c.Name = name
		token, err := c.Encode(signer)
		must(err)
		seed, err := user.Seed()
		must(err)
		creds, err := jwt.FormatUserConfig(token, seed)
		must(err)
		write(t, filepath.Join(dir, name+".creds"), creds)
	}
	write(t, filepath.Join(dir, "accounts.conf"), []byte(conf+"}\n"))
}

func build(t testing.TB, dir, pkg string) string {
	t.Helper()
	bin := filepath.Join(dir, filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-o", bin, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return bin
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddr finds an address that a process can have and, killed, have again: where
// all of 127/8 is the machine's, on one that no outgoing connection takes.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", net.IPv4(127, 1, byte(mathrand.IntN(256)), byte(1+mathrand.IntN(254))).String()+":0")
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
