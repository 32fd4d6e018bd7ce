package correlate

import (
	"container/heap"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Clock says what time it is, and up to when each side is known: everything
// that was on the AUDIT stream at Requests, and on CLOUDTRAIL at Records, was
// given to the state.
type Clock struct{ Now, Requests, Records time.Time }

// Doubt is what would be judged missing and bypass next, for want of the other
// side in memory.
type Doubt struct {
	// Requests and Records are in the order of their times.
	Requests []Request
	Records  []Record
	// Spilled asks for open requests that are not in memory and now due; nil for none.
	Spilled *Span
	// Copies are places in CLOUDTRAIL of records that are not in memory and now due.
	Copies []uint64
	// PassedOn are keys that are known now, and whose records may have been let go.
	PassedOn []Credential
	// PassedOnAfter is the last record that was found of these, zero for none: a page after
	// it is asked for, in the order of time, account and event id, of PassedOnLimit records.
	PassedOnAfter Cursor
	PassedOnLimit int
	// Keys that are not known: of the records, and given out by AssumeRole calls
	// that may be postern's own.
	Keys []string
}

// Found is what a store knows about a Doubt.
type Found struct {
	// Requests that have, or could have, one of the records: of the same AWS
	// request id, or access key and time.
	Requests []Request
	// Records of the same AWS request id, or access key and time, as one of the requests.
	Records []Record
	// Judged are verdicts of the doubted records themselves.
	Judged map[RecordID]JudgedAs
	// Shared are the verdicts, but those that a request explains, of records with the same
	// SharedEventID as a doubted one.
	Shared map[string]string
	// JudgedRequests have a verdict of their own already.
	JudgedRequests []Request
	// Spilled are those of Doubt.Spilled, Copies those of Doubt.Copies.
	Spilled []Request
	Copies  []Record
	// PassedOn is a page of records of Doubt.PassedOn without a verdict, and of keys that were
	// handed out those that are a bypass.
	PassedOn []Record
	// SameEvents are other accounts' records of the same events as the latter that are a
	// bypass, too.
	SameEvents  []Record
	Credentials []Credential
	Sessions    []Session
	Tokens      []Token
}

// Cursor is a place among records in the order of time, account and event id.
type Cursor struct {
	Time time.Time
	ID   RecordID
}

// JudgedAs is a verdict on a record, and the rule that it follows from.
type JudgedAs struct{ Verdict, Rule string }

// rememberSessions is how long a session that ended is remembered.
const rememberSessions = 24 * time.Hour

// Advance judges what can be judged now. recall asks a store before anything
// is called missing or bypass; nil means that there is nothing but this state.
// After an error nothing was judged but what is returned.
func (s *State) Advance(c Clock, recall func(Doubt) (Found, error)) ([]Judgement, error) {
	s.now, s.behind = c.Now, false
	overdue := s.overdue(c)
	doubtful := s.sift(c)
	minute, spilled := s.spilledDue(c)
	copies := s.copiesDue(c)
	if recall == nil {
		recall = func(Doubt) (Found, error) { return Found{}, nil }
	}
	passed := s.passedDue()
	if len(overdue) > 0 || len(doubtful) > 0 || len(copies) > 0 || len(passed) > 0 || spilled {
		asked, later := s.cut(doubtful)
		s.pending = append(s.pending, later...)
		doubt := s.doubt(overdue, asked)
		doubt.Copies, doubt.PassedOn, doubt.PassedOnAfter, doubt.PassedOnLimit = copies, passed, s.passedAfter, atOnce
		if spilled {
			doubt.Spilled = s.span(minute)
		}
		found, err := recall(doubt)
		if err != nil {
			for _, r := range overdue {
				if r.verdict == "" {
					heap.Push(&s.due, r)
				}
			}
			s.pending = append(s.pending, asked...)
			return s.take(), err
		}
		s.learn(found)
		s.told = found.Shared
		if spilled {
			s.unspill(minute, found.Spilled)
			s.behind = true
		}
		s.unspillCopies(len(copies), found.Copies)
		s.learnPassedOn(len(passed), found)
		for _, r := range asked {
			r.doubted = true
		}
		s.pending = append(s.pending, asked...)
		doubtful = s.sift(c)
	}
	for _, r := range doubtful {
		switch {
		case r.verdict != "":
		case r.doubted:
			s.unexplained(r)
		default: // its turn to be asked about comes
			s.pending = append(s.pending, r)
		}
	}
	for _, r := range overdue {
		if r.verdict != "" || r.settled {
			continue
		}
		if rec := s.firstOf(r, fitsPart); rec != nil {
			s.join(r, rec, "request_id")
			continue
		}
		s.missing(r)
	}
	s.told = nil
	s.forget()
	// A key can turn up in a record until the record of its last moment is due.
	s.scope.forget(c.Now.Add(-2*s.c.TrailDelay - time.Hour))
	for id, x := range s.sessions {
		if x.EndsAt.Before(c.Now.Add(-rememberSessions)) {
			delete(s.sessions, id)
		}
	}
	return s.take(), nil
}

// Behind says that the last Advance did not judge all that can be judged: it is
// to be called again at once.
func (s *State) Behind() bool { return s.behind }

// cut leaves what is too much to be asked about at once for later: in the order
// of time, so that a store has to look at little of it.
func (s *State) cut(doubtful []*record) (now, later []*record) {
	slices.SortFunc(doubtful, func(a, b *record) int {
		if d := a.EventTime.Compare(b.EventTime); d != 0 {
			return d
		}
		return strings.Compare(a.EventID, b.EventID)
	})
	if len(doubtful) <= atOnce {
		return doubtful, nil
	}
	s.behind = true
	return doubtful[:atOnce], doubtful[atOnce:]
}

// overdue takes the requests whose record should have been there.
func (s *State) overdue(c Clock) []*request {
	var out []*request
	for len(s.due) > 0 {
		if len(out) == atOnce {
			s.behind = true
			break
		}
		r := s.due[0]
		deadline := r.ReceivedAt.Add(s.c.TrailDelay + s.c.Skew)
		if r.verdict == "" && (deadline.After(c.Now) || deadline.After(c.Records)) {
			break
		}
		heap.Pop(&s.due)
		switch {
		case r.verdict != "":
		case r.Outcome == Failed:
			s.settle(r) // AWS need not have seen it, so nothing is missing
		default:
			out = append(out, r)
		}
	}
	return out
}

// sift goes through the pending records whose requests must be known by now. It
// returns those that the store has to be asked about first: the deliveries that
// may be doubles, and the records of ours that nothing here explains. Asked
// before, a record is judged by what explains it.
func (s *State) sift(c Clock) []*record {
	var keep, ask, rest, copies []*record
	s.early = 0
	for _, r := range s.pending {
		if r.verdict != "" {
			continue
		}
		if r.arrived.After(c.Requests) {
			s.early++
			keep = append(keep, r)
			continue
		}
		s.scope.name(&r.Record)
		req := s.requestOf(r)
		if req != nil && req.verdict == "" && fit(req, r) != fitsNot { // waits for a record that fits better
			copies = append(copies, r)
			continue
		}
		cred, own := s.scope.keys[r.IssuedAccessKeyID]
		own = own && r.IssuedAccessKeyID != "" && !cred.PassedOn
		console, fromConsole := s.scope.console(&r.Record)
		ours := s.scope.knows(&r.Record)
		switch {
		case !ours && !own && req == nil && (r.doubted || r.IssuedAccessKeyID == ""):
			s.drop(r)
		case !ours && !own && req == nil, !r.doubted && (req != nil || own || ours && (fromConsole || r.InvokedBy != "")):
			ask = append(ask, r) // has it been judged, does the store know the key
		case req != nil:
			s.byRequestID(req, r)
		case own:
			s.judgeRecord(r, events.Credentials, "issued_key", "postern assumed "+cred.RoleARN+" for "+cred.User, nil)
		case fromConsole:
			s.judgeRecord(r, events.Console, "console_session", "console session of "+console.User, nil)
		case r.InvokedBy != "":
			s.judgeRecord(r, events.Forwarded, "invoked_by", r.InvokedBy+" acted for the identity", nil)
		default:
			rest = append(rest, r)
		}
	}
	s.pending = keep
	rest, wait := s.byKeyNameTime(c, rest)
	s.pending = append(s.pending, s.hold(append(copies, wait...), c)...)
	return append(ask, rest...)
}

// byKeyNameTime pairs the nearest first, and keeps a record waiting while a
// request that could turn out to be its own is still in flight. It returns those that
// nothing explains, and of these apart those that wait for the caller's own record.
func (s *State) byKeyNameTime(c Clock, records []*record) (out, wait []*record) {
	type candidate struct {
		req  *request
		rec  *record
		away time.Duration
	}
	var all []candidate
	for _, rec := range records {
		s.calls(rec, func(req *request) {
			if away, ok := s.near(req, rec); ok {
				all = append(all, candidate{req, rec, away})
			}
		})
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.away != b.away {
			return int(a.away - b.away)
		}
		if d := strings.Compare(a.req.ID, b.req.ID); d != 0 {
			return d
		}
		return strings.Compare(a.rec.EventID, b.rec.EventID)
	})
	for _, x := range all {
		if x.req.paired() || x.rec.verdict != "" {
			continue
		}
		if x.rec.RequestID != "" && !x.rec.doubted { // the request of that id may be in the store alone
			continue
		}
		if (x.req.Outcome == InFlight || copied(x.req, x.rec)) && !s.lost(x.req, x.rec, c) {
			continue
		}
		s.join(x.req, x.rec, "key_name_time")
	}
	for _, rec := range records {
		switch {
		case rec.verdict != "":
		case s.requestOf(rec) != nil || s.mayBeInFlight(rec, c) || s.mayBeCopy(rec, c): // of one that just got its id
			s.pending = append(s.pending, rec)
		case s.waitsForCaller(rec, c):
			wait = append(wait, rec)
		default:
			out = append(out, rec)
		}
	}
	return out, wait
}

