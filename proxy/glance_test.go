package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// Of a call that nothing allows any more the record says what it was, where that stands
// in its body, too; and a body that never comes is not waited for.
func TestRefusedCallsAreKnown(t *testing.T) {
	r := newRig(t, withEcho)
	cl := r.client(r.session())
	r.emit(&events.LockPlaced{LockID: "lock-1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	const form = "application/x-www-form-urlencoded; charset=utf-8"
	send := func(url, kind, target string, body io.Reader, length int64) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		req.Header.Set("Content-Type", kind)
		if target != "" {
			req.Header.Set("X-Amz-Target", target)
		}
		service, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), ".")
		if err := cl.signer.SignHTTP(t.Context(), helperKey, req, hexHash(nil), service, "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Postern-Session", cl.session)
		if resp, body := cl.do(t, req); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "lock lock-1") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	text := func(url, kind, target, body string) {
		t.Helper()
		send(url, kind, target, strings.NewReader(body), int64(len(body)))
	}
	text("https://ec2.us-east-1.amazonaws.com/", form, "", "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1")
	text("https://iam.amazonaws.com/", form, "", "Action=CreateAccessKey&Version=2010-05-08&UserName=mallory")
	text("https://dynamodb.us-east-1.amazonaws.com/", "application/x-amz-json-1.0", "DynamoDB_20120810.DeleteTable", `{"TableName":"ledger"}`)
	never, keep := io.Pipe()
	defer keep.Close()
	send("https://ec2.us-east-1.amazonaws.com/", form, "", never, 100)
	half, rest := io.Pipe()
	defer rest.Close()
	go rest.Write([]byte("Action=RunInstances&Version=2016-11-15&UserData=" + strings.Repeat("A", 80<<10)))
	send("https://ec2.us-east-1.amazonaws.com/", form, "", half, 100<<10)

	want := []struct{ operation, action, resource string }{
		{"TerminateInstances", "ec2:TerminateInstances", "arn:aws:ec2:us-east-1:111122223333:instance/i-1"},
		{"CreateAccessKey", "iam:CreateAccessKey", "arn:aws:iam::111122223333:user/*mallory"},
		{"DeleteTable", "dynamodb:DeleteTable", "arn:aws:dynamodb:us-east-1:111122223333:table/ledger"},
		{"", "", ""},
		{"RunInstances", "ec2:RunInstances", ""},
	}
	denied := payloads[*events.AWSRequestDenied](r.audit())
	if len(denied) != len(want) {
		t.Fatalf("%d denials on record, want %d", len(denied), len(want))
	}
	for i, w := range want {
		d := denied[i]
		if d.LockID != "lock-1" || d.Operation != w.operation || w.operation != "" && (d.Action != w.action || strings.Join(d.Resources, " ") != w.resource) {
			t.Errorf("recorded as %s, %s on %q; want %+v", d.Operation, d.Action, d.Resources, w)
		}
	}
	if n := r.aws.Calls("AssumeRole"); len(n) != 0 {
		t.Errorf("roles were assumed: %v", n)
	}
}
