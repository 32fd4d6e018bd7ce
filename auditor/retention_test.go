package auditor_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/events"
)

// Rows that are gone on purpose raise no alarm and are counted; whoever takes away
// others, newer ones or of what never goes, is found out as before.
func TestExpired(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	lock := func(id string) {
		a.say("", "", &events.LockPlaced{LockID: id, Target: events.LockTarget{Kind: "user", Name: id}, By: "admin"})
	}
	publish(t, a.j, 50)
	lock("old")
	a.settle(events.Streams()...)
	last, err := a.j.Last(t.Context(), events.Audit)
	if err != nil {
		t.Fatal(err)
	}
	aged := time.Now().Add(1100 * time.Millisecond)
	a.until("a second has passed", func() bool { return time.Now().After(aged) })
	// What was older than a second may go, and from now on nothing any more.
	a.say("", "", &events.RetentionSet{Database: "another", Events: 1})
	if wrong := a.verify(time.Minute); len(wrong) > 0 {
		t.Fatalf("untouched: %v", wrong)
	}
	var name string
	if err := a.conn.QueryRow(t.Context(), `SELECT currentDatabase()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	a.say("", "", &events.RetentionSet{Database: name, Events: 1})
	a.say("", "", &events.RetentionSet{Database: name})
	publishFrom(t, a.j, 50, 60)
	lock("new")
	a.settle(events.Streams()...)
	verify := func() (faults []string, gone uint64) {
		t.Helper()
		r, err := a.client.Verify(t.Context(), client.VerifyInput{Key: a.key, Settle: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Faults() {
			faults = append(faults, f.String())
		}
		for _, s := range r.Streams {
			gone += s.Expired
		}
		if r.Horizons.Events.IsZero() || !r.Horizons.Requests.IsZero() {
			t.Errorf("horizons: %+v", r.Horizons)
		}
		return faults, gone
	}
	if faults, gone := verify(); len(faults) > 0 || gone != 0 {
		t.Fatalf("nothing is gone yet: %v, %d", faults, gone)
	}
	a.sql(`DELETE FROM events WHERE stream = 'AUDIT' AND seq BETWEEN 3 AND 42`)
	if faults, gone := verify(); len(faults) > 0 || gone != 40 {
		t.Errorf("expired rows: %v, %d", faults, gone)
	}
	_, show := a.client.Show(t.Context(), "NOBODY")
	_, why := a.client.Why(t.Context(), "NOBODY")
	for _, err := range []error{show, why} {
		if err == nil || !strings.Contains(err.Error(), "expired by retention: ") || !strings.Contains(err.Error(), "whole events from before ") {
			t.Errorf("what may have expired: %v", err)
		}
	}
	r, err := a.client.Rederived(t.Context(), "", 1, 0)
	if err != nil || len(r.Differences) > 0 || r.Rows["lock_rows"] != 2 {
		t.Errorf("tables: %+v, %v", r, err)
	}
	a.sql(`ALTER TABLE events UPDATE raw = replaceOne(raw, 'alice', 'mallory') WHERE stream = 'AUDIT' AND seq = 50`,
		`DELETE FROM events WHERE stream = 'ACCESS' AND thing = 'lock/old'`,
		`DELETE FROM events WHERE stream = 'AUDIT' AND seq = `+strconv.FormatUint(last+3, 10))
	faults, _ := verify()
	for _, want := range []string{"AUDIT 50: changed in the clickhouse", "ACCESS 1: missing in the clickhouse", "AUDIT " + strconv.FormatUint(last+3, 10) + ": missing in the clickhouse"} {
		if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, want) }) {
			t.Errorf("%s: not found in %v", want, faults)
		}
	}
}

// What is configured is on the stream, once for each change and before ClickHouse
// lets anything go; and records whose explanation may be gone are not judged.
func TestRetentionSaid(t *testing.T) {
	said := func(w *world) (out []store.Retention) {
		t.Helper()
		for e, err := range w.j.Replay(t.Context(), events.Findings, "findings.retention") {
			if err != nil {
				t.Fatal(err)
			}
			d := e.Data.(*events.RetentionSet)
			out = append(out, store.Retention{Events: time.Duration(d.Events) * time.Second, Requests: time.Duration(d.Requests) * time.Second, CloudTrail: time.Duration(d.CloudTrail) * time.Second})
		}
		return out
	}
	const day = 24 * time.Hour
	keeps := func(r store.Retention) func(*auditor.Config) { return func(c *auditor.Config) { c.Retention = r } }
	first, second := store.Retention{Requests: 400 * day}, store.Retention{Requests: 800 * day, CloudTrail: 30 * day}
	w := newWorld(t, nil)
	if got := said(w); len(got) != 0 {
		t.Errorf("without a word of retention: %v", got)
	}
	for _, r := range []store.Retention{first, first, second} {
		w.stop()
		w.start(keeps(r))
		<-w.a.Ready()
	}
	if got, want := said(w), []store.Retention{first, first.Shorter(second), second}; !slices.Equal(got, want) {
		t.Errorf("said %v, want %v", got, want)
	}
	w.tell(time.Now().UTC())
	w.say("", "", trail("ANCIENT", "X1", "alice", "ASIAOURS", "ListObjects", time.Now().Add(-900*day)))
	w.say("", "", trail("RECENT", "X2", "alice", "ASIAOURS", "ListObjects", time.Now()))
	w.until("the recent one is judged", func() bool {
		return w.count(`SELECT count() FROM cloudtrail WHERE event_id = 'RECENT' AND verdict = 'bypass'`) == 1
	})
	if n := w.count(`SELECT count() FROM events WHERE stream = 'FINDINGS' AND position(raw, 'ANCIENT') > 0`); n != 0 {
		t.Errorf("%d verdicts on a record whose request may be gone", n)
	}
}
