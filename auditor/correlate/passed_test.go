package correlate_test

import (
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
						s.AddPassedOn(r)
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
