package auditor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// Who has a name that AWS takes only changed is found by their own, in all that went
// around postern: by key, by session name, and after a restart.
func TestUsersThatRecordsDoNotName(t *testing.T) {
	t.Parallel()
	const user, session = "zoë+x=y@exämple.com", "zo-+x=y@ex-mple.com-bcca44826e54e726fff1"
	w := newWorld(t, quick)
	now := time.Now().UTC()
	ago := func(d time.Duration) time.Time { return now.Add(-d).Truncate(time.Second) }
	w.sayAt(ago(time.Hour), &events.SessionStarted{SessionID: "S1", User: user, App: "awsconsole", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: session, StartedAt: ago(time.Hour), ExpiresAt: now.Add(time.Hour)})
	kept := events.AWSCredentialsIssued{AccessKeyID: "ASIAOURS", SessionID: "S1", User: user, AWSRoleARN: roleARN, Account: account,
		RoleSessionName: session, IssuedAt: ago(time.Hour), ExpiresAt: now.Add(time.Hour), Use: "proxy", Proxy: "p1"}
	held := kept
	held.AccessKeyID, held.Use, held.HandedOut = "ASIAHELD", "export", true
	w.sayAt(kept.IssuedAt, &kept)
	w.sayAt(held.IssuedAt, &held)
	made := awsRequest("R1", user, ago(50*time.Minute))
	made.RoleSessionName = session
	w.sayAt(made.ReceivedAt, &events.AWSRequestAdmitted{AWSRequest: made})
	w.sayAt(made.ReceivedAt, &events.AWSRequestCompleted{AWSRequest: made, Status: 200, AWSRequestID: "AWSR1"})
	w.sayAt(ago(30*time.Minute), &events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: user}, By: "admin"})
	w.settle(events.Access, events.Audit)
	record := func(id, request, key string, before time.Duration) {
		r := trail(id, request, session, key, "ListObjects", ago(before))
		if id == "FORWARDED" {
			r.Record = json.RawMessage(strings.Replace(string(r.Record), `"sessionContext"`, `"invokedBy":"athena.amazonaws.com","sessionContext"`, 1))
		}
		w.sayAt(now, r)
	}
	record("MATCHED", "AWSR1", "ASIAOURS", 50*time.Minute)
	record("BYKEY", "AWS1", "ASIAOURS", 40*time.Minute)
	record("EXPORTED", "AWS2", "ASIAHELD", 40*time.Minute)
	record("FORWARDED", "AWS3", "ASIAELSE", 40*time.Minute)
	judged := func(n uint64) {
		t.Helper()
		w.until(fmt.Sprint(n, " records are judged"), func() bool { return w.count(`SELECT count() FROM cloudtrail WHERE verdict != ''`) == n })
	}
	judged(4)
	w.settle(events.Findings)
	w.stop()
	w.start(quick)
	record("BYNAME", "AWS4", "ASIAELSE", 20*time.Minute)
	judged(5)
	w.settle(events.Findings)

	ask := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, w.dsn)), nil)
	for f, want := range map[query.Filter]int{{User: user}: 5, {User: "zoë*"}: 5, {User: user, Outcome: "bypass"}: 2, {User: session}: 4, {FederatedUser: session}: 5, {User: "zoe"}: 0} {
		if p, err := ask.Search(t.Context(), f); err != nil || len(p.Entries) != want {
			t.Errorf("%+v: %d calls, %v, want %d", f, len(p.Entries), err, want)
		}
	}
	found := map[string]bool{}
	f, err := ask.Findings(t.Context(), query.FindingFilter{User: user, State: "open"})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Findings {
		found[strings.Replace(x.FindingID, account+"/", "", 1)] = true
	}
	if len(found) != 3 || !found["bypass:BYKEY"] || !found["bypass:BYNAME"] || !found["after_lock:BYNAME"] {
		t.Errorf("findings: %v", found)
	}
	items, err := evidence.Gather(t.Context(), w.conn, evidence.Subject{User: user})
	if err != nil {
		t.Fatal(err)
	}
	reported := 0
	for _, i := range items {
		if e, err := events.Decode(i.Body); err != nil {
			t.Fatal(err)
		} else if d, ok := e.Data.(*events.FindingOpened); ok && found[strings.Replace(d.FindingID, account+"/", "", 1)] {
			reported++
		}
	}
	if reported != len(found) {
		t.Errorf("a report has %d of %d findings", reported, len(found))
	}
	c, err := ask.Coverage(t.Context(), "")
	if err != nil || len(c.Offenders) != 1 || c.Offenders[0].User != user || c.Offenders[0].Bypass != 2 {
		t.Errorf("coverage: %+v, %v", c, err)
	}
	s, err := store.New(store.Config{DSN: w.dsn, Log: zerolog.Nop(), Recheck: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if r, err := s.Rederive(t.Context(), store.Part{Of: 1}, time.Time{}, store.Horizons{}, nil); err != nil || len(r.Differences) > 0 {
		t.Errorf("made again: %+v, %v", r, err)
	}
}
