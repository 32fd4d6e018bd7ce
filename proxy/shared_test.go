package proxy_test

import (
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// What one proxy handed out for real, exported or assumed, signs requests at
// another and after a restart, recorded as the session's; locks and the session
// bind there as here. Nobody but proxies reaches what they leave for one another,
// and without their key it is worth nothing.
func TestRealCredentialsAtAnotherProxy(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	admin := embeddedtest.Connect(t, server, "test", embedded.Admin())
	if err := journal.Setup(t.Context(), admin, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	const asking = "$JS.API.STREAM.MSG.GET.KV_postern_issued"
	asked, err := admin.SubscribeSync(asking)
	if err != nil {
		t.Fatal(err)
	}
	own, ca := eventstest.Open(t, admin), newAuthority(t)
	key := make([]byte, 32)
	rand.Read(key)
	one := newRigBy(t, ca, embeddedtest.Connect(t, server, "one", embedded.Proxy()), own, func(c *proxy.Config, _ *ststest.AWS) {
		c.TicketKeys = func() [][]byte { return [][]byte{key} }
	})
	s := one.session(func(s *events.SessionStarted) {
		s.RealCredentials = []string{events.CredentialAssumeRole, events.CredentialExport}
	})
	assumed, err := one.assume(s, helperKey)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SessionToken    string `json:"session_token"`
	}
	if status, reason := one.own("alice", "/v1/credentials", map[string]string{"session_id": s.SessionID}, &out); status != http.StatusOK {
		t.Fatalf("%d %s", status, reason)
	}
	exported := aws.Credentials{AccessKeyID: out.AccessKeyID, SecretAccessKey: out.SecretAccessKey, SessionToken: out.SessionToken}
	one.stop()

	other := func(name string, key []byte) {
		t.Helper()
		j, err := journal.New(embeddedtest.Connect(t, server, name, embedded.Proxy()), "/postern/proxy/"+name)
		if err != nil {
			t.Fatal(err)
		}
		one.aws.Serve = func(http.ResponseWriter, *http.Request, ststest.Key) {}
		p, err := proxy.New(one.config(func(c *proxy.Config) {
			c.Name, c.Journal, c.TicketKeys = name, j, func() [][]byte { return [][]byte{key} }
		}))
		if err != nil {
			t.Fatal(err)
		}
		embeddedtest.Run(t, p)
		one.p = p
	}
	for _, name := range []string{"two", "test"} { // another, and the first one anew
		other(name, key)
		for what, creds := range map[string]aws.Credentials{"assumed": assumed, "exported": exported} {
			if strings.HasPrefix(creds.SessionToken, "postern1.") {
				t.Fatalf("%s: not AWS's own", what)
			}
			if err := one.get(s, "alice", creds); err != nil {
				t.Errorf("%s at %s: %v", what, name, err)
			}
			if got := codeOf(one.get(s, "mallory", creds)); !strings.Contains(got, "AccessDenied") {
				t.Errorf("%s, by somebody else: %s", what, got)
			}
			creds.SecretAccessKey = "guess"
			if got := codeOf(one.get(s, "alice", creds)); !strings.HasPrefix(got, "SignatureDoesNotMatch") {
				t.Errorf("%s, signed with another secret: %s", what, got)
			}
		}
	}
	recorded := map[string]string{}
	for _, e := range payloads[*events.AWSRequestAdmitted](one.audit()) {
		if e.Operation == "PutObject" && e.SessionID == s.SessionID && e.User == "alice" {
			recorded[e.Proxy+" "+e.AccessKeyID] = e.AWSRoleARN
		}
	}
	if recorded["two "+assumed.AccessKeyID] != deployRole || recorded["two "+exported.AccessKeyID] != s.AWSRoleARN || len(recorded) != 4 {
		t.Errorf("recorded %v", recorded)
	}

	// What nobody left is asked for once.
	for len(next(asked)) > 0 {
	}
	unknown := assumed
	unknown.AccessKeyID = "ASIASOMEBODYSOWN0001"
	for range 5 {
		if got := codeOf(one.get(s, "alice", unknown)); !strings.HasPrefix(got, "InvalidAccessKeyId") {
			t.Errorf("a key that nobody left: %s", got)
		}
	}
	if len(next(asked)) == 0 || len(next(asked)) > 0 {
		t.Error("the stream is to be asked once for a key that nobody left")
	}

	// A proxy with another key finds it and cannot read it.
	other("stranger", make([]byte, 32))
	if got := codeOf(one.get(s, "alice", exported)); !strings.HasPrefix(got, "InvalidAccessKeyId") {
		t.Errorf("at a proxy with another key: %s", got)
	}
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "postern_issued")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Errorf("left: %v, %v", keys, err)
	}
	for _, k := range keys {
		e, err := kv.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{assumed.SecretAccessKey, exported.SecretAccessKey, assumed.SessionToken, exported.SessionToken} {
			if strings.Contains(string(e.Value()), secret) {
				t.Errorf("%s lies there open", k)
			}
		}
	}
	for name, perms := range map[string]embedded.Permissions{"broker": embedded.Broker(), "auditor": embedded.Auditor(), "push": embedded.Push(), "siem": embedded.Consumer("siem", "AUDIT")} {
		nc := embeddedtest.Connect(t, server, name, perms, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if m, err := nc.Request(asking, []byte(`{"last_by_subj":"$KV.postern_issued.`+keys[0]+`"}`), 300*time.Millisecond); err == nil {
			t.Errorf("%s is answered %s", name, m.Data)
		}
	}

	// Locks reach them.
	other("three", key)
	one.emit(&events.LockPlaced{LockID: "l1", Target: events.LockTarget{Kind: "aws_role", Name: deployRole}, By: "admin", Message: "incident"})
	if got := codeOf(one.get(s, "alice", assumed)); !strings.Contains(got, "incident") {
		t.Errorf("with a lock on the assumed role: %s", got)
	}
	if err := one.get(s, "alice", exported); err != nil {
		t.Errorf("the exported ones are of another role: %v", err)
	}
	one.emit(&events.LockPlaced{LockID: "l2", Target: events.LockTarget{Kind: "session", Name: s.SessionID}, By: "admin", Message: "stolen"})
	if got := codeOf(one.get(s, "alice", exported)); !strings.Contains(got, "stolen") {
		t.Errorf("with a lock on the session: %s", got)
	}
}

// next is the next message that has come, "" if none.
func next(sub *nats.Subscription) string {
	m, err := sub.NextMsg(200 * time.Millisecond)
	if errors.Is(err, nats.ErrTimeout) || err != nil {
		return ""
	}
	return string(m.Data)
}
