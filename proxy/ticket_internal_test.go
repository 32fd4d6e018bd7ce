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

func keys(k ...[]byte) func() [][]byte { return func() [][]byte { return k } }

// A token made before the key changed opens for as long as the old key is known, and
// one made by a proxy that changed earlier opens at one that has yet to. Its key's id
// is bound to it.
func TestTicketKeysChange(t *testing.T) {
	old, next := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 32)
	now := [][]byte{old}
	proxy, err := newTickets(func() [][]byte { return now })
	if err != nil {
		t.Fatal(err)
	}
	seal := func() string {
		token, err := proxy.seal(&anIssue)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	opens := func(token string) bool { _, err := proxy.open(token); return err == nil }
	before := seal()
	now = [][]byte{old, next} // introduced
	if token := seal(); !opens(token) || !strings.HasPrefix(token, sealedHead(ticketPrefix, old)) {
		t.Error("before the new key is known everywhere, the old one seals")
	}
	now = [][]byte{next, old} // switched
	after := seal()
	if !opens(before) || !opens(after) || !strings.HasPrefix(after, sealedHead(ticketPrefix, next)) {
		t.Error("from then on the new key seals, and tokens of both open")
	}
	forged := sealedHead(ticketPrefix, next) + strings.TrimPrefix(before, sealedHead(ticketPrefix, old))
	unknown := sealedHead(ticketPrefix, bytes.Repeat([]byte{9}, 32)) + strings.TrimPrefix(before, sealedHead(ticketPrefix, old))
	if opens(forged) || opens(unknown) || opens(strings.TrimPrefix(before, ticketPrefix)) {
		t.Error("a token with another key's id opens")
	}
	now = [][]byte{old, next} // a proxy that has not switched yet
	if !opens(after) {
		t.Error("a proxy that knows the new key does not open what it sealed elsewhere")
	}
	now = [][]byte{next} // steady
	if opens(before) || !opens(after) {
		t.Error("tokens of the old key end with it, those of the new do not")
	}
	if now = nil; opens(after) {
		t.Error("without keys a token opens")
	}
	if _, err := proxy.seal(&anIssue); err == nil {
		t.Error("without keys a token is made")
	}
}

func TestTicket(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	ours, err := newTickets(keys(key))
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
	again, err := newTickets(keys(key))
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
	if _, err := newTickets(keys(key[:31])); err == nil {
		t.Error("a key of 31 bytes is taken")
	}
}

// Nothing but what was sealed opens.
func FuzzTicket(f *testing.F) {
	tickets, err := newTickets(keys(bytes.Repeat([]byte{7}, 32)))
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