// near says how far apart two sides are that key_name_time could pair.
func (s *State) near(req *request, rec *record) (time.Duration, bool) {
	if req.paired() || req.AccessKeyID == "" || (req.AWSRequestID != "" && rec.RequestID != "") || !agree(req.Account, rec.IdentityAccount) ||
		!SameService(req.Service, req.SigningName, rec.EventSource) {
		return 0, false
	}
	away := req.ReceivedAt.Sub(rec.EventTime).Abs()
	return away, away <= s.c.Skew
}

// lost says that a request in flight will not say more for itself in time.
func (s *State) lost(req *request, rec *record, c Clock) bool {
	return !rec.arrived.Add(s.c.TrailDelay).After(c.Now) || !req.ReceivedAt.Add(s.c.TrailDelay+s.c.Skew).After(c.Now)
}

// mayBeInFlight says that requests in flight could turn out to be a record's.
// They stay in memory, because the record waits for them.
func (s *State) mayBeInFlight(rec *record, c Clock) bool {
	waits := false
	for req := range s.inFly[rec.AccessKeyID] {
		if rec.AccessKeyID != "" && req.ReceivedAt.Add(-s.c.Skew).Before(rec.EventTime) && !s.lost(req, rec, c) {
			s.dequeue(req)
			waits = true
		}
	}
	return waits
}

