package auditor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/events"
)

// What a bundle holds about an access request, a call, CloudTrail's record of it
// and a user: all of it, and nothing of others.
func TestBundles(t *testing.T) {
	a := newArchive(t)
	now := time.Now().UTC()
	file := "s3://b/AWSLogs/1/CloudTrail/" + account + "_CloudTrail_eu-central-1_20260301T1205Z_x.json.gz"
	a.tell(now)
	a.say("", "", &events.AWSTokenIssued{AWSRequest: awsRequest("T1", "alice", now), Kind: "presigned_url", ExpiresAt: now.Add(time.Hour)})
	a.say("", "", &events.AWSTunnelOpened{AWSRequest: awsRequest("U1", "alice", now), StartRequestID: "R1", StartOperation: "StartSession"})
	a.say("", "", &events.CloudTrailFileReceived{File: "test", Account: account, Region: "eu-central-1", Records: 4, SHA256: strings.Repeat("ab", 32)})
	a.say("", "", &events.CloudTrailFileReceived{File: file, Account: account, Region: "eu-central-1", Records: 1, SHA256: strings.Repeat("cd", 32)})
	r4 := awsRequest("R4", "carol", now)
	r4.SessionID = "S4"
	a.say("r4a", "", &events.AWSRequestAdmitted{AWSRequest: r4})
	a.say("r4c", "r4a", &events.AWSRequestCompleted{AWSRequest: r4, Status: 200, AWSRequestID: "AWS4"})
	record := trail("E4", "AWS4", "carol", "ASIAOURS", "ListObjects", now)
	record.File = file
	a.say("", "", record)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i, region := range []string{"eu-central-1", "us-east-1"} {
		for h := range 3 {
			a.say(fmt.Sprint("d", i, h), "", &events.CloudTrailDigestChecked{Account: account, Region: region, Trail: "t", Bucket: "b", Key: fmt.Sprint(region, h),
				StartTime: at.Add(time.Duration(h-1) * time.Hour), EndTime: at.Add(time.Duration(h) * time.Hour), Verdict: events.DigestValid})
		}
	}
	a.until("all is judged", func() bool {
		return a.count(`SELECT count() FROM requests WHERE verdict = 'matched'`) == 2 && a.count(`SELECT count() FROM findings`) == 1
	})
	a.settle(events.Streams()...)
	for _, c := range []struct{ request, user, want string }{
		{"A1", "", "requests [A1 approved by bob] sessions [S1] calls [R1 matched E1,R2,R3] records [E1] files [test] digests [] findings [] others [role.updated,aws.token.issued,aws.tunnel.opened]"},
		{"R1", "", "requests [A1 approved by bob] sessions [S1] calls [R1 matched E1] records [E1] files [test] digests [] findings [] others [role.updated,aws.tunnel.opened]"},
		{"AWS4", "", "requests [] sessions [] calls [R4 matched E4] records [E4] files [" + file + "] digests [eu-central-11,eu-central-12] findings [] others []"},
		{"E2", "", "requests [] sessions [] calls [] records [E2] files [test] digests [] findings [bypass] others []"},
		{"", "carol", "requests [] sessions [] calls [R4 matched E4] records [E4] files [" + file + "] digests [eu-central-11,eu-central-12] findings [] others []"},
		{"", "alice", "requests [A1 approved by bob] sessions [S1] calls [R1 matched E1,R2,R3] records [E1,E2] files [test] digests [] findings [bypass] others [role.updated,aws.token.issued,aws.tunnel.opened]"},
	} {
		packed, err := a.client.Bundle(t.Context(), c.request, c.user, "", true, true)
		if err != nil {
			t.Errorf("%s%s: %v", c.request, c.user, err)
			continue
		}
		b, err := evidence.Open(packed, a.key)
		if err != nil {
			t.Errorf("%s%s: %v", c.request, c.user, err)
			continue
		}
		s, err := b.Summary()
		if err != nil {
			t.Fatal(err)
		}
		if got := tellSummary(s); got != c.want {
			t.Errorf("%s%s:\n%s, want\n%s", c.request, c.user, got, c.want)
		}
	}
	// What a user was given lately, in a session that began before.
	since := time.Now()
	a.say("", "", &events.AWSTokenIssued{AWSRequest: awsRequest("T2", "alice", since), Kind: "eks_token", ExpiresAt: since.Add(time.Hour)})
	a.settle(events.Audit)
	packed, err := a.client.Bundle(t.Context(), "", "alice", since.UTC().Format(time.RFC3339Nano), true, false)
	if err != nil {
		t.Fatal(err)
	}
	lately, err := evidence.Open(packed, a.key)
	if err != nil || len(lately.Items) != 1 || !strings.Contains(string(lately.Items[0].Body), "eks_token") {
		t.Errorf("of the last moment: %+v, %v", lately, err)
	}
	if _, err := a.client.Bundle(t.Context(), "nothing", "", "", false, true); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("of nothing: %v", err)
	}
	// What was changed in the ledger gets no proof.
	a.sql(`ALTER TABLE events UPDATE raw = replaceOne(raw, 'bob', 'eve') WHERE thing = 'request/A1' SETTINGS mutations_sync = 1`)
	if _, err := a.client.Bundle(t.Context(), "A1", "", "", false, true); err == nil || !strings.Contains(err.Error(), "the ledger is not what was logged") {
		t.Errorf("of a ledger that was changed: %v", err)
	}
}

