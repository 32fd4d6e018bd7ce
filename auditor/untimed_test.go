package auditor_test

import (
	"encoding/json"
	"regexp"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
)

// Records whose time can't be read are judged by all else, beside others, and once,
// however often they are delivered.
func TestUntimedRecordsAreJudged(t *testing.T) {
	w := newWorld(t, nil)
	now := time.Now().UTC()
	w.say("", "", &events.AWSCredentialsIssued{AccessKeyID: "ASIAOURS", SessionID: "S1", User: "alice", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", IssuedAt: now, ExpiresAt: now.Add(time.Hour), Use: "proxy", Proxy: "p1"})
	call := awsRequest("R1", "alice", now)
	w.say("admitted", "", &events.AWSRequestAdmitted{AWSRequest: call})
	w.say("completed", "admitted", &events.AWSRequestCompleted{AWSRequest: call, Status: 200, AWSRequestID: "AWS1"})
	w.settle(events.Audit)
	untimed := func(id, requestID string) *events.CloudTrailRecordReceived {
		r := trail(id, requestID, "alice", "ASIAOURS", "ListObjects", now)
		r.Record = json.RawMessage(regexp.MustCompile(`"eventTime":"[^"]*"`).ReplaceAllString(string(r.Record), `"eventTime":"redacted"`))
		return r
	}
	deliver := func(round string) {
		w.say("timed"+round, "", trail("E0", "AROUND0", "alice", "ASIAOURS", "GetObject", now))
		w.say("matched"+round, "", untimed("E1", "AWS1"))
		w.say("bypass"+round, "", untimed("E2", "AROUND"))
	}
	judged := func() bool {
		return w.count(`SELECT count() FROM cloudtrail WHERE (event_id, verdict) IN (('E0', 'bypass'), ('E1', 'matched'), ('E2', 'bypass'))`) == 3 &&
			w.count(`SELECT count() FROM requests WHERE verdict = 'matched' AND cloudtrail_event_id = 'E1'`) == 1
	}
	deliver("")
	w.until("all are judged", judged)
	deliver(" again")
	w.say("sentinel", "", untimed("E3", "AROUND3"))
	w.until("the sentinel is judged", func() bool {
		return w.count(`SELECT count() FROM findings WHERE state = 'open' AND event_id = 'E3'`) == 1
	})
	w.settle(events.Findings)
	if n := w.count(`SELECT count() FROM cloudtrail`); n != 4 || !judged() {
		t.Errorf("%d records, judged as before: %t", n, judged())
	}
	if n := w.count(`SELECT count() FROM finding_rows FINAL`); n != 3 {
		t.Errorf("%d findings, want 3", n)
	}
}
