package correlate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// outcome is what a state said of some requests and records in all, as a store holds it.
type outcome struct {
	requests, records map[string]string // by id -> verdict and rule
	findings          map[string]string // by id -> open or resolved
}

// told gives a state requests at the start, records a second after one another, late
// requests half an hour later, and two hours of time.
func told(t *testing.T, s *correlate.State, requests []correlate.Request, records []correlate.Record, late ...correlate.Request) outcome {
	t.Helper()
	out := outcome{map[string]string{}, map[string]string{}, map[string]string{}}
	take := func(js []correlate.Judgement) {
		for _, j := range js {
			if v := j.Verdict; v != nil {
				if v.RequestID != "" && v.Verdict != events.Proxied {
					out.requests[v.RequestID] = v.Verdict + " " + v.EventID
				}
				if v.EventID != "" {
					out.records[v.EventID] = v.Verdict + " " + v.Rule
				}
			}
			takeFindings(t, out.findings, j)
		}
	}
	now := start
	advance := func() {
		for again := true; again; again = s.Behind() {
			js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
			if err != nil {
				t.Fatal(err)
			}
			take(js)
		}
	}
	for _, r := range requests {
		take(s.AddRequest(r, now))
	}
	for _, r := range records {
		now = now.Add(time.Second)
		take(s.AddRecord(r, now))
		advance()
	}
	for i := range 120 {
		for _, r := range late {
			if i == 30 {
				take(s.AddRequest(r, now))
			}
		}
		now = now.Add(time.Minute)
		advance()
	}
	return out
}

// AWS's own calls for a request, and its parts, have its id too: they never take the
// place of its record, whichever comes first.
func TestSecondRecords(t *testing.T) {
	byEC2 := correlate.Record{Account: "111111111111", EventID: "SECOND", RequestID: "A", SharedEventID: "s", EventTime: start, EventSource: "sts.amazonaws.com",
		EventName: "AssumeRole", User: "ec2.amazonaws.com", InvokedBy: "ec2.amazonaws.com", IssuedAccessKeyID: "ASIAEC2"}
	decrypt := theirs("SECOND", "A")
	decrypt.EventSource, decrypt.EventName, decrypt.InvokedBy = "kms.amazonaws.com", "Decrypt", "AWS Internal"
	part := theirs("SECOND", "A")
	part.EventName = "DescribeInstance"
	sameCall := theirs("SECOND", "A")
	sameCall.InvokedBy = "health.amazonaws.com"
	own := theirs("OWN", "A")
	for name, x := range map[string]struct {
		second correlate.Record
		alone  string // the request's verdict if nothing else comes
		then   string // the second's verdict then
	}{
		"a service's AssumeRole":      {byEC2, "missing ", "proxied same_request"},
		"a service's Decrypt":         {decrypt, "missing ", "proxied same_request"},
		"a part":                      {part, "mismatched SECOND", "mismatched request_id"},
		"the same call, by a service": {sameCall, "matched SECOND", "matched request_id"},
	} {
		for order, records := range map[string][]correlate.Record{"first": {x.second, own}, "last": {own, x.second}} {
			s := correlate.New(correlate.Config{})
			s.AddCredential(ourKey)
			got := told(t, s, []correlate.Request{ours("R", "A")}, records)
			if got.requests["R"] != "matched OWN" || got.records["SECOND"] != "proxied same_request" || len(got.findings) > 0 {
				t.Errorf("%s, %s: %v", name, order, got)
			}
		}
		s := correlate.New(correlate.Config{})
		s.AddCredential(ourKey)
		got := told(t, s, []correlate.Request{ours("R", "A")}, []correlate.Record{x.second})
		if got.requests["R"] != x.alone || got.records["SECOND"] != x.then {
			t.Errorf("%s, alone: %v", name, got)
		}
	}
}

// A request that was paired with a record of another call is paired once more when its own
// comes, whether the state remembers or the store. That AWS saw somebody else stays.
func TestPairedAgain(t *testing.T) {
	part, other := theirs("PART", "A"), theirs("OTHER", "A")
	part.EventName, other.SessionName = "TerminateInstances", "mallory"
	for name, x := range map[string]struct {
		first correlate.Record
		again bool
	}{"another call": {part, true}, "somebody else": {other, false}} {
		for _, remembered := range []bool{true, false} {
			s := correlate.New(correlate.Config{})
			s.AddCredential(ourKey)
			known := ours("R", "A")
			recall := func(d correlate.Doubt) (correlate.Found, error) {
				if remembered || len(d.Records) == 0 || known.Verdict == "" {
					return correlate.Found{}, nil
				}
				return correlate.Found{Requests: []correlate.Request{known}}, nil
			}
			verdicts, findings := map[string]string{}, map[string]int{}
			var said []*events.VerdictReached
			take := func(js []correlate.Judgement) {
				for _, j := range js {
					said = append(said, j.Verdict)
					verdicts[j.Verdict.EventID] = j.Verdict.Verdict
					for _, f := range j.Opened {
						findings["opened "+f.FindingID]++
					}
					for _, f := range j.Resolved {
						findings["resolved "+f.FindingID]++
					}
				}
			}
			now := start
			advance := func() {
				now = now.Add(30 * time.Minute)
				js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, recall)
				if err != nil {
					t.Fatal(err)
				}
				take(js)
			}
			take(s.AddRequest(known, now))
			take(s.AddRecord(x.first, now))
			advance()
			if verdicts[x.first.EventID] != events.Mismatched || findings["opened mismatch:R"] != 1 {
				t.Fatalf("%s: at first %v, %v", name, verdicts, findings)
			}
			if !remembered {
				v := said[len(said)-1]
				known.Verdict, known.Detail, known.PairAccount, known.PairEvent, known.PairTime = v.Verdict, v.Detail, v.RecipientAccountID, v.EventID, v.EventTime
				s = correlate.New(correlate.Config{})
				s.AddCredential(ourKey)
			}
			for range 2 { // the second time is no news
				take(s.AddRecord(theirs("OWN", "A"), now))
				advance()
			}
			order := ""
			for _, v := range said {
				order += v.EventID + " " + v.Verdict + ", "
			}
			if x.again && !strings.HasSuffix(order, "PART proxied, OWN matched, ") { // or a kill leaves one out for ever
				t.Errorf("remembered %v: said %s", remembered, order)
			}
			want, resolved := map[string]string{"OWN": events.Matched, x.first.EventID: events.Proxied}, 1
			if !x.again {
				want, resolved = map[string]string{"OWN": events.Proxied, x.first.EventID: events.Mismatched}, 0
			}
			if d := cmp.Diff(want, verdicts); d != "" || findings["resolved mismatch:R"] != resolved || findings["opened mismatch:R"] != 1 {
				t.Errorf("%s, remembered %v: %v\n%s", name, remembered, findings, d)
			}
			for _, v := range said {
				if !v.EventTime.Equal(start) || v.RequestID != "R" {
					t.Errorf("%s: said of record %s at %v, request %s", name, v.EventID, v.EventTime, v.RequestID)
				}
			}
		}
	}
}