func tellSummary(s *evidence.Summary) string {
	list := func(of []string) string { return "[" + strings.Join(of, ",") + "]" }
	var requests, sessions, calls, records, files, digests, findings, others []string
	for _, r := range s.AccessRequests {
		requests = append(requests, r.RequestID+" "+r.State+" by "+r.Reviews[0].Reviewer)
	}
	for _, x := range s.Sessions {
		sessions = append(sessions, x.SessionID)
	}
	for _, x := range s.Calls {
		calls = append(calls, strings.TrimSpace(x.RequestID+" "+strings.TrimSpace(x.Verdict+" "+x.Record)))
	}
	for _, x := range s.Records {
		records = append(records, x.EventID)
	}
	for _, x := range s.Files {
		files = append(files, x.File)
	}
	for _, x := range s.Digests {
		digests = append(digests, x.Key)
	}
	for _, x := range s.Findings {
		findings = append(findings, x.Kind)
	}
	for _, x := range s.Others {
		if x.Type != events.TypeAWSCredentialsIssued {
			others = append(others, strings.TrimSuffix(strings.TrimPrefix(string(x.Type), "io.postern."), ".v1"))
		}
	}
	return "requests " + list(requests) + " sessions " + list(sessions) + " calls " + list(calls) + " records " + list(records) +
		" files " + list(files) + " digests " + list(digests) + " findings " + list(findings) + " others " + list(others)
}

// A report has every event of a call, whatever its proxy's clock said: also of one that
// was days ahead, among calls of proxies that were not.
func TestReportOfOddClocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quick)
	now := time.Now().UTC().Truncate(time.Second)
	want := 0
	for id, at := range map[string]time.Time{"PAST": now.AddDate(0, 0, -40), "NOW": now.Add(-time.Minute), "AHEAD": now.AddDate(0, 0, 3), "LATER": now.AddDate(0, 1, 3)} {
		r := awsRequest(id, "alice", at)
		w.sayAt(now, &events.AWSRequestAdmitted{AWSRequest: r})
		w.sayAt(now, &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: "AWS" + id})
		want += 2
	}
	w.settle(events.Audit)
	for since, want := range map[time.Time]int{{}: want, now.Add(-time.Hour): want - 2, now.AddDate(0, 0, 10): 2} {
		items, err := evidence.Gather(t.Context(), w.conn, evidence.Subject{User: "alice", Since: since})
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		for _, i := range items {
			if i.Stream == events.Audit {
				calls++
			}
		}
		if calls != want {
			t.Errorf("since %s: %d events of calls, want %d", since, calls, want)
		}
	}
}

// A call that waited until somebody approved it, by itself, is told with that approval,
// whichever of the two is asked for, and so is one that was refused.
func TestBundleOfHeldCall(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	now := time.Now().UTC()
	a.say("s1", "", &events.SessionStarted{SessionID: "S1", User: "alice", App: "awsconsole", AWSRoleARN: roleARN, Account: account, RoleSessionName: "alice", StartedAt: now, ExpiresAt: now.Add(time.Hour)})
	say := func(call string, p events.Payload) {
		t.Helper()
		if _, err := a.j.Append(t.Context(), events.Event{Meta: events.Meta{CorrelationID: call}, Data: p}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(id string) {
		a.say("", "", &events.RequestCreated{RequestID: id, User: "alice", Reason: "a call", ExpiresAt: now.Add(time.Hour)})
	}
	r1, r2 := awsRequest("R1", "alice", now), awsRequest("R2", "alice", now.Add(time.Second))
	say("R1", &events.AWSCallHeld{AWSRequest: r1, AccessRequestID: "H1"})
	say("R2", &events.AWSCallHeld{AWSRequest: r2, AccessRequestID: "H2"})
	ask("H1")
	ask("H2")
	a.say("", "", &events.RequestReviewed{RequestID: "H1", Reviewer: "bob", Verdict: "approve"})
	a.say("", "", &events.RequestApproved{RequestID: "H1", User: "alice", AccessExpiresAt: now.Add(time.Hour), Reviewers: []string{"bob"}})
	a.say("", "", &events.RequestReviewed{RequestID: "H2", Reviewer: "bob", Verdict: "deny"})
	a.say("", "", &events.RequestDenied{RequestID: "H2", User: "alice", Reviewers: []string{"bob"}})
	r1.AccessRequestIDs = []string{"H1"}
	say("R1", &events.AWSRequestAdmitted{AWSRequest: r1})
	say("R1", &events.AWSRequestCompleted{AWSRequest: r1, Status: 200, AWSRequestID: "AWS1"})
	say("R2", &events.AWSRequestDenied{AWSRequest: r2, Code: "AccessDenied", Cause: "rule", Reason: "bob denied it"})
	a.settle(events.Streams()...)
	for id, want := range map[string]string{
		"H1": "[{H1 approved bob}] [R1]", "R1": "[{H1 approved bob}] [R1]", "AWS1": "[{H1 approved bob}] [R1]", "H2": "[{H2 denied bob}] [R2]", "R2": "[{H2 denied bob}] [R2]",
	} {
		packed, err := a.client.Bundle(t.Context(), id, "", "", true, true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := evidence.Open(packed, a.key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Summary()
		if err != nil {
			t.Fatal(err)
		}
		type asked struct{ id, state, by string }
		var requests []asked
		var calls []string
		for _, r := range s.AccessRequests {
			x := asked{r.RequestID, r.State, ""}
			for _, v := range r.Reviews {
				x.by += v.Reviewer
			}
			requests = append(requests, x)
		}
		for _, c := range s.Calls {
			calls = append(calls, c.RequestID)
		}
		if got := fmt.Sprint(requests, calls); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}
