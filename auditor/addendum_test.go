package auditor_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// What CloudTrail adds to a record later, under ids of its own, is about the same call: it
// is none that went around postern, whether it comes after the record or before.
func TestAddendum(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	now := time.Now().UTC().Truncate(time.Second)
	w.sayAt(now, &events.AWSCredentialsIssued{AccessKeyID: "ASIAOURS", SessionID: "S1", User: "alice", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", IssuedAt: now, ExpiresAt: now.Add(time.Hour), Use: "proxy", Proxy: "p1"})
	call := func(id string) {
		made := awsRequest(id, "alice", now)
		w.sayAt(now, &events.AWSRequestAdmitted{AWSRequest: made})
		w.sayAt(now, &events.AWSRequestCompleted{AWSRequest: made, Status: 200, AWSRequestID: "AWS" + id})
	}
	call("R1")
	call("R2")
	w.settle(events.Audit)
	record := func(id string) *events.CloudTrailRecordReceived {
		return trail("E"+id, "AWS"+id, "alice", "ASIAOURS", "ListObjects", now)
	}
	adds := func(id string) *events.CloudTrailRecordReceived {
		r := trail("MORE"+id, "ADD"+id, "alice", "ASIAOURS", "ListObjects", now)
		r.Record = json.RawMessage(strings.Replace(string(r.Record), `"readOnly"`,
			`"addendum":{"reason":"UPDATED_DATA","updatedFields":"responseElements","originalRequestID":"AWS`+id+`","originalEventID":"E`+id+`"},"readOnly"`, 1))
		return r
	}
	judged := func(n uint64) {
		t.Helper()
		w.until("records are judged", func() bool { return w.count(`SELECT count() FROM cloudtrail WHERE verdict != ''`) == n })
	}
	w.sayAt(now, record("R1"))
	judged(1)
	w.settle(events.Findings)
	w.stop()
	w.start(nil)
	w.sayAt(now, adds("R1"))
	w.sayAt(now, adds("R2"))
	judged(3)
	w.sayAt(now, record("R2"))
	judged(4)
	w.settle(events.Findings)
	if n := w.count(`SELECT count() FROM cloudtrail WHERE verdict IN ('matched', 'proxied')`); n != 4 {
		t.Errorf("%d records are of the two requests, want 4", n)
	}
	if n := w.count(`SELECT count() FROM requests WHERE verdict = 'matched'`); n != 2 {
		t.Errorf("%d requests are matched, want 2", n)
	}
	if n := w.count(`SELECT count() FROM findings`); n != 0 {
		t.Errorf("%d findings", n)
	}
}
