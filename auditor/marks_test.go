package auditor_test

import (
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// Who moves the judge's mark past a record that waits to be judged would have it never
// judged, once the auditor is started again: that is found.
func TestMarkPastRecord(t *testing.T) {
	a := newArchive(t)
	now := time.Now().UTC()
	a.say("s", "", &events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account, Partition: "aws", RoleSessionName: "alice", StartedAt: now.Add(-time.Hour), ExpiresAt: now.Add(time.Hour)})
	a.say("others", "", trail("E0", "AWS0", "somebody", "ASIATHEIRS", "ListObjects", now.Add(-2*time.Hour)))
	a.say("inflight", "", &events.AWSRequestAdmitted{AWSRequest: awsRequest("R1", "alice", now)})
	a.say("record", "", trail("E1", "AWS1", "alice", "ASIAOURS", "ListObjects", now)) // which may be R1's
	a.settle(events.Streams()...)
	a.until("the first is judged", func() bool {
		return a.count(`SELECT count() FROM cloudtrail WHERE event_id = 'E0' AND verdict != ''`) == 1
	})
	if n := a.count(`SELECT count() FROM cloudtrail WHERE event_id = 'E1' AND verdict != ''`); n != 0 {
		t.Fatal("the second is judged, too")
	}
	if wrong := a.verify(time.Minute); len(wrong) > 0 {
		t.Fatalf("untouched: %q", wrong)
	}
	a.sql(`INSERT INTO ledger_floors (stream, floor, at) VALUES ('judge/CLOUDTRAIL', 1000, now())`)
	want := []string{"CLOUDTRAIL 2: unjudged in the clickhouse: the mark judge/CLOUDTRAIL says that it was judged"}
	if wrong := a.verify(time.Minute); !slices.Equal(wrong, want) {
		t.Errorf("found %q, want %q", wrong, want)
	}
}
