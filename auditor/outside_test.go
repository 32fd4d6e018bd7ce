package auditor_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/events"
)

// garbled ends the names of files that something follows.
const garbled = "-garbled.json.gz"

// write makes files of records, of as many kinds as there are.
func (o *outside) write(t testing.TB, dir string, round int) {
	recs := o.files[round]
	o.r.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
	for i := 0; len(recs) > 0 || i == 0; i++ {
		n := min(len(recs), 1+o.r.IntN(400))
		var plain bytes.Buffer
		e := json.NewEncoder(&plain)
		e.SetEscapeHTML(o.r.IntN(2) == 0)
		kind := o.r.IntN(6)
		switch kind {
		case 0:
			e.SetIndent("", "  ")
		case 1:
			plain.WriteString("\xef\xbb\xbf")
		}
		name := fmt.Sprintf("%03d-%03d.json", round, i)
		if kind == 2 {
			name = fmt.Sprintf("%03d-%03d.ndjson", round, i)
			for _, r := range recs[:n] {
				if err := e.Encode(r); err != nil {
					t.Fatal(err)
				}
			}
		} else if err := e.Encode(map[string]any{"Records": recs[:n], "Another": []int{1}}); err != nil {
			t.Fatal(err)
		}
		b := plain.Bytes()
		if o.r.IntN(2) == 0 {
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			if _, err := w.Write(b); err != nil || w.Close() != nil {
				t.Fatal(err)
			}
			b, name = z.Bytes(), name+".gz"
			if kind == 3 { // what follows is no gzip data: what stands before is read
				b, name = append(b, "garbage"...), strings.TrimSuffix(name, ".json.gz")+garbled
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		o.wrote[name] = n
		recs = recs[n:]
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d-empty.json", round)), []byte(`{"Records":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tell says all of it, in its order.
func (o *outside) tell(t testing.TB, w *world, between func(round int)) {
	say := func(ps []events.Payload) {
		for _, p := range ps {
			e := events.Event{Data: p}
			if _, ok := p.(*events.LockPlaced); ok {
				e.Time = o.at.Add(-time.Minute)
			}
			if _, err := w.j.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	say(o.first)
	for round := range o.rounds {
		say(o.rounds[round])
		dir := t.TempDir()
		o.write(t, dir, round)
		if err := ingester(w).Path(t.Context(), dir, func(r cloudtrail.Result) {
			name := filepath.Base(r.File)
			if r.Records != o.wrote[name] || (r.Rejected != "") != strings.HasSuffix(name, garbled) {
				t.Errorf("%s: %d records of %d, %s", name, r.Records, o.wrote[name], r.Rejected)
			}
		}); err != nil {
			t.Fatal(err)
		}
		say(o.ends[round])
		if between != nil {
			between(round)
		}
	}
}

// differences compares what the tables and FINDINGS say with what is true.
func (o *outside) differences(t testing.TB, w *world) (out []string) {
	differ := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	read := func(q string, each func(id, v string)) {
		rows, err := w.conn.Query(t.Context(), q)
		if err != nil { // no table yet
			differ("%s: %v", q, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var id, v string
			if err := rows.Scan(&id, &v); err != nil {
				t.Fatal(err)
			}
			each(id, v)
		}
		if err := rows.Err(); err != nil {
			differ("%s: %v", q, err)
		}
	}
	have := map[string]string{}
	take := func(id, v string) {
		if _, twice := have[id]; twice {
			differ("%s is there twice", id)
		}
		have[id] = v
	}
	read(`SELECT concat('request ', request_id), if(verdict = 'awaiting', '', verdict) FROM requests`, take)
	read(`SELECT concat('record ', recipient_account_id, '/', event_id), verdict FROM cloudtrail`, take)
	compare := func(id, is string) {
		said, there := have[id]
		if !there || said != is && !(is == either && (said == events.Proxied || said == events.Matched)) {
			differ("%s is %q, was judged %q (there: %t)", id, is, said, there)
		}
		delete(have, id)
	}
	for id, is := range o.requests {
		compare("request "+id, is)
	}
	for id, is := range o.records {
		compare("record "+id, is)
	}
	for id := range have {
		differ("%s is made up", id)
	}
	open := map[string]bool{}
	read(`SELECT finding_id, state FROM findings WHERE state = 'open'`, func(id, _ string) { open[id] = true })
	for id := range o.findings {
		if !open[id] {
			differ("%s is no open finding", id)
		}
	}
	for id := range open {
		if !o.findings[id] {
			differ("finding %s is open for nothing", id)
		}
	}
	read(`SELECT event_id, toString(count()) FROM events WHERE stream = 'FINDINGS' GROUP BY event_id HAVING count() > 1`, func(id, n string) { differ("%s was said %s times", id, n) })
	return out
}

// holds waits until all that is true is said, and nothing else is.
func (o *outside) holds(t testing.TB, w *world) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	wrong := o.differences(t, w)
	for ; len(wrong) > 0 && time.Now().Before(deadline); wrong = o.differences(t, w) {
		<-time.After(200 * time.Millisecond)
	}
	counts := map[string]int{}
	for _, v := range o.requests {
		counts["request "+v]++
	}
	for _, v := range o.records {
		counts["record "+v]++
	}
	t.Logf("%v, %d findings, %d files", counts, len(o.findings), len(o.wrote))
	for i, x := range wrong {
		if i == 30 {
			t.Errorf("and %d more", len(wrong)-i)
			break
		}
		t.Error(x)
	}
	for _, s := range []string{events.Access, events.Audit, events.CloudTrail, events.Findings} {
		w.exact(s)
	}
}

// outsideDelay is auditor.trail_delay. Where it takes longer than that to say all of it, some
// requests are missing for a while.
const outsideDelay = 15 * time.Second

// Another world than that of correlate's tests, by the doors that AWS and the proxy use.
func TestOutsideTruth(t *testing.T) {
	w := newWorld(t, func(c *auditor.Config) { c.TrailDelay, c.Skew = outsideDelay, 5*time.Second })
	o := newOutside(t, 1, time.Now().UTC(), 4, 400)
	o.tell(t, w, nil)
	o.holds(t, w)
}

// So it is if the auditor is killed again and again meanwhile.
func TestOutsideTruthKilled(t *testing.T) {
	w := newApart(t)
	w.env = append(w.env, "POSTERN_TEST_TRAIL_DELAY="+outsideDelay.String())
	o := newOutside(t, 2, time.Now().UTC(), 4, 300)
	child := w.run()
	o.tell(t, w.world, func(round int) {
		at, err := w.j.Last(t.Context(), events.CloudTrail)
		if err != nil {
			t.Fatal(err)
		}
		if round%3 == 0 { // else as far as it is
			w.until("records are stored", func() bool { return w.stored(events.CloudTrail) >= at })
		}
		_ = child.Process.Kill()
		_ = child.Wait()
		child = w.run()
	})
	for range 4 { // and while verdicts are said
		at, err := w.j.Last(t.Context(), events.Findings)
		if err != nil {
			t.Fatal(err)
		}
		if len(o.differences(t, w.world)) == 0 {
			break
		}
		w.until("more is said", func() bool {
			now, err := w.j.Last(t.Context(), events.Findings)
			return err == nil && now > at || len(o.differences(t, w.world)) == 0
		})
		_ = child.Process.Kill()
		_ = child.Wait()
		child = w.run()
	}
	o.holds(t, w.world)
}
