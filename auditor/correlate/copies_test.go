package correlate_test

import (
	stdcmp "cmp"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// asOwnersGet is a record as AWS gives it to the account that owns the resource.
func asOwnersGet(r correlate.Record) correlate.Record {
	r.EventID, r.Account, r.SharedEventID = r.EventID+"-copy", "222222222222", "shared"
	r.RoleARN, r.RoleName, r.AccessKeyID, r.RoleID = "", "", "", "AROAOPS"
	return r
}

// The owner of a resource gets a copy without ARN and key: what it is of is known by
// AWS's own name of the role, told by STS or by a pair before.
func TestCopiesForOwners(t *testing.T) {
	key := ourKey
	key.RoleID = "AROAOPS"
	byRole := asOwnersGet(theirs("AROUND", "B"))
	nobody := asOwnersGet(theirs("NOBODY", "B"))
	nobody.SessionName, nobody.User = "mallory", "mallory"
	stranger := asOwnersGet(theirs("STRANGER", "B"))
	stranger.RoleID = "AROAOTHER"
	bare := asOwnersGet(theirs("BARE", "A"))
	bare.SessionName, bare.User, bare.RoleID = "", "", ""
	earlier, itsRecord := ours("R0", "A0"), theirs("E0", "A0")
	itsRecord.RoleID = "AROAOPS"
	for name, x := range map[string]struct {
		untold   bool // STS does not tell the role's name
		requests []correlate.Request
		records  []correlate.Record
		want     map[string]string // request or record -> verdict
		findings []string
	}{
		"of a proxied call": {requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{theirs("E", "A"), asOwnersGet(theirs("E", "A"))},
			want: map[string]string{"R": "matched E", "E": "matched request_id", "E-copy": "proxied same_request"}},
		"of a proxied call, first": {requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{asOwnersGet(theirs("E", "A")), theirs("E", "A")},
			want: map[string]string{"R": "matched E", "E": "matched request_id", "E-copy": "proxied same_request"}},
		"alone": {requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{asOwnersGet(theirs("E", "A"))},
			want: map[string]string{"R": "matched E-copy", "E-copy": "matched request_id"}},
		"alone, of a role not known": {untold: true, requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{asOwnersGet(theirs("E", "A"))},
			want: map[string]string{"R": "matched E-copy", "E-copy": "matched request_id"}},
		"of nobody": {requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{bare},
			want: map[string]string{"R": "matched BARE-copy", "BARE-copy": "matched request_id"}},
		"of another account": {requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{func() correlate.Record { r := bare; r.IdentityAccount = "333333333333"; return r }()},
			want: map[string]string{"R": "missing "}, findings: []string{"missing:R"}},
		"of a bypass": {records: []correlate.Record{byRole},
			want: map[string]string{"AROUND-copy": "bypass no_request"}, findings: []string{"bypass:222222222222/AROUND-copy"}},
		"of a bypass, by nobody known": {records: []correlate.Record{nobody},
			want: map[string]string{"NOBODY-copy": "bypass unknown_identity"}, findings: []string{"unknown_identity:222222222222/NOBODY-copy"}},
		"of a bypass, of a role that a pair told": {untold: true, requests: []correlate.Request{earlier}, records: []correlate.Record{itsRecord, byRole},
			want: map[string]string{"R0": "matched E0", "E0": "matched request_id", "AROUND-copy": "bypass no_request"}, findings: []string{"bypass:222222222222/AROUND-copy"}},
		"of somebody else's role":           {records: []correlate.Record{stranger}, want: map[string]string{}},
		"under our name in another account": {records: []correlate.Record{func() correlate.Record { r := byRole; r.IdentityAccount = "333333333333"; return r }()}, want: map[string]string{}},
	} {
		s := correlate.New(correlate.Config{})
		k := key
		if x.untold {
			k.RoleID = ""
		}
		s.AddCredential(k)
		got := told(t, s, x.requests, x.records)
		all := map[string]string{}
		for _, m := range []map[string]string{got.requests, got.records} {
			for id, v := range m {
				all[id] = v
			}
		}
		findings := map[string]string{}
		for _, f := range x.findings {
			findings[f] = "open"
		}
		if d := cmp.Diff(x.want, all); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
		if d := cmp.Diff(findings, got.findings); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

// What another account gets of a call around postern, or of one that postern knows of, is
// judged as the caller's record is, and found once.
func TestCopiesOfOtherCalls(t *testing.T) {
	const around = "bypass:111111111111/E"
	keyed := asOwnersGet(theirs("E", "B"))
	keyed.AccessKeyID, keyed.RoleID, keyed.SessionName, keyed.User = "ASIA1", "", "", ""
	keyless, caller := asOwnersGet(theirs("E", "B")), theirs("E", "B")
	caller.SharedEventID = "shared"
	held, byKey, ofKey := ourKey, caller, keyless
	held.AccessKeyID, held.HandedOut = "ASIAHELD", true
	byKey.AccessKeyID = "ASIAHELD"
	after := ofKey
	after.EventTime = start.Add(2 * time.Hour)
	link := correlate.Token{AccessKeyID: "ASIA1", RequestID: "T", Kind: events.CredentialURL, User: "alice", Service: "ec2", SigningName: "ec2", Operation: "DescribeInstances", IssuedAt: start, ExpiresAt: start.Add(time.Hour)}
	for name, x := range map[string]struct {
		held, link bool
		requests   []correlate.Request
		records    []correlate.Record
		want       map[string]string
		finding    string
		state      string // of the finding in the end
	}{
		"with the key":                 {records: []correlate.Record{caller, keyed}, want: map[string]string{"E": "bypass no_request", "E-copy": "bypass shared_event"}, finding: around},
		"with the key, first":          {records: []correlate.Record{keyed, caller}, want: map[string]string{"E-copy": "bypass no_request", "E": "bypass shared_event"}, finding: "bypass:222222222222/E-copy"},
		"without the key":              {records: []correlate.Record{caller, keyless}, want: map[string]string{"E": "bypass no_request", "E-copy": "bypass shared_event"}, finding: around},
		"without the key, first":       {records: []correlate.Record{keyless, caller}, want: map[string]string{"E": "bypass no_request", "E-copy": "bypass shared_event"}, finding: around},
		"with a key that was given":    {held: true, records: []correlate.Record{byKey, ofKey}, want: map[string]string{"E": "exported key_handed_out", "E-copy": "exported shared_event"}},
		"the same, first":              {held: true, records: []correlate.Record{ofKey, byKey}, want: map[string]string{"E": "exported key_handed_out", "E-copy": "exported shared_event"}},
		"the same, alone":              {held: true, records: []correlate.Record{ofKey}, want: map[string]string{"E-copy": "exported identity_handed_out"}},
		"the same, when it had ended":  {held: true, records: []correlate.Record{after}, want: map[string]string{"E-copy": "bypass no_request"}, finding: "bypass:222222222222/E-copy"},
		"around, while keys are given": {held: true, records: []correlate.Record{keyless, caller}, want: map[string]string{"E": "bypass no_request", "E-copy": "bypass shared_event"}, finding: around},
		"with a link":                  {link: true, records: []correlate.Record{keyless}, want: map[string]string{"E-copy": "token presigned_url"}},
		"the request comes late": {requests: []correlate.Request{ours("R", "B")}, records: []correlate.Record{caller, keyed},
			want: map[string]string{"E": "matched request_id", "E-copy": "proxied shared_event"}, finding: around, state: "resolved"},
		"the request comes late, the copy first": {requests: []correlate.Request{ours("R", "B")}, records: []correlate.Record{keyed, caller},
			want: map[string]string{"E": "matched request_id", "E-copy": "proxied shared_event"}, finding: "bypass:222222222222/E-copy", state: "resolved"},
	} {
		s := correlate.New(correlate.Config{})
		k := ourKey
		k.RoleID = "AROAOPS"
		s.AddCredential(k)
		if x.held {
			s.AddCredential(held)
		}
		if x.link {
			s.AddToken(link)
		}
		got := told(t, s, nil, x.records, x.requests...)
		if d := cmp.Diff(x.want, got.records); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
		findings := map[string]string{}
		if x.finding != "" {
			findings[x.finding] = stdcmp.Or(x.state, "open")
		}
		if d := cmp.Diff(findings, got.findings); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}
