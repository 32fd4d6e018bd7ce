package auditor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
)

const (
	account = "123456789012"
	roleARN = "arn:aws:iam::123456789012:role/team/Ops"
)

func awsRequest(id, user string, at time.Time) events.AWSRequest {
	return events.AWSRequest{
		RequestID: id, ReceivedAt: at, User: user, SessionID: "S1", App: "awsconsole", AWSRoleARN: roleARN, RoleSessionName: user,
		AccessKeyID: "ASIAOURS", Account: account, Partition: "aws", Region: "eu-central-1", Service: "s3", SigningName: "s3",
		Operation: "ListObjectsV2", Action: "s3:ListBucket", AccessLevel: "List", Resources: []string{"arn:aws:s3:::bucket"},
		Method: "GET", Host: "bucket.s3.eu-central-1.amazonaws.com", Path: "/", ClientAddr: "10.0.0.1:1234", UserAgent: "aws-cli/2", Proxy: "p1",
	}
}

// trail is a record as CloudTrail writes it about a call of user's.
func trail(eventID, requestID, user, key, name string, at time.Time) *events.CloudTrailRecordReceived {
	record := fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAX:%[1]s","arn":"arn:aws:sts::%[2]s:assumed-role/Ops/%[1]s","accountId":"%[2]s","accessKeyId":"%[3]s","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAX","arn":"%[4]s","accountId":"%[2]s","userName":"Ops"}}},"eventTime":"%[5]s","eventSource":"s3.amazonaws.com","eventName":"%[6]s","awsRegion":"eu-central-1","sourceIPAddress":"203.0.113.7","requestID":"%[7]s","eventID":"%[8]s","readOnly":true,"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"%[2]s","eventCategory":"Data"}`,
		user, account, key, roleARN, at.UTC().Format(time.RFC3339), name, requestID, eventID)
	return &events.CloudTrailRecordReceived{RecipientAccountID: account, EventID: eventID, Region: "eu-central-1", EventSource: "s3.amazonaws.com", File: "test", Record: json.RawMessage(record)}
}

func (w *world) say(id, cause string, p events.Payload) {
	w.t.Helper()
	e := events.Event{Meta: events.Meta{ID: id, CausationID: cause}, Data: p}
	switch d := p.(type) {
	case *events.AWSRequestAdmitted:
		e.CorrelationID = d.RequestID
	case *events.AWSRequestDenied:
		e.CorrelationID = d.RequestID
	}
	if _, err := w.j.Append(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
}

// One user's story, from the role to the bypass: what each question answers.
func TestStory(t *testing.T) {
	w := newWorld(t, nil)
	storyHolds(t, w, embeddedtest.ReaderDSN(t, w.dsn), nil)
}

func storyHolds(t *testing.T, w *world, reader string, edit func(*auditor.Config)) {
	now := time.Now().UTC()
	w.tell(now)

	w.until("verdicts are stored", func() bool {
		return w.count(`SELECT count() FROM requests WHERE verdict = 'matched'`) == 1 && w.count(`SELECT count() FROM findings`) == 1 &&
			w.count(`SELECT count() FROM cloudtrail WHERE verdict = 'credentials'`) == 1
	})
	a := query.New(embeddedtest.Open(t, reader), nil)

	d, err := a.Show(t.Context(), "R1")
	if err != nil {
		t.Fatal(err)
	}
	if d.Verdict != events.Matched || d.Request.Outcome != "completed" || d.CloudTrail == nil || d.CloudTrail.EventID != "E1" ||
		d.Session == nil || d.Session.User != "alice" || len(d.AccessRequests) != 1 || d.AccessRequests[0].State != "approved" {
		t.Errorf("show R1: %+v", d)
	}
	for _, id := range []string{"AWS1", "E1"} {
		same, err := a.Show(t.Context(), id)
		if err != nil || same.Request == nil || same.Request.RequestID != "R1" || len(same.CloudTrail.Record) == 0 {
			t.Errorf("show %s: %+v, %v", id, same, err)
		}
	}
	if d, err := a.Show(t.Context(), "E2"); err != nil || d.Verdict != events.Bypass || d.Request != nil || len(d.Findings) != 1 {
		t.Errorf("show E2: %+v, %v", d, err)
	}
	if _, err := a.Show(t.Context(), "nothing"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("show nothing: %v", err)
	}

	c, err := a.Why(t.Context(), "E1")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, s := range c.Steps {
		kinds = append(kinds, s.Kind)
	}
	if got, want := strings.Join(kinds, " "), "cloudtrail request decision session approval review access_request role"; got != want {
		t.Errorf("why E1: %s, want %s", got, want)
	}
	if last := c.Steps[len(c.Steps)-1]; last.ID != "engineer" || last.Revision != 2 {
		t.Errorf("why E1 ends with %+v", last)
	}

	cov, err := a.Coverage(t.Context(), "1h")
	if err != nil {
		t.Fatal(err)
	}
	if cov.Calls != 3 || cov.Matched.Count != 1 || cov.Awaiting.Count != 1 || cov.Bypass.Count != 1 || cov.Denied != 1 || cov.Credentials != 1 || cov.Unrelated != 1 ||
		len(cov.Offenders) != 1 || cov.Offenders[0].User != "alice" || cov.Offenders[0].Bypass != 1 {
		t.Errorf("coverage: %+v", cov)
	}
	f, err := a.Findings(t.Context(), query.FindingFilter{Kind: "bypass", State: "open"})
	if err != nil || len(f.Findings) != 1 || f.Findings[0].FindingID != "bypass:"+account+"/E2" || f.Findings[0].User != "alice" {
		t.Errorf("findings: %+v, %v", f, err)
	}
	if n := w.count(`SELECT count() FROM locks WHERE state = 'active' AND target_name = 'alice' AND placed_by = 'admin'`); n != 1 {
		t.Errorf("%d locks", n)
	}
	w.search(a, now)

	// Nothing is said twice: not when all is delivered again, not by another start.
	w.settle(events.Findings)
	said := w.count(`SELECT count() FROM events WHERE stream = 'FINDINGS'`)
	w.stop()
	w.start(edit)
	for i, r := range []*events.CloudTrailRecordReceived{trail("E1", "AWS1", "alice", "ASIAOURS", "ListObjects", now), trail("E2", "AROUND", "alice", "ASIASTOLEN", "GetObject", now)} {
		w.say(fmt.Sprint("again", i), "", r)
	}
	w.say("sentinel", "", trail("E4", "AROUND2", "alice", "ASIASTOLEN", "DeleteObject", now))
	w.until("the sentinel is judged", func() bool { return w.count(`SELECT count() FROM findings`) == 2 })
	w.settle(events.Findings)
	if n := w.count(`SELECT count() FROM events WHERE stream = 'FINDINGS'`); n != said+2 {
		t.Errorf("%d findings events after doubled deliveries, were %d, want 2 more", n, said)
	}
	if n := w.count(`SELECT count() FROM cloudtrail`); n != 5 {
		t.Errorf("%d records", n)
	}
	// The request that made the call comes late: the bypass is none.
	late := awsRequest("R4", "alice", now)
	w.say("r4a", "", &events.AWSRequestAdmitted{AWSRequest: late})
	w.say("r4c", "r4a", &events.AWSRequestCompleted{AWSRequest: late, Status: 204, AWSRequestID: "LATE"})
	w.say("late", "", trail("E5", "LATE", "alice", "ASIAOURS", "ListObjects", now))
	w.until("the pair is found", func() bool {
		return w.count(`SELECT count() FROM requests WHERE request_id = 'R4' AND verdict = 'matched'`) == 1
	})
	for _, s := range events.Streams() {
		w.settle(s)
		w.exact(s)
	}
}

// quick has the auditor wait for a second only.
func quick(c *auditor.Config) { c.TrailDelay, c.Skew = time.Second, time.Second }

// sayAt says something of a time.
func (w *world) sayAt(at time.Time, p events.Payload) {
	w.t.Helper()
	if _, err := w.j.Append(w.t.Context(), events.Event{Meta: events.Meta{Time: at}, Data: p}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tell(now time.Time) {
	role := events.Role{Name: "engineer"}
	for i, e := range []events.Payload{&events.RoleCreated{Role: role, By: "admin"}, &events.RoleUpdated{Role: role, By: "admin"}} {
		if _, err := w.j.Append(w.t.Context(), events.Event{Meta: events.Meta{Sequence: uint64(i + 1)}, Data: e}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.say("", "", &events.RequestCreated{RequestID: "A1", User: "alice", Roles: []string{"engineer"}, Reason: "a ticket", TTL: 3600, ExpiresAt: now.Add(time.Hour)})
	w.say("", "", &events.RequestReviewed{RequestID: "A1", Reviewer: "bob", Verdict: "approve", Reason: "fine"})
	w.say("", "", &events.RequestApproved{RequestID: "A1", User: "alice", Roles: []string{"engineer"}, AccessExpiresAt: now.Add(time.Hour), Reviewers: []string{"bob"}})
	w.say("s1", "", &events.SessionStarted{SessionID: "S1", User: "alice", Roles: []events.RoleRef{{Name: "engineer", Revision: 2}}, App: "awsconsole",
		RequestIDs: []string{"A1"}, AWSRoleARN: roleARN, Account: account, RoleSessionName: "alice", StartedAt: now, ExpiresAt: now.Add(time.Hour)})
	w.say("", "", &events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	w.say("", "s1", &events.AWSCredentialsIssued{AccessKeyID: "ASIAOURS", SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account,
		RoleSessionName: "alice", IssuedAt: now, ExpiresAt: now.Add(time.Hour), Use: "proxy", Proxy: "p1"})
	r1 := awsRequest("R1", "alice", now)
	r1.AccessRequestIDs = []string{"A1"}
	w.say("r1a", "s1", &events.AWSRequestAdmitted{AWSRequest: r1, Role: "engineer"})
	w.say("r1c", "r1a", &events.AWSRequestCompleted{AWSRequest: r1, Status: 200, AWSRequestID: "AWS1", ResponseBytes: 4096, LatencyMicros: 1500})
	w.say("r2d", "s1", &events.AWSRequestDenied{AWSRequest: awsRequest("R2", "alice", now.Add(time.Millisecond)), Code: "AccessDenied", Cause: "rule", Reason: "no rule allows it"})
	r3 := awsRequest("R3", "bob", now.Add(2*time.Millisecond))
	w.say("r3a", "s1", &events.AWSRequestAdmitted{AWSRequest: r3, DryRun: &events.DryRun{Rule: "role guard denies s3:*", Reason: "tried out"}})
	w.say("r3c", "r3a", &events.AWSRequestCompleted{AWSRequest: r3, Status: 200, AWSRequestID: "AWS3"})
	w.say("", "", trail("E1", "AWS1", "alice", "ASIAOURS", "ListObjects", now))
	w.say("", "", trail("E2", "AROUND", "alice", "ASIASTOLEN", "GetObject", now))
	other := trail("E3", "OTHER", "mallory", "ASIAOTHER", "GetObject", now)
	other.Record = json.RawMessage(strings.ReplaceAll(string(other.Record), "Ops", "Others"))
	w.say("", "", other)
	assume := trail("E0", "STS", "proxy", "ASIABASE", "AssumeRole", now)
	assume.Record = json.RawMessage(strings.Replace(string(assume.Record), `"readOnly"`, `"responseElements":{"credentials":{"accessKeyId":"ASIAOURS"}},"readOnly"`, 1))
	w.say("", "", assume)
}

// search tries filters, alone and combined, and pages.
func (w *world) search(a *query.Asker, now time.Time) {
	t := w.t
	for _, x := range []struct {
		f    query.Filter
		want string
	}{
		{query.Filter{User: "alice", Outcome: "completed"}, "R1+E1"},
		{query.Filter{User: "al*", Outcome: "denied"}, "R2"},
		{query.Filter{AWSRole: "Ops", Service: "s3", Action: "s3:ListBucket", User: "bob"}, "R3"},
		{query.Filter{AWSRole: roleARN, Outcome: "bypass"}, "E2"},
		{query.Filter{FederatedUser: "mallory"}, "E3"},
		{query.Filter{RequestID: "R1", Since: "1h"}, "R1+E1"},
		{query.Filter{RequestID: "A1"}, "R1+E1"},
		{query.Filter{AWSRequestID: "AROUND"}, "E2"},
		{query.Filter{Resource: "arn:aws:s3:::buck*", User: "bob", Account: account}, "R3"},
		{query.Filter{Until: now.Add(-time.Hour).Format(time.RFC3339)}, ""},
		{query.Filter{Outcome: "dry_run"}, "R3"},
		{query.Filter{User: "al_ce"}, ""},
		{query.Filter{User: "' OR 1 --"}, ""},
	} {
		var got []string
		for p, cursor := 0, ""; p == 0 || cursor != ""; p++ {
			x.f.Cursor = cursor
			page, err := a.Search(t.Context(), x.f)
			if err != nil {
				t.Fatalf("search %+v: %v", x.f, err)
			}
			for _, e := range page.Entries {
				got = append(got, entryName(e))
			}
			cursor = page.Next
		}
		if s := strings.Join(got, " "); s != x.want {
			t.Errorf("search %+v: %q, want %q", x.f, s, x.want)
		}
	}
	var all []string
	for cursor, pages := "", 0; cursor != "" || pages == 0; pages++ {
		page, err := a.Search(t.Context(), query.Filter{Limit: 1, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) != 1 {
			t.Fatalf("page %d has %d entries", pages, len(page.Entries))
		}
		all = append(all, entryName(page.Entries[0]))
		cursor = page.Next
	}
	if s, want := strings.Join(all, " "), "R3 R2 R1+E1 E3 E2 E0"; s != want {
		t.Errorf("pages of one: %s, want %s", s, want)
	}
	if _, err := a.Search(t.Context(), query.Filter{Since: "someday"}); err == nil || !strings.Contains(err.Error(), "since") {
		t.Errorf("since someday: %v", err)
	}
}

func entryName(e query.Entry) string {
	switch {
	case e.Request == nil:
		return e.CloudTrail.EventID
	case e.CloudTrail == nil:
		return e.Request.RequestID
	}
	return e.Request.RequestID + "+" + e.CloudTrail.EventID
}

// A request whose record never comes is missing, and matched should it come after all.
func TestMissingThenLate(t *testing.T) {
	w := newWorld(t, func(c *auditor.Config) { c.TrailDelay, c.Skew = time.Millisecond, time.Millisecond })
	now := time.Now().UTC()
	r := awsRequest("R1", "alice", now)
	w.say("a", "", &events.AWSRequestAdmitted{AWSRequest: r})
	w.say("c", "a", &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: "AWS1"})
	w.until("it is missing", func() bool {
		return w.count(`SELECT count() FROM requests WHERE verdict = 'missing' AND verdict_detail LIKE '%data event%'`) == 1 &&
			w.count(`SELECT count() FROM findings WHERE state = 'open' AND kind = 'missing'`) == 1
	})
	w.say("", "", trail("E1", "AWS1", "alice", "ASIAOURS", "ListObjects", now))
	w.until("it is matched", func() bool {
		return w.count(`SELECT count() FROM requests WHERE verdict = 'matched' AND cloudtrail_event_id = 'E1'`) == 1 &&
			w.count(`SELECT count() FROM findings WHERE state = 'resolved'`) == 1
	})
}

// What this version doesn't know is kept as it came.
func TestUnknownIsKept(t *testing.T) {
	w := newWorld(t, nil)
	for _, body := range []string{
		`{"specversion":"1.0","id":"u1","source":"/x","type":"io.postern.future.happened.v9","subject":"future/1","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","data":{"a":1}}`,
		`not json at all`,
	} {
		w.raw("access.future.1", body)
	}
	w.settle(events.Access)
	w.exact(events.Access)
	if n := w.count(`SELECT count() FROM events WHERE problem = 'unknown event type' AND event_id = 'u1' AND JSONExtractInt(data, 'a') = 1`); n != 1 {
		t.Errorf("%d unknown events", n)
	}
	if n := w.count(`SELECT count() FROM events WHERE problem LIKE 'not a CloudEvent%' AND raw = 'not json at all'`); n != 1 {
		t.Errorf("%d unreadable messages", n)
	}
}
