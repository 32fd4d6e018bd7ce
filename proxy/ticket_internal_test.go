package proxy

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/sigv4"
)

var anIssue = issued{
	Credentials: sigv4.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "aws/secret", SessionToken: "aws-token", S3Session: true},
	secret:      "own", session: "S", roleARN: "arn:aws:iam::1:role/r", account: "1", roleSessionName: "alice", sourceIdentity: "alice",
	expires: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
}

func TestTicket(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	ours, err := newTickets(key)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ours.seal(&anIssue)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(token, "aws") || len(token) > 700 {
		t.Errorf("%d bytes: %s", len(token), token)
	}
	again, err := newTickets(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.open(token)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&anIssue, got, cmp.AllowUnexported(issued{})); d != "" {
		t.Error(d)
	}
	other, err := newTickets(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.open(token); err != errTicket {
		t.Errorf("under another key: %v", err)
	}
	if _, err := newTickets(key[:31]); err == nil {
		t.Error("a key of 31 bytes is taken")
	}
}

// Nothing but what was sealed opens.
func FuzzTicket(f *testing.F) {
	tickets, err := newTickets(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	token, err := tickets.seal(&anIssue)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{token, token[:len(token)-2], "postern1.", "postern1.AAAA", "FwoGZXIvYXdzE", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := tickets.open(s)
		if (err == nil) != (x != nil) || err == nil && cmp.Diff(&anIssue, x, cmp.AllowUnexported(issued{})) != "" {
			t.Errorf("%q opens: %v", s, err)
		}
	})
}
