package main

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/broker/access"
	cas "github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy/awsreq"
)

// What came along with a recorded call is decided anew, too, each by its own level.
func TestWhatIfBesides(t *testing.T) {
	table, err := awsreq.New()
	if err != nil {
		t.Fatal(err)
	}
	r := &rerun{table: table, levels: table.Levels()}
	allow := func(actions ...string) []events.Permission {
		return []events.Permission{{Role: "dev", Effect: "Allow", Actions: actions}}
	}
	careful := append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Actions: []string{"s3:PutObject"}, Approval: true})
	deny := append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Resources: []string{"arn:aws:lambda:*:*:function:secret"}})
	acl := events.AWSRequest{Action: "s3:PutObject", Also: []string{"s3:PutObjectAcl"}, AccessLevel: "Permissions management"}
	put := events.AWSRequest{Action: "s3:PutObject", AccessLevel: "Write"}
	odd := events.AWSRequest{Action: "s3:PutObject", Also: []string{"s3:OfALaterVersion"}, AccessLevel: "Write"}
	for _, c := range []struct {
		name    string
		perms   []events.Permission
		call    events.AWSRequest
		allowed bool
	}{
		{"by the action's own level", allow("@Write", "s3:PutObjectAcl"), acl, true},
		{"not what came along", allow("@Write"), acl, false},
		{"what came along, denied", append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Actions: []string{"@Permissions management"}}), acl, false},
		{"nothing came along", allow("@Write"), put, true},
		{"a level that is not known", allow("@Write"), odd, false},
		{"by name", allow("s3:*"), odd, true},
		{"what somebody else has to approve", careful, put, false},
		{"what nobody has to", careful, events.AWSRequest{Action: "s3:GetObject", AccessLevel: "Read"}, true},
		{"a resource denied that it cannot be about", deny, events.AWSRequest{Service: "ec2", Operation: "DescribeInstances", Action: "ec2:DescribeInstances", AccessLevel: "List"}, true},
		{"a resource denied that it may be about", deny, events.AWSRequest{Service: "lambda", Operation: "GetFunction", Action: "lambda:GetFunction", AccessLevel: "Read"}, false},
	} {
		s := rerunSession{permissions: c.perms}
		change := s.judge(events.Event{}, &c.call, !c.allowed, r)
		if same := s.judge(events.Event{}, &c.call, c.allowed, r); change == nil || same != nil {
			t.Errorf("%s: %+v, %+v; want allowed %v", c.name, change, same, c.allowed)
		}
	}
	// What was approved was, and a request that the session rests on is no approval.
	put.AccessRequestIDs = []string{"R1", "CALL"}
	s := rerunSession{permissions: careful, requests: []string{"R1"}}
	if change := s.judge(events.Event{}, &put, true, r); change != nil {
		t.Errorf("a call that was approved: %+v", change)
	}
	put.AccessRequestIDs = put.AccessRequestIDs[:1]
	if change := s.judge(events.Event{}, &put, true, r); change == nil || change.Effect != "denied" {
		t.Errorf("a call in a session on a request: %+v", change)
	}
}

// An event that no broker decided, of a time that is to come, hides none of what stands
// behind it.
func TestWhatIfPassesOverForged(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	ca, err := cas.NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signed.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.IssueSigner(key.Public(), key.ID(), now.Add(-time.Hour), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	line := func(at time.Time, genuine bool, p events.Payload) string {
		t.Helper()
		id := journal.NewID()
		b, err := events.Encode(events.Event{Meta: events.Meta{ID: id, Source: "/test", Time: at, CorrelationID: id, Sequence: 1}, Data: p})
		if err != nil {
			t.Fatal(err)
		}
		if genuine {
			b = key.Sign(p.Channel(), b)
		}
		return string(b) + "\n"
	}
	published := line(now, true, &events.KeyPublished{KeyID: key.ID(), Certificate: base64.StdEncoding.EncodeToString(der), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	streams := map[string]string{
		"access.key.>": published,
		"access.>": published + line(now.AddDate(50, 0, 0), false, &events.LockLifted{LockID: "l", By: "mallory"}) +
			line(now, true, &events.SessionStarted{SessionID: "s", User: "ann", App: "a", AWSRoleARN: "arn:aws:iam::123456789012:role/R", StartedAt: now, ExpiresAt: now.Add(time.Hour)}),
		"audit.>": line(now, false, &events.AWSRequestAdmitted{AWSRequest: events.AWSRequest{RequestID: "r", SessionID: "s", User: "ann", ReceivedAt: now}}),
	}
	auditor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(streams[r.FormValue("subject")]))
	}))
	defer auditor.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Certificate())
	table, err := awsreq.New()
	if err != nil {
		t.Fatal(err)
	}
	r := &rerun{a: client.New(auditor.URL, auditor.Client()), table: table, levels: table.Levels(), supposed: access.Suppose(), roots: roots, sessions: map[string]*rerunSession{}, heads: map[string]uint64{}}
	calls, knows := 0, false
	if err := r.run(t.Context(), now.Add(-time.Hour), func(_ time.Time, _ *whatIfChange, known bool) error {
		calls, knows = calls+1, known
		return nil
	}); err != nil || calls != 1 || !knows {
		t.Errorf("%d calls, of a session that is known: %v; %v", calls, knows, err)
	}
}
