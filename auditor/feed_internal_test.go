package auditor

import (
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// TestTogether: AUDIT waits for CLOUDTRAIL while requests wait for records that are to
// come, never for long, and not at all where somebody may wait for it.
func TestTogether(t *testing.T) {
	const old, fresh = 2 * farBehind, farBehind / 2
	for _, c := range []struct {
		name    string
		age     time.Duration // of what was stored
		clears  time.Duration // when the crowd is gone; 0: there is none, less: it stays
		waiting time.Duration // at least, and 20 ms more at most
	}{
		{"no crowd", old, 0, 0},
		{"a crowd", old, 300 * time.Millisecond, 300 * time.Millisecond},
		{"a crowd that stays", old, -1, waitAtMost},
		{"a crowd, and people wait", fresh, -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &judge{}
				j.crowded.Store(c.clears != 0)
				if c.clears > 0 {
					time.AfterFunc(c.clears, func() { j.crowded.Store(false) })
				}
				begun := time.Now()
				j.together(t.Context(), []journal.Entry{{StoredAt: begun.Add(-c.age)}})
				if waited := time.Since(begun); waited < c.waiting || waited > c.waiting+20*time.Millisecond {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}

// TestCrowd: AUDIT doesn't wait for records that wait for it.
func TestCrowd(t *testing.T) {
	now := time.Now()
	record := correlate.Record{EventTime: now}
	for name, c := range map[string]struct {
		requests, records uint64 // to come
		open              int
		next              *portion
		want              bool
	}{
		"few requests wait":               {records: 10 * batchRecords, open: openAtMost},
		"few records are to come":         {records: batchRecords, open: openAtMost + 1},
		"many and many":                   {records: 10 * batchRecords, open: openAtMost + 1, want: true},
		"records of requests that came":   {requests: 2 * muchToCome, records: 10 * batchRecords, open: openAtMost + 1, next: &portion{records: []correlate.Record{{EventTime: now.Add(-time.Hour)}}}, want: true},
		"records of requests to come":     {requests: 2 * muchToCome, records: 10 * batchRecords, open: openAtMost + 1, next: &portion{records: []correlate.Record{record}}},
		"records of the last few to come": {requests: muchToCome, records: 10 * batchRecords, open: openAtMost + 1, next: &portion{records: []correlate.Record{record}}, want: true},
	} {
		j := newJudge(&Auditor{floors: map[string]*atomic.Uint64{events.Findings: {}}}, nil)
		for i := range c.open {
			j.state.AddRequest(correlate.Request{ID: strconv.Itoa(i), ReceivedAt: now, AWSRequestID: strconv.Itoa(i), Outcome: correlate.Completed}, now)
		}
		j.ends = map[string]uint64{events.Audit: c.requests, events.CloudTrail: c.records}
		j.newest, j.next = now, c.next
		if j.crowd(); j.crowded.Load() != c.want {
			t.Errorf("%s: %d open; AUDIT waits: %t", name, j.state.Open(), !c.want)
		}
	}
}

// Verdicts wait for others only while the judge catches up, and where they are few.
func TestUnhurried(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		since        time.Duration // what was far behind was handed over
		entries      int
		waits        bool
	}{
		{"few verdicts while it catches up", events.Findings, waitAtMost, 100, true},
		{"many", events.Findings, waitAtMost, batchEntries, false},
		{"when it has caught up", events.Findings, time.Minute, 100, false},
		{"of another stream", events.Access, waitAtMost, 100, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &judge{}
				j.farBehind.Store(time.Now().Add(-c.since).UnixNano())
				begun := time.Now()
				j.unhurried(t.Context(), c.stream, make([]journal.Entry, c.entries))
				if waited := time.Since(begun); waited > 0 != c.waits {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}

// Of a request that ended in the same portion the end alone is told.
func TestPortion(t *testing.T) {
	call := func(id string) events.AWSRequest { return events.AWSRequest{RequestID: id} }
	var entries []journal.Entry
	for i, d := range []events.Payload{
		&events.AWSRequestAdmitted{AWSRequest: call("ends")}, &events.AWSRequestAdmitted{AWSRequest: call("goes on")},
		&events.AWSRequestAdmitted{AWSRequest: call("fails")}, &events.AWSRequestAdmitted{AWSRequest: call("never left")},
		&events.AWSRequestCompleted{AWSRequest: call("ends"), AWSRequestID: "AWS1"}, &events.AWSRequestFailed{AWSRequest: call("fails"), Stage: "forward"},
		&events.AWSRequestFailed{AWSRequest: call("never left"), Stage: "sign"},
	} {
		entries = append(entries, journal.Entry{Seq: uint64(i + 1), Event: events.Event{Data: d}})
	}
	p := (&judge{}).portion(events.Audit, entries, 7)
	var told []string
	for _, x := range p.told {
		switch x := x.(type) {
		case correlate.Request:
			told = append(told, fmt.Sprint(x.ID, " ", x.Outcome, " ", x.AWSRequestID, " ", x.Seq))
		case withdrawn:
			told = append(told, "withdrawn "+string(x))
		}
	}
	if want := []string{"goes on 0  2", "ends 1 AWS1 5", "fails 2  6", "withdrawn never left"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
