package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// TestRotationUnderLoad rotates the CA, from the first phase to the last, while
// calls go through a proxy and into an auditor that joined: not one fails.
// Certificates and credentials live for half a minute, so that they are renewed
// many times meanwhile. At the end whoever is of the old CA is refused.
func TestRotationUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: rotates the CA of a running postern")
	}
	t.Parallel() // it waits more than it works
	c := startCluster(t, plainBinary(t), "agent_ttl: 30s")
	ctx := t.Context()
	old := c.admin
	load := c.load(ctx, "rotate")
	load.more(50)
	introduced := c.rotate(ctx, "introduced", 2)
	load.more(50)
	switched := c.rotate(ctx, "switched", 2)
	load.more(50)
	// Users get certificates of the new CA by and by.
	c.admin = filepath.Join(c.dir, "admin-2.pem")
	c.signIn(ctx, old)
	next := c.load(ctx, "rotate-2")
	next.more(50)
	load.stop()
	steady := c.rotate(ctx, "steady", 1)
	// The key of session tokens goes with it: known before it seals, and after.
	if !bytes.Equal(introduced[1], switched[0]) || !bytes.Equal(introduced[0], switched[1]) || !bytes.Equal(switched[0], steady[0]) || bytes.Equal(switched[0], switched[1]) {
		t.Error("the keys of session tokens did not go with the CA")
	}
	next.more(50)

	// The old certificate is refused everywhere; the new one is not.
	if _, err := c.postern(ctx, "audit", "search", "--since", "1h", "--format", "json"); err != nil {
		t.Errorf("the auditor, with a certificate of the new CA: %v", err)
	}
	id, err := readIdentity(old)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := id.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	conf.InsecureSkipVerify = true // who serves is not asked here
	if conn, err := tls.Dial("tcp", c.ports["proxy"], conf); err == nil {
		if _, err = conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("the proxy, with a certificate of the old CA: %v", err)
		}
		conn.Close()
	}
	// The auditor takes tokens, too: to it, who has no certificate that counts is nobody.
	nobody := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	if resp, err := nobody.Get("https://" + c.ports["auditor"] + "/v1/audit/search"); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("the auditor, with a certificate of the old CA: %s", resp.Status)
		}
	} else if !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the auditor, with a certificate of the old CA: %v", err)
	}
	b, err := client.New("https://"+c.ports["broker"], conf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Status(ctx); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the broker, with a certificate of the old CA: %v", err)
	}
	next.stop()
}

// load is calls that never stop, one after another in each of a few workers.
type load struct {
	t         testing.TB
	c         *cluster
	succeeded atomic.Int64
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

func (c *cluster) load(ctx context.Context, bucket string) *load {
	c.t.Helper()
	s3c := c.client(ctx)
	if _, err := s3c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		c.t.Fatal(err)
	}
	l := &load{t: c.t, c: c}
	running, cancel := context.WithCancel(ctx)
	l.cancel = cancel
	for range 4 {
		l.wg.Go(func() {
			for running.Err() == nil {
				_, err := s3c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: strings.NewReader("x")})
				if err != nil {
					c.t.Errorf("a call failed: %v", err)
					return
				}
				l.succeeded.Add(1)
			}
		})
	}
	return l
}

// more waits until n more calls have succeeded.
func (l *load) more(n int64) {
	l.t.Helper()
	want := l.succeeded.Load() + n
	l.c.until("calls", func() bool { return l.succeeded.Load() >= want || l.t.Failed() })
	if l.t.Failed() {
		l.t.FailNow()
	}
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
	l.t.Logf("%d calls", l.succeeded.Load())
}

// until waits for what other processes bring about.
func (c *cluster) until(what string, done func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited for %s\n%s%s%s", what, c.output["core"], c.output["proxy"], c.output["auditor"])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// rotate takes the CA to a phase and waits until proxy and auditor have it.
func (c *cluster) rotate(ctx context.Context, phase string, trusted int) (ticketKeys [][]byte) {
	c.t.Helper()
	out, err := c.postern(ctx, "ca", "rotate", "--force", "--format=json")
	if err != nil {
		c.t.Fatal(err)
	}
	var ca api.CA
	if err := json.Unmarshal([]byte(out), &ca); err != nil {
		c.t.Fatal(err)
	}
	if ca.Phase != phase || len(ca.Authorities) != trusted {
		c.t.Fatalf("%+v, want %s", ca, phase)
	}
	for _, part := range []string{"proxy", "auditor"} {
		if c.procs[part] == nil {
			continue
		}
		file := filepath.Join(c.dir, part, part, "joined.json")
		c.until(part+" to take the CA", func() bool {
			text, err := os.ReadFile(file)
			var g given
			if err != nil || json.Unmarshal(text, &g) != nil || g.CA != ca.CA {
				return false
			}
			if part == "proxy" {
				ticketKeys = g.TicketKeys
			}
			return true
		})
	}
	if len(ticketKeys) != trusted {
		c.t.Fatalf("%s: the proxy has %d keys for session tokens", phase, len(ticketKeys))
	}
	return ticketKeys
}

// signIn gets the admin a new certificate: old is the former identity file.
func (c *cluster) signIn(ctx context.Context, old string) {
	c.t.Helper()
	id, err := readIdentity(old)
	if err != nil {
		c.t.Fatal(err)
	}
	conf, err := id.TLSConfig()
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := client.New(id.BrokerURL, conf)
	if err != nil {
		c.t.Fatal(err)
	}
	const password = "a password for this test"
	if err := b.SetPassword(ctx, "admin", password); err != nil {
		c.t.Fatal(err)
	}
	key, csr, err := newRequest()
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := b.Login(ctx, api.Login{User: "admin", Password: password, CSR: csr})
	if err != nil {
		c.t.Fatal(err)
	}
	id.KeyPEM, id.CertPEM, id.CAPEM = []byte(key), []byte(cert.Certificate), []byte(cert.CA)
	c.write(filepath.Base(c.admin), id.file())
}
