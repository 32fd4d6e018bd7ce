package auditor

import (
	"fmt"
	"testing"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// A verdict and what was found by it are of one commit.
func TestVerdictsGoWithFindings(t *testing.T) {
	var judged []correlate.Judgement
	want := 0
	for i := range 700 {
		j := correlate.Judgement{Verdict: &events.VerdictReached{RequestID: fmt.Sprint(i), Verdict: events.Missing}}
		for k := range i % 4 {
			j.Opened = append(j.Opened, events.FindingOpened{FindingID: fmt.Sprint(i, k)})
		}
		judged, want = append(judged, j), want+1+i%4
	}
	said := 0
	for some := range eventsOf(judged) {
		if _, ok := some[0].Data.(*events.VerdictReached); !ok || len(some) > sayAtOnce {
			t.Errorf("%d events at once, from a %T on", len(some), some[0].Data)
		}
		said += len(some)
	}
	if said != want {
		t.Errorf("%d events, want %d", said, want)
	}
}
