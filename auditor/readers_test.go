package auditor_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
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