// mayBeCopy says that a request waits for the record that this one copies.
func (s *State) mayBeCopy(rec *record, c Clock) bool {
	waits := false
	s.calls(rec, func(req *request) {
		if _, ok := s.near(req, rec); ok && copied(req, rec) && !s.lost(req, rec, c) {
			s.dequeue(req)
			waits = true
		}
	})
	return waits
}

func (s *State) doubt(overdue []*request, doubtful []*record) Doubt {
	var d Doubt
	unknown := map[string]bool{"": true} // and asked about already
	for _, r := range overdue {
		d.Requests = append(d.Requests, r.whole())
	}
	for _, r := range doubtful {
		d.Records = append(d.Records, r.Record)
		for _, key := range []string{r.AccessKeyID, r.IssuedAccessKeyID} {
			if _, ok := s.scope.keys[key]; !ok && !unknown[key] {
				unknown[key] = true
				d.Keys = append(d.Keys, key)
			}
		}
	}
	return d
}

// learn takes in what a store knows.
func (s *State) learn(f Found) {
	for _, c := range f.Credentials {
		s.AddCredential(c)
	}
	for _, x := range f.Sessions {
		s.AddSession(x)
	}
	for _, t := range f.Tokens {
		s.AddToken(t)
	}
	for id, x := range f.Judged {
		if rec := s.records[id]; rec != nil && rec.verdict == "" && x.Verdict != "" {
			rec.verdict, rec.Rule, rec.late = x.Verdict, x.Rule, late{true, true} // as of one that addRecord recalls
			s.remember(rec)
		}
	}
	for _, r := range f.JudgedRequests {
		if known := s.byID[r.ID]; known != nil && known.verdict == "" && r.Verdict != "" {
			s.unindex(known)
			known.verdict, known.pair, known.late = r.Verdict, RecordID{r.PairAccount, r.PairEvent}, late{true, true}
			known.wrong = wrongOf(&r)
			s.settle(known)
		}
	}
	for _, r := range f.Requests {
		if s.byID[r.ID] == nil {
			s.addRequest(r)
		}
	}
	for _, r := range f.Records {
		s.addRecord(r, s.now)
	}
}

func (r *Record) service() string {
	label, _, _ := strings.Cut(r.EventSource, ".")
	return label
}

// OldestPending is the lowest place in the CLOUDTRAIL stream of a record that is
// not judged yet; 0 if there is none. All before it is settled.
func (s *State) OldestPending() uint64 {
	var low uint64
	for _, r := range s.pending {
		if r.verdict == "" && r.Seq > 0 && (low == 0 || r.Seq < low) {
			low = r.Seq
		}
	}
	for _, x := range s.copies {
		if low == 0 || x.seq < low {
			low = x.seq
		}
	}
	return low
}
