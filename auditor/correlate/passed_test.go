package correlate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// Keys that a call around postern was given are followed, and those that were got with
// them, in whatever order the records come.
func TestPassedOn(t *testing.T) {
	call := func(id, key string, after time.Duration, edit func(*correlate.Record)) correlate.Record {
		r := theirs(id, "AWS"+id)
		r.AccessKeyID, r.EventTime = key, start.Add(after)
		if key != "ASIA1" { // got from another role, under any name
			r.RoleARN, r.RoleName, r.SessionName, r.User = "arn:aws:iam::111111111111:role/Admin", "Admin", "any", "any"
		}
		if edit != nil {
			edit(&r)
		}
		return r
	}
	given := func(key string) func(*correlate.Record) {
		return func(r *correlate.Record) {
			r.EventSource, r.EventName, r.IssuedAccessKeyID = "sts.amazonaws.com", "AssumeRole", key
		}
	}
	records := []correlate.Record{
		call("ASSUME", "ASIA1", 0, given("ASIA2")),
		call("AGAIN", "ASIA2", time.Minute, given("ASIA3")),
		call("USE2", "ASIA2", 2*time.Minute, nil),
		call("USE3", "ASIA3", 3*time.Minute, nil),
		call("SOURCE", "ASIA3", 4*time.Minute, func(r *correlate.Record) { r.SourceIdentity = "alice-source" }),
		call("OTHER", "ASIA4", 3*time.Minute, nil),
		call("OTHERS", "ASIA4", 3*time.Minute, given("ASIA5")),
	}
	for _, handedOut := range []bool{false, true} {
		want := map[string]string{}
		for _, r := range records[:5] {
			want[r.EventID] = map[bool]string{false: "bypass alice", true: "exported alice"}[handedOut]
		}
		for _, order := range []string{"as made", "last first", "all apart", "last first, all apart", "restarted"} {
			list := slices.Clone(records)
			if strings.HasPrefix(order, "last first") {
				slices.Reverse(list)
			}
			var stored []correlate.Record
			got, open := map[string]string{}, map[string]string{}
			take := func(js []correlate.Judgement) {
				for _, j := range js {
					if v := j.Verdict; v != nil {
						got[v.EventID] = v.Verdict + " " + v.User
						for i := range stored {
							if stored[i].EventID == v.EventID {
								stored[i].Verdict, stored[i].Rule, stored[i].User = v.Verdict, v.Rule, v.User
							}
						}
					}
					for _, f := range j.Opened {
						open[f.FindingID] = f.User
					}
					for _, f := range j.Resolved {
						delete(open, f.FindingID)
					}
				}
			}
			recall := func(d correlate.Doubt) (f correlate.Found, err error) {
				for _, c := range d.PassedOn {
					for _, r := range stored {
						if r.AccessKeyID == c.AccessKeyID && (r.Verdict == "" || r.Verdict == events.Bypass && c.HandedOut) {
							f.PassedOn = append(f.PassedOn, r)
						}
					}
				}
				return f, nil
			}
			c := ourKey
			c.SessionID, c.SourceIdentity, c.HandedOut = "S", "alice-source", handedOut
			fresh := func() *correlate.State {
				s := correlate.New(correlate.Config{})
				s.AddCredential(c)
				s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alice", PlacedAt: start.Add(150 * time.Second)})
				return s
			}
			s, now := fresh(), start.Add(10*time.Minute)
			advance := func() {
				for range 8 {
					now = now.Add(time.Second)
					js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, recall)
					if err != nil {
						t.Fatal(err)
					}
					take(js)
				}
			}
			for _, r := range list {
				stored = append(stored, r)
				take(s.AddRecord(r, now))
				if strings.HasSuffix(order, "apart") || order == "restarted" {
					advance()
				}
				if order == "restarted" {
					s = fresh()
					for _, r := range stored {
						s.AddPassedOn(r, now)
					}
				}
			}
			advance()
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("handed out %v, %s: (-want +got)\n%s", handedOut, order, d)
			}
			wantOpen := map[string]string{"after_lock:111111111111/USE3": "alice", "after_lock:111111111111/SOURCE": "alice"}
			if !handedOut {
				for _, r := range records[:5] {
					wantOpen["bypass:111111111111/"+r.EventID] = "alice"
				}
			}
			if d := cmp.Diff(wantOpen, open); d != "" {
				t.Errorf("handed out %v, %s: findings (-want +got)\n%s", handedOut, order, d)
			}
		}
	}
}

