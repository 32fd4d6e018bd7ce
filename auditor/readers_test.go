package auditor_test

import (
	"bufio"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// Who was removed or disabled, whose sign-in was revoked or is over, and who comes from a
// machine that is locked, asks in vain, over connections of before, too.
func TestReaderOver(t *testing.T) {
	t.Parallel()
	w, ca := apiWorld(t)
	signin := func(machine string, end time.Time) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: "ann", Organization: []string{"auditor"}, SerialNumber: machine}, NotAfter: end}
	}
	first, second := ca.issueTo(signin("", time.Time{})), ca.issueTo(signin("laptop", time.Time{}))
	brief := ca.issueTo(signin("", time.Now().Add(3*time.Second)))
	by := map[string]*http.Client{"first": ca.by(first), "second": ca.by(second), "brief": ca.by(brief)}
	answers := func(who string, status int, says string) {
		t.Helper()
		w.until(who+" hears: "+says, func() bool {
			s, body := w.ask(by[who], "GET /v1/audit/coverage", "")
			return s == status && strings.Contains(body, says)
		})
	}
	user := events.User{Name: "ann", Roles: []string{"auditor"}}
	w.say(journal.NewID(), "", &events.UserCreated{User: user, By: "admin"})
	answers("brief", http.StatusOK, "")
	answers("first", http.StatusOK, "")
	answers("second", http.StatusOK, "")

	disabled := user
	disabled.Disabled = true
	w.say(journal.NewID(), "", &events.UserUpdated{User: disabled, By: "admin"})
	answers("first", http.StatusForbidden, "ann is disabled")
	w.say(journal.NewID(), "", &events.UserUpdated{User: user, By: "admin"})
	answers("first", http.StatusOK, "")

	w.say(journal.NewID(), "", &events.SigninRevoked{CertificateSerial: first.Leaf.SerialNumber.Text(16), User: "ann", ExpiresAt: first.Leaf.NotAfter, By: "admin"})
	answers("first", http.StatusUnauthorized, "was revoked")
	answers("second", http.StatusOK, "")

	w.say(journal.NewID(), "", &events.LockPlaced{LockID: "stolen", Target: events.LockTarget{Kind: "device", Name: "laptop"}, Message: "stolen", By: "admin"})
	answers("second", http.StatusForbidden, "device laptop is locked: stolen")
	w.say(journal.NewID(), "", &events.LockLifted{LockID: "stolen", By: "admin"})
	answers("second", http.StatusOK, "")

	w.say(journal.NewID(), "", &events.UserDeleted{Name: "ann", By: "admin"})
	answers("second", http.StatusForbidden, "ann was removed")
	w.sayAt(time.Now().Add(10*time.Second), &events.UserCreated{User: user, By: "admin"})
	answers("second", http.StatusUnauthorized, "an earlier user ann")
	answers("brief", http.StatusUnauthorized, "expired")
}

// An answer that goes on ends with the right to it, and never like one that is whole.
func TestTailBreaksOff(t *testing.T) {
	t.Parallel()
	w, ca := apiWorld(t)
	var long []events.Event
	for range 300 {
		long = append(long, events.Event{Data: &events.AWSRequestDenied{AWSRequest: events.AWSRequest{RequestID: journal.NewID(), UserAgent: strings.Repeat("x", 100<<10)}, Cause: "rule"}})
	}
	if _, failed, err := w.j.AppendAll(t.Context(), long...); err != nil || len(failed) > 0 {
		t.Fatalf("%d were not appended: %v", len(failed), err)
	}
	ask := func(name, what string) *bufio.Reader {
		t.Helper()
		resp, err := ca.http(name, "auditor").Get("https://" + w.a.Addr() + "/v1/audit/events?" + what)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%+v, %v", resp, err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return bufio.NewReader(resp.Body)
	}
	following := ask("ann", "subject=findings.>")
	w.say(journal.NewID(), "", &events.LockPlaced{LockID: "l", Target: events.LockTarget{Kind: "user", Name: "ann"}, By: "admin"})
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, following)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("who is locked hears that there are no more events")
		}
	case <-time.After(time.Minute):
		t.Fatal("who is locked reads on")
	}

	stopped := ask("bea", "subject=audit.>&since=1h&follow=false")
	if _, err := stopped.ReadSlice('\n'); err != nil && err != bufio.ErrBufferFull {
		t.Fatal(err)
	}
	go w.stop()
	w.until("the auditor stops", func() bool {
		c, err := net.Dial("tcp", w.a.Addr())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if n, err := io.Copy(io.Discard, stopped); err == nil {
		t.Errorf("an answer that the auditor's end cut off after %d bytes is like a whole one", n)
	}
}
