package proxy_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// What one proxy gave its user, another of the same postern knows, and the same
// one after a restart, from the session token alone: the roles that users assume
// themselves and the sessions of directory buckets. Locks and the session bind
// there as here.
func TestTicketAtAnotherProxy(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	own, ca := eventstest.Open(t, admin), newAuthority(t)
	key := make([]byte, 32)
	rand.Read(key)
	one := newRigBy(t, ca, embeddedtest.Connect(t, server, "one", embedded.Proxy()), own, func(c *proxy.Config, a *ststest.AWS) {
		var none []string
		serveExpress(&none)(c, a)
		c.TicketKeys = func() [][]byte { return [][]byte{key} }
	})
	s := one.session()
	assumed, err := one.assume(s, helperKey)
	if err != nil {
		t.Fatal(err)
	}
	express, err := s3.NewFromConfig(one.sdk(s, "alice", helperKey)).CreateSession(t.Context(), &s3.CreateSessionInput{Bucket: aws.String(directoryBucket)})
	if err != nil {
		t.Fatal(err)
	}
	one.stop()

	// It shares AWS with the first, or the keys would mean nothing to it.
	other := func(key []byte, signed *[]string) *proxy.Proxy {
		j, err := journal.New(embeddedtest.Connect(t, server, "two", embedded.Proxy()), "/postern/proxy/two")
		if err != nil {
			t.Fatal(err)
		}
		one.aws.Serve = func(_ http.ResponseWriter, r *http.Request, k ststest.Key) {
			*signed = append(*signed, k.ID+" "+r.Header.Get("X-Amz-Security-Token")+r.Header.Get("X-Amz-S3session-Token"))
		}
		keys := func() [][]byte { return [][]byte{key} }
		if key == nil {
			keys = nil
		}
		p, err := proxy.New(one.config(func(c *proxy.Config) { c.Name, c.Journal, c.TicketKeys = "two", j, keys }))
		if err != nil {
			t.Fatal(err)
		}
		embeddedtest.Run(t, p)
		return p
	}
	var signed []string
	one.p = other(key, &signed)
	if err := one.get(s, "alice", assumed); err != nil {
		t.Fatal(err)
	}
	put := func() error {
		c := s3.NewFromConfig(one.sdk(s, "alice", helperKey), func(o *s3.Options) { o.ExpressCredentials = oneSession{*express.Credentials} })
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(directoryBucket), Key: aws.String("k"), Body: bytes.NewReader([]byte("body"))})
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if len(signed) != 2 || !strings.HasPrefix(signed[0], assumed.AccessKeyID+" ") || strings.Contains(signed[0], assumed.SessionToken) || signed[1] != "ASIAEXPRESS bucket-token" {
		t.Errorf("AWS sees %v", signed)
	}
	if got := codeOf(one.get(s, "mallory", assumed)); !strings.Contains(got, "AccessDenied") {
		t.Errorf("somebody else uses them: %s", got)
	}
	forged := assumed
	forged.SecretAccessKey = "guess"
	if got := codeOf(one.get(s, "alice", forged)); !strings.HasPrefix(got, "SignatureDoesNotMatch") {
		t.Errorf("signed with another secret: %s", got)
	}
	changed := assumed
	changed.SessionToken = assumed.SessionToken[:len(assumed.SessionToken)-4] + "AAAA"
	changed.AccessKeyID = "ASIASOMEBODYSOWN0001"
	if got := codeOf(one.get(s, "alice", changed)); !strings.HasPrefix(got, "InvalidAccessKeyId") {
		t.Errorf("with a token that was changed: %s", got)
	}
	one.emit(&events.LockPlaced{LockID: "l1", Target: events.LockTarget{Kind: "aws_role", Name: deployRole}, By: "admin", Message: "incident"})
	if got := codeOf(one.get(s, "alice", assumed)); !strings.Contains(got, "incident") {
		t.Errorf("with a lock on the assumed role: %s", got)
	}
	if err := put(); err != nil {
		t.Errorf("the bucket's session is of another role: %v", err)
	}

	// A proxy without the key knows nothing of them.
	one.p = other(nil, &signed)
	if got := codeOf(put()); !strings.HasPrefix(got, "InvalidAccessKeyId") {
		t.Errorf("at a proxy of another postern: %s", got)
	}
	for _, e := range payloads[*events.AWSRequestAdmitted](one.audit()) {
		if e.Operation == "PutObject" && e.AccessKeyID == assumed.AccessKeyID && (e.Proxy != "two" || e.AWSRoleARN != deployRole || e.Account != "444455556666" || e.SessionID != s.SessionID) {
			t.Errorf("recorded as %+v", e)
		}
	}
	if left := time.Until(assumed.Expires); left < 50*time.Minute {
		t.Errorf("%v are left", left)
	}
}
