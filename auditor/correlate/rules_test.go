package correlate_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

var (
	ourRole = "arn:aws:iam::111111111111:role/team/Ops"
	ourKey  = correlate.Credential{AccessKeyID: "ASIA1", User: "alice", Account: "111111111111", RoleARN: ourRole, SessionName: "alice", IssuedAt: start, ExpiresAt: start.Add(time.Hour)}
)

func ours(id, awsID string) correlate.Request {
	r := correlate.Request{ID: id, ReceivedAt: start, User: "alice", Account: "111111111111", RoleARN: ourRole, SessionName: "alice", AccessKeyID: "ASIA1",
		Service: "ec2", SigningName: "ec2", Operation: "DescribeInstances", AWSRequestID: awsID}
	if awsID != "" {
		r.Outcome = correlate.Completed
	}
	return r
}

func theirs(id, awsID string) correlate.Record {
	return correlate.Record{Account: "111111111111", EventID: id, RequestID: awsID, EventTime: start, EventSource: "ec2.amazonaws.com", EventName: "DescribeInstances",
		IdentityAccount: "111111111111", RoleARN: ourRole, RoleName: "Ops", SessionName: "alice", AccessKeyID: "ASIA1", User: "alice"}
}

// Single cases: what is told, and what is said by the end of ten minutes.
func TestRules(t *testing.T) {
	type given struct {
		requests []correlate.Request
		records  []correlate.Record
		console  bool
	}
	with := func(r correlate.Record, edit func(*correlate.Record)) correlate.Record { edit(&r); return r }
	for name, x := range map[string]struct {
		given given
		want  map[string]string // request/record -> verdict
	}{
		"matched": {given{requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{theirs("E", "A")}}, map[string]string{"R/E": "matched"}},
		"another key with our request id is no pair": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.AccessKeyID = "ASIA2" })}}, map[string]string{"/E": "bypass"}},
		"another account with our request id is no pair": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.IdentityAccount = "222222222222" })}}, map[string]string{"/E": "bypass"}},
		"another operation": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.EventName = "TerminateInstances" })}}, map[string]string{"R/E": "mismatched"}},
		"another path of the role": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.RoleARN = "arn:aws:iam::111111111111:role/other/Ops" })}}, map[string]string{"R/E": "mismatched"}},
		"two request ids are two calls":      {given{requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{theirs("E", "B")}}, map[string]string{"/E": "bypass"}},
		"in flight, so it may be its record": {given{requests: []correlate.Request{ours("R", "")}, records: []correlate.Record{theirs("E", "A")}}, map[string]string{}},
		"console, of a session of ours": {given{console: true, records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.AccessKeyID, r.FromConsole = "ASIA9", true })}},
			map[string]string{"/E": "console"}},
		"console, of no session of ours": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.AccessKeyID, r.FromConsole = "ASIA9", true })}},
			map[string]string{"/E": "bypass"}},
		"console, after its session": {given{console: true, records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) {
			r.AccessKeyID, r.FromConsole, r.EventTime = "ASIA9", true, start.Add(2*time.Hour)
		})}}, map[string]string{"/E": "bypass"}},
		"an AWS service for us": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.InvokedBy = "athena.amazonaws.com" })}}, map[string]string{"/E": "forwarded"}},
		"postern's own AssumeRole": {given{records: []correlate.Record{{Account: "111111111111", EventID: "E", EventSource: "sts.amazonaws.com", EventName: "AssumeRole", AccessKeyID: "AKIABASE", IssuedAccessKeyID: "ASIA1"}}},
			map[string]string{"/E": "credentials"}},
		"somebody's AssumeRole": {given{records: []correlate.Record{{Account: "111111111111", EventID: "E", EventSource: "sts.amazonaws.com", EventName: "AssumeRole", AccessKeyID: "AKIABASE", IssuedAccessKeyID: "ASIA2"}}},
			map[string]string{}},
		"a name that only begins like ours": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.SessionName, r.AccessKeyID = "alice2", "ASIA2" })}}, map[string]string{}},
		"our name under another role":       {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.RoleName, r.AccessKeyID = "Ops2", "ASIA2" })}}, map[string]string{}},
		"our source identity in a chained role": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) {
			r.RoleName, r.SessionName, r.AccessKeyID, r.SourceIdentity = "Chained", "x", "ASIA2", "alice-source"
		})}}, map[string]string{"/E": "bypass"}},
		"our key under a name we don't know": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.RoleName, r.SessionName = "X", "y" })}}, map[string]string{"/E": "bypass"}},
	} {
		s := correlate.New(correlate.Config{})
		c := ourKey
		c.SourceIdentity = "alice-source"
		s.AddCredential(c)
		if x.given.console {
			c.Console = true
			c.AccessKeyID = "ASIACONSOLE"
			s.AddCredential(c)
		}
		var js []correlate.Judgement
		for _, r := range x.given.requests {
			js = append(js, s.AddRequest(r, start)...)
		}
		for _, r := range x.given.records {
			js = append(js, s.AddRecord(r, start.Add(time.Second))...)
		}
		now := start.Add(10 * time.Minute)
		more, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, j := range append(js, more...) {
			got[j.Verdict.RequestID+"/"+j.Verdict.EventID] = j.Verdict.Verdict
		}
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

// Nothing is called a bypass before the requests of its time are known, nor
// missing before the records are.
func TestWatermarks(t *testing.T) {
	s := correlate.New(correlate.Config{})
	s.AddCredential(ourKey)
	s.AddRequest(ours("R", "A"), start)
	s.AddRecord(theirs("E", "B"), start.Add(time.Minute))
	late := start.Add(time.Hour)
	advance := func(c correlate.Clock) (verdicts []string) {
		js, err := s.Advance(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range js {
			verdicts = append(verdicts, j.Verdict.Verdict)
		}
		return verdicts
	}
	if got := advance(correlate.Clock{Now: late, Requests: start.Add(59 * time.Second), Records: start.Add(20 * time.Minute)}); got != nil {
		t.Errorf("judged too early: %v", got)
	}
	if got := advance(correlate.Clock{Now: late, Requests: start.Add(time.Minute), Records: start.Add(20 * time.Minute)}); cmp.Diff(got, []string{events.Bypass}) != "" {
		t.Errorf("with the requests known: %v", got)
	}
	if got := advance(correlate.Clock{Now: late, Requests: late, Records: start.Add(21 * time.Minute)}); cmp.Diff(got, []string{events.Missing}) != "" {
		t.Errorf("with the records known: %v", got)
	}
}

// A store that can't be asked leaves everything as it was.
func TestRecallFails(t *testing.T) {
	s := correlate.New(correlate.Config{})
	s.AddCredential(ourKey)
	s.AddRequest(ours("R", "A"), start)
	s.AddRecord(theirs("E", "B"), start)
	late := start.Add(time.Hour)
	c := correlate.Clock{Now: late, Requests: late, Records: late}
	down := errors.New("down")
	js, err := s.Advance(c, func(correlate.Doubt) (correlate.Found, error) { return correlate.Found{}, down })
	if !errors.Is(err, down) || len(js) != 0 {
		t.Fatalf("%v, %v", js, err)
	}
	js, err = s.Advance(c, nil)
	if err != nil || len(js) != 2 {
		t.Errorf("afterwards: %v, %v", js, err)
	}
}

// A million of each, to see that the cost follows what is new.
func BenchmarkReconcile(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		s := correlate.New(correlate.Config{})
		s.AddCredential(ourKey)
		pairs := 0
		for i := range n {
			id := string(rune('a'+i%26)) + time.Duration(i).String()
			r := ours("R"+id, "A"+id)
			s.AddRequest(r, start)
			pairs += len(s.AddRecord(theirs("E"+id, "A"+id), start))
			if i%1000 == 0 {
				if _, err := s.Advance(correlate.Clock{Now: start, Requests: start, Records: start}, nil); err != nil {
					b.Fatal(err)
				}
			}
		}
		if pairs != n {
			b.Fatalf("%d pairs", pairs)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
}
