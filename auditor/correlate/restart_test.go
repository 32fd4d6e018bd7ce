package correlate_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/correlate"
)

// After a restart the requests of before are in the store alone. A call of just then whose
// outcome was lost does not take the record that has the id of one of them: that one would be
// missing, and the call's own record a bypass.
func TestRecordOfARequestInTheStore(t *testing.T) {
	s := correlate.New(correlate.Config{})
	s.AddCredential(ourKey)
	stored, lost := ours("STORED", "A"), ours("LOST", "")
	lost.ReceivedAt = start.Add(30 * time.Second)
	its := theirs("OF-LOST", "B")
	its.EventTime = lost.ReceivedAt
	s.AddRequest(lost, start)
	s.AddRecord(theirs("OF-STORED", "A"), start)
	said := map[string]string{}
	for _, now := range []time.Time{start.Add(time.Minute), start.Add(20 * time.Minute), start.Add(time.Hour)} {
		if now.Sub(start) == time.Hour {
			s.AddRecord(its, now)
		}
		for again := true; again; again = s.Behind() {
			js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, func(d correlate.Doubt) (f correlate.Found, err error) {
				for _, r := range d.Records {
					if r.RequestID == "A" {
						f.Requests = append(f.Requests, stored)
					}
				}
				return f, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range js {
				if j.Verdict != nil {
					said[j.Verdict.RequestID+"/"+j.Verdict.EventID] = j.Verdict.Verdict
				}
			}
		}
	}
	if diff := cmp.Diff(map[string]string{"STORED/OF-STORED": "matched", "LOST/OF-LOST": "matched"}, said); diff != "" {
		t.Error(diff)
	}
}
