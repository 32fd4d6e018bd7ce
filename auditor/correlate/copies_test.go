package correlate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// Copies of events that other accounts got wait in the store when they are many, and
// their requests with them; every second one's own record comes in the end.
func TestCopiesAreSpilled(t *testing.T) {
	const n, open = 1000, 10
	st := correlate.New(correlate.Config{Open: open, Remember: 5, Short: -1})
	b := newStore(&truth{})
	now := start.Add(time.Second)
	advance := func() {
		for again := true; again; again = st.Behind() {
			js, err := st.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, b.recall)
			if err != nil {
				t.Fatal(err)
			}
			b.take(t, js)
		}
	}
	bring := func(r correlate.Record) {
		r.Seq = uint64(len(b.placed) + 1)
		b.placed[r.Seq], b.arrived[r.RequestID] = r, append(b.arrived[r.RequestID], r)
		b.take(t, st.AddRecord(r, now))
	}
	st.AddCredential(ourKey)
	awsID := func(i int) string { return fmt.Sprint("A", i) }
	for i := range n {
		r := ours(fmt.Sprint("R", i), awsID(i))
		r.Seq = uint64(i + 1)
		b.knows(r)
		b.take(t, st.AddRequest(r, now))
		rec := theirs(fmt.Sprint("COPY", i), awsID(i))
		rec.Account, rec.SharedEventID = "222222222222", fmt.Sprint("shared", i)
		bring(rec)
	}
	now = now.Add(time.Second)
	advance()
	if requests, records := st.Sizes(); requests > 2*open || records > open {
		t.Errorf("%d requests and %d records wait in memory", requests, records)
	}
	if at := st.OldestPending(); at != 1 {
		t.Errorf("the first record that is not judged is at %d", at)
	}
	now = now.Add(5 * time.Minute)
	for i := 0; i < n; i += 2 {
		rec := theirs(fmt.Sprint("OWN", i), awsID(i))
		rec.SharedEventID = fmt.Sprint("shared", i)
		bring(rec)
	}
	for range 60 {
		now = now.Add(time.Minute)
		advance()
	}
	for i := range n {
		id, paired := fmt.Sprint("R", i), correlate.RecordID{Account: "222222222222", EventID: fmt.Sprint("COPY", i)}
		if i%2 == 0 {
			if v := b.record[paired]; v != events.Proxied {
				t.Fatalf("the copy of %s is %q", id, v)
			}
			paired = correlate.RecordID{Account: "111111111111", EventID: fmt.Sprint("OWN", i)}
		}
		if b.verdicts[id] != events.Matched || b.pair[id] != paired {
			t.Fatalf("%s is %q with %v, want a match with %v", id, b.verdicts[id], b.pair[id], paired)
		}
	}
	if len(b.findings) > 0 {
		t.Errorf("findings: %v", b.findings)
	}
	for id, times := range b.ids {
		if times > 1 {
			t.Errorf("%s was said %d times", id, times)
		}
	}
	if at := st.OldestPending(); at != 0 {
		t.Errorf("a record at %d is not judged", at)
	}
}
