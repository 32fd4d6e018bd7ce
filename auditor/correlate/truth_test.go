package correlate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

// truth is what a world that the test made up is known to hold.
type truth struct {
	steps    []step
	awsID    map[correlate.RecordID]string
	shared   map[correlate.RecordID]string // SharedEventID
	requests map[string]string             // request id -> verdict
	records  map[correlate.RecordID]string // record -> verdict; "" is none of ours
	pairs    map[string]correlate.RecordID // request id -> its record
	opened   map[string]bool               // finding ids that must be open at the end
}

// step is something that the auditor learns, at its time.
type step struct {
	at   time.Time
	do   func(*correlate.State, time.Time) []correlate.Judgement
	says *correlate.Request // what the store has from then on
	// brings is the record that arrives.
	brings *correlate.Record
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var operations = []struct{ service, operation, source, name string }{
	{"s3", "ListObjectsV2", "s3.amazonaws.com", "ListObjects"},
	{"s3", "GetObject", "s3.amazonaws.com", "GetObject"},
	{"s3", "GetPublicAccessBlock", "s3.amazonaws.com", "GetBucketPublicAccessBlock"},
	{"ec2", "DescribeInstances", "ec2.amazonaws.com", "DescribeInstances"},
	{"lambda", "ListFunctions", "lambda.amazonaws.com", "ListFunctions20150331"},
	{"lambda", "GetFunction", "lambda.amazonaws.com", "GetFunction20150331v2"},
	{"cloudfront", "ListDistributions", "cloudfront.amazonaws.com", "ListDistributions2020_05_31"},
	{"email", "SendEmail", "ses.amazonaws.com", "SendEmail"},
	{"dynamodb", "GetItem", "dynamodb.amazonaws.com", "GetItem"},
	{"sts", "GetCallerIdentity", "sts.amazonaws.com", "GetCallerIdentity"},
}

// world makes n calls through postern, and what AWS says about them and about
// some that went around it. What the proxy says comes lag late.
func world(r *rand.Rand, n int, lag time.Duration) *truth {
	w := &truth{
		requests: map[string]string{}, records: map[correlate.RecordID]string{}, pairs: map[string]correlate.RecordID{},
		opened: map[string]bool{}, awsID: map[correlate.RecordID]string{}, shared: map[correlate.RecordID]string{},
	}
	type session struct {
		id, user, account, arn, role, key string
		over                              string // the kind of finding about calls after half-time
	}
	half := start.Add(time.Duration(n) * 50 * time.Millisecond)
	sessions := make([]session, 50)
	for i := range sessions {
		a := fmt.Sprintf("%012d", 111111111111+i%5)
		sessions[i] = session{"", fmt.Sprintf("user-%d@example.com", i%20), a, "arn:aws:iam::" + a + ":role/team/Ops" + fmt.Sprint(i%3), "Ops" + fmt.Sprint(i%3), fmt.Sprintf("ASIA%016d", i), ""}
		sessions[i].id = fmt.Sprint("S", i)
		switch i % 10 {
		case 8:
			sessions[i].over = "after_lock"
		case 9:
			sessions[i].over = "after_expiry"
		}
	}
	tell := func(at time.Time, do func(*correlate.State) []correlate.Judgement) {
		w.steps = append(w.steps, step{at, func(st *correlate.State, _ time.Time) []correlate.Judgement { return do(st) }, nil, nil})
	}
	tell(start, func(st *correlate.State) []correlate.Judgement {
		selectors, err := correlate.ParseSelectors(`[{"ReadWriteType":"All","DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3:::loud/"]},{"Type":"AWS::DynamoDB::Table","Values":["arn:aws:dynamodb"]}]}]`, "")
		if err != nil {
			panic(err)
		}
		st.AddTrail(correlate.Trail{ARN: "arn:aws:cloudtrail:eu-central-1:999999999999:trail/all", Account: "999999999999", MultiRegion: true, Organization: true, Selectors: selectors})
		return nil
	})
	at := start
	for i := range sessions {
		s := sessions[i]
		w.steps = append(w.steps, step{at, func(st *correlate.State, now time.Time) []correlate.Judgement {
			c := correlate.Credential{AccessKeyID: s.key, SessionID: s.id, User: s.user, Account: s.account, RoleARN: s.arn, RoleID: "AROA" + s.account + s.role, SessionName: s.user, IssuedAt: start, ExpiresAt: start.Add(12 * time.Hour)}
			st.AddCredential(c)
			c.AccessKeyID, c.HandedOut = s.key+"-held", true
			st.AddCredential(c)
			c.AccessKeyID, c.HandedOut, c.Console = s.key+"-console", false, true
			st.AddCredential(c)
			st.AddSession(correlate.Session{ID: s.id, User: s.user, Account: s.account, RoleARN: s.arn, EndsAt: start.Add(12 * time.Hour)})
			return nil
		}, nil, nil})
		switch s.over {
		case "after_lock":
			tell(half, func(st *correlate.State) []correlate.Judgement {
				return st.AddLock(correlate.Lock{ID: "L" + s.id, Kind: "session", Name: s.id, PlacedAt: half})
			})
		case "after_expiry":
			tell(half, func(st *correlate.State) []correlate.Judgement { return st.EndSession(s.id, half) })
		}
	}
	var places uint64
	deliver := func(rec correlate.Record, verdict string, more ...time.Duration) {
		w.records[rec.ID()] = verdict
		w.awsID[rec.ID()], w.shared[rec.ID()] = rec.RequestID, rec.SharedEventID
		times := 1
		if r.Float64() < 0.27 {
			times = 2
		}
		for range times {
			places++
			rec := rec
			rec.Seq = places
			delay := time.Duration(r.Int64N(int64(20 * time.Minute)))
			if r.Float64() < 0.02 { // a record that is there at once
				delay = time.Duration(r.Int64N(int64(50 * time.Millisecond)))
			}
			for _, d := range more {
				delay += d
			}
			w.steps = append(w.steps, step{rec.EventTime.Add(delay + 2*time.Second), func(st *correlate.State, now time.Time) []correlate.Judgement {
				return st.AddRecord(rec, now)
			}, nil, &rec})
		}
	}
	var last struct{ id, account string }
	for i := range n {
		at = at.Add(time.Duration(r.Int64N(int64(200 * time.Millisecond))))
		s := sessions[r.IntN(len(sessions))]
		for s.over != "" && at.Sub(half).Abs() < 20*time.Second { // too near to tell
			s = sessions[r.IntN(len(sessions))]
		}
		late := func(id string) { // a call at this time, by what the session has
			if s.over != "" && at.After(half) {
				w.opened[s.over+":"+id] = true
			}
		}
		op := operations[r.IntN(len(operations))]
		skew := time.Duration(r.Int64N(int64(4*time.Second))) - 2*time.Second
		req := correlate.Request{
			ID: fmt.Sprintf("R%09d", i), ReceivedAt: at.Add(skew), User: s.user, Account: s.account, RoleARN: s.arn, SessionName: s.user,
			AccessKeyID: s.key, Service: op.service, SigningName: op.service, Operation: op.operation, SessionID: s.id, Region: "eu-central-1", ReadOnly: true,
		}
		quiet := op.service == "s3" && correlate.DataEvent("s3", op.operation) && r.IntN(2) == 0
		if quiet {
			req.Resources = []string{"arn:aws:s3:::quiet/ledger.bin"}
		} else if op.service == "s3" {
			req.Resources = []string{"arn:aws:s3:::loud/ledger.bin"}
		}
		late(req.ID)
		done := req
		done.Outcome, done.AWSRequestID = correlate.Completed, fmt.Sprintf("aws-%09d", i)
		rec := correlate.Record{
			Account: s.account, EventID: fmt.Sprintf("E%09d", i), RequestID: done.AWSRequestID, EventTime: at.Truncate(time.Second),
			EventSource: op.source, EventName: op.name, IdentityAccount: s.account, RoleARN: s.arn, RoleName: s.role, SessionName: s.user,
			AccessKeyID: s.key, User: s.user,
		}
		took := time.Duration(r.Int64N(int64(2 * time.Second)))
		if r.Float64() < 0.001 {
			took = 15 * time.Minute // a long download: its record comes before its end
		}
		if last.id != "" && last.account != s.account && r.Float64() < 0.01 { // ids are unique within an account at best
			done.AWSRequestID, rec.RequestID = last.id, last.id
		}
		last.id, last.account = done.AWSRequestID, s.account
		bare := false
		if r.Float64() < 0.01 && !quiet { // the answer had no request id, so key, name and time must do
			op := fmt.Sprintf("Unusual%d", i)
			req.Operation, done.Operation, rec.EventName = op, op, op
			done.AWSRequestID = ""
			last.id = ""
		} else if r.Float64() < 0.005 && !quiet { // or the record has none
			op := fmt.Sprintf("Unusual%d", i)
			req.Operation, done.Operation, rec.EventName = op, op, op
			rec.RequestID, bare = "", true
			last.id = ""
		}
		w.steps = append(w.steps,
			step{at.Add(lag), func(st *correlate.State, now time.Time) []correlate.Judgement { return st.AddRequest(req, now) }, &req, nil},
			step{at.Add(took + lag), func(st *correlate.State, now time.Time) []correlate.Judgement { return st.AddRequest(done, now) }, &done, nil})
		switch p := r.Float64(); {
		case quiet && p < 0.9:
			w.requests[req.ID] = events.NotLogged
			continue
		case p < 0.005:
			w.requests[req.ID] = events.Missing
			w.opened["missing:"+req.ID] = true
			continue
		case p < 0.008: // AWS saw somebody else
			rec.SessionName = "mallory"
			w.requests[req.ID] = events.Mismatched
			w.opened["mismatch:"+req.ID] = true
			deliver(rec, events.Mismatched)
		case p < 0.01 && !bare && done.AWSRequestID != "": // a day late: missing, and not after all
			w.requests[req.ID] = events.Matched
			deliver(rec, events.Matched, 24*time.Hour)
			w.pairs[req.ID] = rec.ID()
			continue
		default:
			w.requests[req.ID] = events.Matched
			deliver(rec, events.Matched)
		}
		w.pairs[req.ID] = rec.ID()
		if r.Float64() < 0.03 && !bare { // the same event for the owner of the bucket
			copied := rec
			copied.Account, copied.EventID, copied.SharedEventID = "999999999999", rec.EventID+"-copy", "shared"
			deliver(copied, events.Proxied)
		}
		if p := r.Float64(); p < 0.04 && !bare && done.AWSRequestID != "" && took < time.Minute { // what AWS did for it, or a part of it
			second := rec
			second.EventID, second.EventName = rec.EventID+"-second", "Part"
			if p < 0.02 {
				second.EventSource, second.EventName, second.InvokedBy = "kms.amazonaws.com", "Decrypt", "AWS Internal"
			}
			deliver(second, events.Proxied)
		}
		// Beside the calls through postern:
		other := rec
		other.EventID, other.RequestID, other.SessionName = rec.EventID+"-x", fmt.Sprintf("around-%d", i), s.user
		other.Resources = []string{"arn:aws:s3:::signed/else"}
		if done.AWSRequestID == "" || bare { // else nobody could tell which of the two is the call
			other.EventName += "Around"
		}
		// shared makes it an event that the owner of a resource gets, too.
		shared := func(verdict string) {
			if r.IntN(2) == 0 {
				return
			}
			other.SharedEventID = "shared-" + other.EventID
			copied := other
			copied.Account, copied.EventID = "999999999999", other.EventID+"-copy"
			copied.AccessKeyID, copied.RoleARN, copied.RoleName, copied.RoleID, copied.FromConsole = "", "", "", "AROA"+s.account+s.role, false
			deliver(copied, verdict)
		}
		switch p := r.Float64(); {
		case p < 0.002: // around postern, under the role and name it lends, half the time with its very key
			if r.IntN(2) == 0 {
				other.AccessKeyID = fmt.Sprintf("ASIABYPASS%06d", i)
			}
			w.opened["bypass:"+other.Account+"/"+other.EventID] = true
			if other.AccessKeyID == s.key {
				late(other.Account + "/" + other.EventID)
			}
			shared(events.Bypass)
			deliver(other, events.Bypass)
		case p < 0.004: // under a role that postern lends, as nobody whom it knows
			other.SessionName, other.User, other.AccessKeyID = s.user+"x", s.user+"x", "ASIAOTHER"
			w.opened["unknown_identity:"+other.Account+"/"+other.EventID] = true
			deliver(other, events.Bypass)
		case p < 0.05: // somebody else's
			other.RoleName, other.RoleARN, other.AccessKeyID = s.role+"x", s.arn+"x", "ASIAOTHER"
			deliver(other, "")
		case p < 0.06:
			other.InvokedBy = "cloudformation.amazonaws.com"
			late(other.Account + "/" + other.EventID)
			deliver(other, events.Forwarded)
		case p < 0.07: // with the key that the user holds
			other.AccessKeyID += "-held"
			late(other.Account + "/" + other.EventID)
			shared(events.Exported)
			deliver(other, events.Exported)
		case p < 0.08:
			other.AccessKeyID, other.FromConsole = s.key+"-console", true
			late(other.Account + "/" + other.EventID)
			shared(events.Console)
			deliver(other, events.Console)
		case p < 0.09: // a link that postern signed, used more than once
			t := correlate.Token{AccessKeyID: s.key, RequestID: "T" + req.ID, Kind: events.CredentialURL, User: s.user, SessionID: s.id, Service: op.service,
				SigningName: op.service, Operation: other.EventName, Resources: []string{"arn:aws:s3:::signed/" + req.ID}, IssuedAt: at, ExpiresAt: at.Add(15 * time.Minute)}
			tell(at, func(st *correlate.State) []correlate.Judgement { st.AddToken(t); return nil })
			for i := range 2 {
				again := other
				again.Resources = []string{"arn:aws:s3:::signed", t.Resources[0]}
				again.EventID, again.RequestID = fmt.Sprint(other.EventID, i), fmt.Sprint(other.RequestID, "-", i)
				late(again.Account + "/" + again.EventID)
				deliver(again, events.ByToken)
			}
			other.EventID += "-not" // the same key and operation, and another object
			w.opened["bypass:"+other.Account+"/"+other.EventID] = true
			late(other.Account + "/" + other.EventID)
			deliver(other, events.Bypass)
		}
	}
	slices.SortStableFunc(w.steps, func(a, b step) int { return a.at.Compare(b.at) })
	return w
}

// store plays the part of ClickHouse: it knows all that was said so far.
type store struct {
	w        *truth
	verdicts map[string]string
	record   map[correlate.RecordID]string
	rules    map[correlate.RecordID]string
	shared   map[string]string // by SharedEventID
	pair     map[string]correlate.RecordID
	bare     map[string]string // AWS request id -> request paired without it
	findings map[string]string
	ids      map[string]int
	current  map[string]correlate.Request
	bareOf   map[string][]string    // requests without an AWS request id, by key
	minutes  map[time.Time][]string // requests by the minute of their receipt
	byAWS    map[string][]string
	arrived  map[string][]correlate.Record // records by AWS request id
	placed   map[uint64]correlate.Record   // records by their place in the stream
}

func (b *store) take(t *testing.T, js []correlate.Judgement) {
	for _, j := range js {
		takeFindings(t, b.findings, j)
		v := j.Verdict
		if v == nil {
			continue
		}
		b.ids[correlate.VerdictID(v)]++
		if v.RequestID != "" && v.Verdict != events.Proxied {
			b.verdicts[v.RequestID] = v.Verdict
		}
		if v.EventID != "" {
			id := correlate.RecordID{Account: v.RecipientAccountID, EventID: v.EventID}
			b.record[id], b.rules[id] = v.Verdict, v.Rule
			b.shared[b.w.shared[id]] = v.Verdict
			if v.Verdict == events.Matched || v.Verdict == events.Mismatched {
				b.pair[v.RequestID] = id
				if b.current[v.RequestID].AWSRequestID == "" {
					b.bare[b.w.awsID[id]] = v.RequestID
				}
			}
		}
	}
}

// takeFindings keeps which findings are open: none is opened twice, or resolved while it isn't.
func takeFindings(t *testing.T, findings map[string]string, j correlate.Judgement) {
	t.Helper()
	for _, f := range j.Opened {
		if findings[f.FindingID] != "" {
			t.Errorf("finding %s opened twice", f.FindingID)
		}
		findings[f.FindingID] = "open"
	}
	for _, r := range j.Resolved {
		if findings[r.FindingID] != "open" {
			t.Errorf("finding %s resolved while %q", r.FindingID, findings[r.FindingID])
		}
		findings[r.FindingID] = "resolved"
	}
}

// knows makes the store know a request.
func (b *store) knows(r correlate.Request) {
	b.current[r.ID] = r
	if r.AWSRequestID == "" {
		b.bareOf[r.AccessKeyID] = append(b.bareOf[r.AccessKeyID], r.ID)
	} else {
		b.bareOf[r.AccessKeyID] = slices.DeleteFunc(b.bareOf[r.AccessKeyID], func(id string) bool { return id == r.ID })
	}
	b.minutes[r.ReceivedAt.Truncate(time.Minute)] = append(b.minutes[r.ReceivedAt.Truncate(time.Minute)], r.ID)
	if r.AWSRequestID != "" {
		b.byAWS[r.AWSRequestID] = append(b.byAWS[r.AWSRequestID], r.ID)
	}
}

// request is one as ClickHouse has it.
func (b *store) request(id string) correlate.Request {
	r := b.current[id]
	r.Verdict, r.PairAccount, r.PairEvent = b.verdicts[r.ID], b.pair[r.ID].Account, b.pair[r.ID].EventID
	return r
}

// near finds requests of a key that wait for a record around a time.
func (b *store) near(rec *correlate.Record) (out []correlate.Request) {
	add := func(id string) {
		r := b.request(id)
		if r.AccessKeyID == rec.AccessKeyID && r.ReceivedAt.Sub(rec.EventTime).Abs() < 20*time.Minute && r.Verdict != events.Matched && r.Verdict != events.Mismatched {
			out = append(out, r)
		}
	}
	for _, id := range b.bareOf[rec.AccessKeyID] {
		add(id)
	}
	if rec.RequestID == "" {
		for m := rec.EventTime.Add(-2 * time.Minute).Truncate(time.Minute); !m.After(rec.EventTime.Add(2 * time.Minute)); m = m.Add(time.Minute) {
			for _, id := range b.minutes[m] {
				add(id)
			}
		}
	}
	return out
}

func (b *store) recall(d correlate.Doubt) (correlate.Found, error) {
	f := correlate.Found{Judged: map[correlate.RecordID]correlate.JudgedAs{}, Shared: map[string]string{}}
	for _, r := range d.Records {
		f.Judged[r.ID()] = correlate.JudgedAs{Verdict: b.record[r.ID()], Rule: b.rules[r.ID()]}
		if v := b.shared[r.SharedEventID]; r.SharedEventID != "" && v != "" {
			f.Shared[r.SharedEventID] = v
		}
		known := false
		if request, bare := b.bare[r.RequestID]; bare && r.RequestID != "" { // paired without AWS's id in the answer
			x := b.request(request)
			x.AWSRequestID = r.RequestID
			f.Requests, known = append(f.Requests, x), x.MayBe(&r)
		}
		for _, id := range b.byAWS[r.RequestID] {
			x := b.request(id)
			f.Requests, known = append(f.Requests, x), known || x.MayBe(&r)
		}
		if !known && r.AccessKeyID != "" {
			f.Requests = append(f.Requests, b.near(&r)...)
		}
	}
	for _, r := range d.Requests {
		if b.verdicts[r.ID] != "" {
			f.JudgedRequests = append(f.JudgedRequests, b.request(r.ID))
		}
		for _, rec := range b.arrived[r.AWSRequestID] {
			if v := b.record[rec.ID()]; r.AWSRequestID != "" && (v == "" || v == events.Bypass) {
				rec.Verdict, rec.Rule = v, b.rules[rec.ID()]
				f.Records = append(f.Records, rec)
			}
		}
	}
	for _, seq := range d.Copies {
		f.Copies = append(f.Copies, b.placed[seq])
	}
	if s := d.Spilled; s != nil {
		seen := map[string]bool{}
		for _, id := range b.minutes[s.From] {
			r := b.request(id)
			after := r.ReceivedAt.After(s.AfterTime) || r.ReceivedAt.Equal(s.AfterTime) && r.ID > s.AfterID
			if r.Verdict == "" && after && !seen[id] {
				seen[id] = true
				f.Spilled = append(f.Spilled, r)
			}
		}
		slices.SortFunc(f.Spilled, func(a, b correlate.Request) int {
			if d := a.ReceivedAt.Compare(b.ReceivedAt); d != 0 {
				return d
			}
			return strings.Compare(a.ID, b.ID)
		})
		f.Spilled = f.Spilled[:min(len(f.Spilled), s.Limit)]
	}
	return f, nil
}

func newStore(w *truth) *store {
	return &store{w: w, verdicts: map[string]string{}, record: map[correlate.RecordID]string{}, rules: map[correlate.RecordID]string{}, shared: map[string]string{}, pair: map[string]correlate.RecordID{}, bare: map[string]string{},
		findings: map[string]string{}, ids: map[string]int{}, current: map[string]correlate.Request{}, minutes: map[time.Time][]string{}, bareOf: map[string][]string{},
		byAWS: map[string][]string{}, arrived: map[string][]correlate.Record{}, placed: map[uint64]correlate.Record{}}
}

// play runs a world through a state and returns what the store ends up with.
func play(t *testing.T, w *truth, c correlate.Config, lag time.Duration) *store {
	st := correlate.New(c)
	b := newStore(w)
	tick := start
	advance := func(now time.Time) {
		for again := true; again; again = st.Behind() {
			js, err := st.Advance(correlate.Clock{Now: now, Requests: now.Add(-lag), Records: now}, b.recall)
			if err != nil {
				t.Fatal(err)
			}
			b.take(t, js)
		}
	}
	for _, s := range w.steps {
		for s.at.Sub(tick) > time.Second {
			step := time.Second
			if s.at.Sub(tick) > time.Hour {
				step = 10 * time.Minute
			}
			tick = tick.Add(step)
			advance(tick)
		}
		if s.says != nil { // the store has it first
			b.knows(*s.says)
		}
		if s.brings != nil && !slices.ContainsFunc(b.arrived[s.brings.RequestID], func(r correlate.Record) bool { return r.ID() == s.brings.ID() }) {
			b.arrived[s.brings.RequestID] = append(b.arrived[s.brings.RequestID], *s.brings)
		}
		if s.brings != nil {
			b.placed[s.brings.Seq] = *s.brings
		}
		b.take(t, s.do(st, s.at))
		if requests, records := st.Sizes(); c.Open > 0 && requests > 2*c.Open+c.Remember+max(c.Short, 0)+5_000 {
			t.Fatalf("the state holds %d requests and %d records", requests, records)
		}
	}
	for range 60 {
		tick = tick.Add(time.Minute)
		advance(tick)
	}
	if c.Remember > 0 {
		if requests, records := st.Sizes(); requests > c.Remember || records > c.Remember {
			t.Errorf("state still holds %d requests and %d records", requests, records)
		}
	}
	return b
}

// check compares what was judged with what is true and reports precision and
// recall of each verdict, over requests and records.
func (b *store) check(t *testing.T) {
	type count struct{ right, said, is int }
	counts := map[string]*count{}
	of := func(v string) *count {
		if counts[v] == nil {
			counts[v] = &count{}
		}
		return counts[v]
	}
	compare := func(what, is, said string) {
		of(is).is++
		of(said).said++
		if is == said {
			of(is).right++
		} else if !t.Failed() {
			t.Errorf("%s is %q, was judged %q", what, is, said)
		}
	}
	for id, is := range b.w.requests {
		compare("request "+id, "request "+is, "request "+b.verdicts[id])
		if want := b.w.pairs[id]; b.pair[id] != want {
			t.Fatalf("request %s (%s) is paired with %v, not with %v", id, is, b.pair[id], want)
		}
	}
	for id, is := range b.w.records {
		compare("record "+id.EventID, "record "+is, "record "+b.record[id])
	}
	for id, n := range b.ids {
		if n > 1 {
			t.Errorf("%s was said %d times", id, n)
		}
	}
	for id := range b.w.opened {
		if b.findings[id] != "open" {
			t.Errorf("finding %s is %q, not open", id, b.findings[id])
		}
	}
	for id, state := range b.findings {
		if state == "open" && !b.w.opened[id] {
			t.Errorf("finding %s is open for nothing", id)
		}
	}
	for v, c := range counts {
		t.Logf("%-20s %6d  precision %.4f  recall %.4f", v, c.is, float64(c.right)/float64(max(1, c.said)), float64(c.right)/float64(max(1, c.is)))
	}
}

// The whole of it, 100,000 calls in all: precision and recall are 1, and what is
// forgotten makes no difference.
func TestGroundTruth(t *testing.T) {
	for _, c := range []struct{ remember, open, short, calls int }{
		{0, 0, 0, 80_000}, {100, 0, -1, 10_000}, {1, 0, -1, 5_000}, {1, 1, -1, 5_000}, {100, 500, -1, 10_000},
		{1, 1, 100_000, 5_000}, {1, 1, 2_000, 5_000}, {100, 500, 1_000, 10_000},
	} {
		t.Run(fmt.Sprintf("remember %d, %d open, %d in short", c.remember, c.open, c.short), func(t *testing.T) {
			w := world(rand.New(rand.NewPCG(1, uint64(c.remember))), c.calls, 0)
			play(t, w, correlate.Config{Remember: c.remember, Open: c.open, Short: c.short}, 0).check(t)
		})
	}
}

func TestManyWorlds(t *testing.T) {
	for seed := range uint64(40) {
		lag := time.Duration(seed%3) * 17 * time.Second
		w := world(rand.New(rand.NewPCG(seed, 7)), 500, lag)
		b := play(t, w, correlate.Config{Remember: 1 + int(seed)*10, Open: int(seed%4) * 10, Short: int(seed%5)*40 - 1}, lag)
		b.check(t)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
