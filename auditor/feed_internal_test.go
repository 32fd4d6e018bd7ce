package auditor

import (
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
