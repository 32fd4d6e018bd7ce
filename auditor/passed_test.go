package auditor_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

// Keys that were got around postern are followed: those whose records came too early, and
// those that come after a restart, found under the user whom the first key was lent to.
func TestKeysPassedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quick)
	now := time.Now().UTC()
	ago := func(d time.Duration) time.Time { return now.Add(-d).Truncate(time.Second) }
	tell := func(p events.Payload) {
		t.Helper()
		w.sayAt(now, p)
	}
	tell(&events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", StartedAt: ago(6 * time.Hour), ExpiresAt: ago(4 * time.Hour)})
	kept := events.AWSCredentialsIssued{AccessKeyID: "ASIAOURS", SessionID: "S1", User: "alice", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", IssuedAt: ago(6 * time.Hour), ExpiresAt: ago(4 * time.Hour), Use: "proxy", Proxy: "p1"}
	held := kept
	held.AccessKeyID, held.Use, held.HandedOut = "ASIAHELD", "export", true
	tell(&kept)
	tell(&held)
	w.settle(events.Access, events.Audit)
	record := func(id, key, gives string, before time.Duration) {
		user := "alice"
		if strings.Contains(key, "GOT") || key == "ASIAOTHER" {
			user = "any"
		}
		r := trail(id, "AWS"+id, user, key, "GetObject", ago(before))
		text := string(r.Record)
		if user == "any" {
			text = strings.NewReplacer("assumed-role/Ops/", "assumed-role/Admin/", "role/team/Ops", "role/Admin").Replace(text)
		}
		if gives != "" {
			text = strings.NewReplacer("s3.amazonaws.com", "sts.amazonaws.com", "GetObject", "AssumeRole",
				`"readOnly"`, `"responseElements":{"credentials":{"accessKeyId":"`+gives+`","expiration":"x"}},"readOnly"`).Replace(text)
			r.EventSource = "sts.amazonaws.com"
		}
		r.Record = json.RawMessage(text)
		tell(r)
	}
	verdicts := func(want map[string]string) {
		t.Helper()
		for id, verdict := range want {
			w.until(id+" is "+verdict, func() bool {
				return w.count(`SELECT count() FROM cloudtrail WHERE event_id = ? AND verdict = ?`, id, verdict) == 1
			})
		}
	}
	record("EARLY1", "ASIAGOT1", "", 290*time.Minute)
	record("EARLY2", "ASIAGOT2", "", 290*time.Minute)
	record("OTHER", "ASIAOTHER", "", 290*time.Minute)
	record("SENTINEL1", "ASIAOURS", "", 290*time.Minute)
	verdicts(map[string]string{"SENTINEL1": "bypass"})
	record("ASSUME1", "ASIAOURS", "ASIAGOT1", 300*time.Minute)
	record("ASSUME2", "ASIAHELD", "ASIAGOT2", 300*time.Minute)
	record("CHAIN1", "ASIAGOT1", "ASIAGOT3", 280*time.Minute)
	verdicts(map[string]string{"ASSUME1": "bypass", "ASSUME2": "exported", "CHAIN1": "bypass", "EARLY1": "bypass", "EARLY2": "exported"})
	w.settle(events.Findings)
	w.stop()
	w.start(quick)
	record("LATER1", "ASIAGOT1", "", 270*time.Minute)
	record("LATER2", "ASIAGOT2", "", 200*time.Minute)
	record("LATER3", "ASIAGOT3", "", 200*time.Minute)
	record("SENTINEL2", "ASIAOURS", "", 290*time.Minute)
	verdicts(map[string]string{"LATER1": "bypass", "LATER2": "exported", "LATER3": "bypass", "SENTINEL2": "bypass"})
	if n := w.count(`SELECT count() FROM cloudtrail WHERE event_id = 'OTHER' AND verdict = ''`); n != 1 {
		t.Error("what nobody of ours did has a verdict")
	}
	w.settle(events.Findings)

	ask := query.New(embeddedtest.Open(t, embeddedtest.ReaderDSN(t, w.dsn)), nil)
	p, err := ask.Search(t.Context(), query.Filter{User: "alice"})
	if err != nil || len(p.Entries) != 10 {
		t.Errorf("%d calls of alice's, %v", len(p.Entries), err)
	}
	f, err := ask.Findings(t.Context(), query.FindingFilter{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, x := range f.Findings {
		found[strings.Replace(x.FindingID, account+"/", "", 1)] = true
	}
	for _, id := range []string{"bypass:ASSUME1", "bypass:CHAIN1", "bypass:EARLY1", "bypass:LATER1", "bypass:LATER3", "bypass:SENTINEL1", "bypass:SENTINEL2", "after_expiry:LATER2", "after_expiry:LATER3"} {
		if !found[id] {
			t.Errorf("no finding %s", id)
		}
	}
	if len(found) != 9 {
		t.Errorf("findings: %v", found)
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
