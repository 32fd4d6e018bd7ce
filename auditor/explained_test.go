package auditor_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// What explains records outlives the auditor's memory: keys and links that users
// were given, sessions, locks and the selectors of trails come from the store.
func TestExplained(t *testing.T) {
	w := newWorld(t, quick)
	now := time.Now().UTC()
	ago := func(d time.Duration) time.Time { return now.Add(-d).Truncate(time.Second) }
	w.sayAt(ago(6*time.Hour), &events.SessionStarted{SessionID: "S1", User: "alice", Roles: []events.RoleRef{{Name: "engineer", Revision: 2}}, OtherRoles: []string{"oncall"}, App: "awsconsole",
		AWSRoleARN: roleARN, Account: account, RoleSessionName: "alice", StartedAt: ago(6 * time.Hour), ExpiresAt: ago(3 * time.Hour)})
	held := events.AWSCredentialsIssued{AccessKeyID: "ASIAHELD", SessionID: "S1", User: "alice", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", IssuedAt: ago(6 * time.Hour), ExpiresAt: ago(3 * time.Hour), Use: "assume_role", HandedOut: true, Proxy: "p1"}
	kept := held
	kept.AccessKeyID, kept.Use, kept.HandedOut = "ASIAOURS", "proxy", false
	w.sayAt(held.IssuedAt, &held)
	w.sayAt(kept.IssuedAt, &kept)
	link := awsRequest("T1", "alice", ago(6*time.Hour))
	link.Operation, link.Resources = "GetObject", []string{"arn:aws:s3:::bucket/x"}
	w.sayAt(link.ReceivedAt, &events.AWSTokenIssued{AWSRequest: link, Kind: events.CredentialURL, ExpiresAt: ago(4 * time.Hour)})
	w.sayAt(ago(5*time.Hour), &events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "role", Name: "oncall"}, By: "admin"})
	w.sayAt(now, &events.CloudTrailTrailObserved{TrailARN: "arn:aws:cloudtrail:eu-central-1:" + account + ":trail/t", Account: account, Name: "t", HomeRegion: "eu-central-1",
		EventSelectors: `[{"IncludeManagementEvents":true,"ReadWriteType":"All"}]`, ObservedAt: now})
	w.settle(events.Access, events.Audit, events.CloudTrail)
	w.stop()
	w.start(quick)

	made := awsRequest("R1", "alice", now)
	w.sayAt(now, &events.AWSRequestAdmitted{AWSRequest: made})
	record := func(id, key string, at time.Time, object string) {
		r := trail(id, "AWS"+id, "alice", key, "GetObject", at)
		r.Record = json.RawMessage(strings.Replace(string(r.Record), `"readOnly"`, `"resources":[{"ARN":"arn:aws:s3:::bucket/`+object+`"}],"readOnly"`, 1))
		w.sayAt(now, r)
	}
	record("E1", "ASIAHELD", ago(330*time.Minute), "y")
	record("E2", "ASIAHELD", ago(4*time.Hour), "y")
	record("E3", "ASIAOURS", ago(330*time.Minute), "x")
	record("E4", "ASIAOURS", ago(330*time.Minute), "y")
	record("E5", "ASIAHELD", ago(2*time.Hour), "y")

	want := map[string]string{"E1": "exported", "E2": "exported", "E3": "token", "E4": "bypass", "E5": "exported"}
	for id, verdict := range want {
		w.until(id+" is "+verdict, func() bool {
			return w.count(`SELECT count() FROM cloudtrail WHERE event_id = ? AND verdict = ?`, id, verdict) == 1
		})
	}
	w.until("R1 is not_logged", func() bool {
		return w.count(`SELECT count() FROM requests WHERE request_id = 'R1' AND verdict = 'not_logged' AND verdict_detail != ''`) == 1
	})
	w.settle(events.Findings)
	if n := w.count(`SELECT count() FROM findings`); n != 6 {
		t.Errorf("%d findings, want 6", n)
	}
	for _, id := range []string{"bypass:" + account + "/E4", "after_lock:" + account + "/E2", "after_lock:" + account + "/E5", "after_expiry:" + account + "/E5", "after_lock:R1", "after_expiry:R1"} {
		if w.count(`SELECT count() FROM findings WHERE finding_id = ? AND state = 'open' AND summary != ''`, id) != 1 {
			t.Errorf("no finding %s", id)
		}
	}
}

// What is done in a console that postern opened and is no call of an API does not say that
// it was done in a console, but by its type.
func TestConsoleActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	now := time.Now().UTC().Truncate(time.Second)
	w.sayAt(now, &events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", StartedAt: now, ExpiresAt: now.Add(time.Hour)})
	w.sayAt(now, &events.AWSConsoleOpened{AccessKeyID: "ASIACONSOLE", SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", ExpiresAt: now.Add(time.Hour), Proxy: "p1"})
	w.settle(events.Access, events.Audit)
	record := func(id, kind string, at time.Time) {
		r := trail(id, "", "alice", "ASIABROWSER", "GetAlternateContact", at)
		r.Record = json.RawMessage(strings.NewReplacer("s3.amazonaws.com", "billingconsole.amazonaws.com", "AwsApiCall", kind).Replace(string(r.Record)))
		w.sayAt(now, r)
	}
	record("ACTION", "AwsConsoleAction", now.Add(time.Minute))
	record("LATER", "AwsConsoleAction", now.Add(2*time.Hour))
	record("CALL", "AwsApiCall", now.Add(time.Minute))
	for id, verdict := range map[string]string{"ACTION": "console", "LATER": "bypass", "CALL": "bypass"} {
		w.until(id+" is judged", func() bool {
			return w.count(`SELECT count() FROM cloudtrail WHERE event_id = ? AND verdict != ''`, id) == 1
		})
		if w.count(`SELECT count() FROM cloudtrail WHERE event_id = ? AND verdict = ?`, id, verdict) != 1 {
			t.Errorf("%s is not %s", id, verdict)
		}
	}
}