// What turns out to be postern's own, or through it, passes nothing on.
func TestPassedOnIsTakenBack(t *testing.T) {
	assume := theirs("E", "A")
	assume.EventSource, assume.EventName, assume.IssuedAccessKeyID = "sts.amazonaws.com", "AssumeRole", "ASIA2"
	use := theirs("USE", "B")
	use.AccessKeyID, use.RoleARN, use.RoleName, use.SessionName, use.User = "ASIA2", "arn:aws:iam::111111111111:role/Admin", "Admin", "any", "any"
	made := ours("R", "A")
	made.Service, made.SigningName, made.Operation = "sts", "sts", "AssumeRole"
	for name, x := range map[string]struct {
		news func(*correlate.State)
		want string
	}{
		"nothing":       {func(*correlate.State) {}, "bypass"},
		"the request":   {func(s *correlate.State) { s.AddRequest(made, start) }, ""},
		"a key of ours": {func(s *correlate.State) { k := ourKey; k.AccessKeyID, k.HandedOut = "ASIA2", true; s.AddCredential(k) }, "exported"},
	} {
		s := correlate.New(correlate.Config{})
		s.AddCredential(ourKey)
		s.AddRecord(assume, start)
		now := start.Add(10 * time.Minute)
		advance := func() (verdict string) {
			for range 3 {
				now = now.Add(time.Second)
				js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, j := range js {
					verdict = j.Verdict.Verdict
				}
			}
			return verdict
		}
		if got := advance(); got != events.Bypass {
			t.Fatalf("%s: the call that got the key is %q", name, got)
		}
		x.news(s)
		s.AddRecord(use, now)
		if got := advance(); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}

// Of a key there may be any number of records that came before: they are taken a page at a
// time, while few wait, and hold the mark once the stream has brought them, too.
func TestPassedOnIsPaged(t *testing.T) {
	const n, page = 23_000, 5_000
	s, now := correlate.New(correlate.Config{Remember: n}), start.Add(10*time.Minute)
	s.AddCredential(ourKey)
	got := theirs("ASSUME", "A")
	got.IssuedAccessKeyID, got.Verdict = "ASIA2", events.Bypass
	s.AddPassedOn(got, now)
	var stored []correlate.Record
	for i := range n {
		r := theirs(fmt.Sprintf("E%05d", i), fmt.Sprint("B", i))
		r.AccessKeyID, r.RoleARN, r.RoleName, r.SessionName, r.User = "ASIA2", "arn:aws:iam::111111111111:role/Admin", "Admin", "any", "any"
		stored = append(stored, r)
	}
	recall := func(d correlate.Doubt) (f correlate.Found, err error) {
		if len(d.PassedOn) == 0 {
			return f, nil
		}
		if len(d.PassedOn) != 1 || d.PassedOnLimit != page {
			t.Fatalf("asked for %d keys and %d records", len(d.PassedOn), d.PassedOnLimit)
		}
		for _, r := range stored {
			if len(f.PassedOn) < page && r.EventID > d.PassedOnAfter.ID.EventID && !r.EventTime.Before(d.PassedOnAfter.Time) {
				f.PassedOn = append(f.PassedOn, r)
			}
		}
		return f, nil
	}
	judged := map[string]int{}
	advance := func(requests time.Time) {
		for again := true; again; again = s.Behind() {
			js, err := s.Advance(correlate.Clock{Now: now, Requests: requests, Records: now}, recall)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range js {
				if j.Verdict.Verdict == events.Bypass {
					judged[j.Verdict.EventID]++
				}
			}
			if s.Early() > 2*page {
				t.Fatalf("%d records wait", s.Early())
			}
		}
	}
	advance(start)
	if s.Early() != 2*page || len(judged) > 0 {
		t.Errorf("%d wait, %d are judged", s.Early(), len(judged))
	}
	if at := s.OldestPending(); at != 0 {
		t.Errorf("a record that the stream has not brought holds the mark at %d", at)
	}
	again := stored[3]
	again.Seq = 7
	s.AddRecord(again, now)
	if at := s.OldestPending(); at != 7 {
		t.Errorf("the mark is held at %d, not 7", at)
	}
	for range 10 {
		now = now.Add(time.Second)
		advance(now)
	}
	if len(judged) != n {
		t.Errorf("%d of %d are judged", len(judged), n)
	}
	for id, times := range judged {
		if times != 1 {
			t.Errorf("%s is judged %d times", id, times)
		}
	}
}

// A call that turns out to be by a key that was given is so in each account that has a
// record of it, whether the state remembers them or the store.
func TestPassedOnOfSharedEvents(t *testing.T) {
	use := theirs("USE", "B")
	use.AccessKeyID, use.SharedEventID = "ASIA2", "shared"
	keyed := use
	keyed.Account, keyed.EventID = "222222222222", "USE-copy"
	assume := theirs("ASSUME", "A")
	assume.EventSource, assume.EventName, assume.IssuedAccessKeyID = "sts.amazonaws.com", "AssumeRole", "ASIA2"
	for name, records := range map[string][]correlate.Record{
		"without the key": {use, asOwnersGet(use)}, "with the key": {use, keyed}, "with the key, first": {keyed, use},
	} {
		for _, remembered := range []bool{true, false} {
			c := ourKey
			c.HandedOut = true
			c.IssuedAt, c.ExpiresAt = start.Add(-2*time.Hour), start.Add(-time.Hour) // not of the copy's time
			fresh := func() *correlate.State {
				s := correlate.New(correlate.Config{})
				s.AddCredential(c)
				s.AddRole("AROAOPS", ourRole)
				return s
			}
			s, now := fresh(), start.Add(10*time.Minute)
			got, open := map[string]string{}, map[string]bool{}
			recall := func(d correlate.Doubt) (f correlate.Found, err error) {
				for _, r := range records {
					if v, rule, judged := strings.Cut(got[r.EventID], " "); judged && len(d.PassedOn) > 0 {
						r.Verdict, r.Rule = v, rule
						if r.AccessKeyID == "ASIA2" {
							f.PassedOn = append(f.PassedOn, r)
						} else {
							f.SameEvents = append(f.SameEvents, r)
						}
					}
				}
				return f, nil
			}
			tell := func(r correlate.Record) {
				s.AddRecord(r, now)
				for range 3 {
					now = now.Add(time.Second)
					js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, recall)
					if err != nil {
						t.Fatal(err)
					}
					for _, j := range js {
						got[j.Verdict.EventID] = j.Verdict.Verdict + " " + j.Verdict.Rule
						for _, f := range j.Opened {
							open[f.FindingID] = true
						}
						for _, f := range j.Resolved {
							delete(open, f.FindingID)
						}
					}
				}
			}
			for _, r := range records {
				tell(r)
			}
			if v := got["USE"] + ", " + got["USE-copy"]; len(open) != 1 || strings.Count(v, "bypass") != 2 {
				t.Fatalf("%s: at first %s; %v", name, v, open)
			}
			if !remembered {
				s = fresh()
			}
			tell(assume)
			for _, r := range records {
				if !strings.HasPrefix(got[r.EventID], "exported ") {
					t.Errorf("%s, remembered %v: %s is %s", name, remembered, r.EventID, got[r.EventID])
				}
			}
			if len(open) > 0 {
				t.Errorf("%s, remembered %v: findings %v", name, remembered, open)
			}
		}
	}
}

// The key of an old record is known for as long as a new one's: a backfill takes its time.
func TestPassedOnOfOld(t *testing.T) {
	s, now := correlate.New(correlate.Config{}), start.Add(1000*time.Hour)
	s.AddCredential(ourKey)
	got := theirs("ASSUME", "A")
	got.IssuedAccessKeyID, got.Verdict = "ASIA2", events.Bypass
	s.AddPassedOn(got, now)
	use := theirs("USE", "B")
	use.AccessKeyID, use.RoleARN, use.RoleName, use.SessionName, use.User = "ASIA2", "arn:aws:iam::111111111111:role/Admin", "Admin", "any", "any"
	verdict := ""
	for i := range 36 {
		now = now.Add(time.Hour)
		if i == 34 {
			s.AddRecord(use, now)
		}
		js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range js {
			verdict = j.Verdict.Verdict
		}
	}
	if verdict != events.Bypass {
		t.Errorf("a call with the key is %q", verdict)
	}
}
