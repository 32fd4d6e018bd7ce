package correlate

import (
	"container/heap"
	"time"

	"github.com/posternhq/postern/events"
)

// Config bounds what is compared.
type Config struct {
	// TrailDelay is how late a record may be; 0 means 20 minutes. AWS speaks of
	// 5 on average and promises nothing.
	TrailDelay time.Duration
	// Skew is how far the proxy's clock and AWS's may be apart; 0 means 60 s.
	Skew time.Duration
	// Grace is how long after a lock or a session's end a call is not held
	// against it; 0 means 5 s. It covers how far clocks are apart and the time a
	// call takes to its record.
	Grace time.Duration
	// Remember is how many settled requests and records stay in memory, for
	// copies and late deliveries; older ones are recalled. 0 means 30,000.
	Remember int
	// Open is how many requests that wait for their record stay in memory, as many
	// in flight besides, and as many records that wait because they are copies. Older ones are recalled when a record asks for them,
	// or when they are overdue. 0 means 30,000.
	Open int
	// Short is how many more stay in memory in short, some 120 bytes each: what it
	// takes to pair one with a record by AWS's request id. 0 means 400,000, less than
	// 0 none.
	Short int
}

// State holds what is not settled yet, and a little of what is. It is not safe
// for concurrent use.
type State struct {
	c      Config
	scope  scope
	byID   map[string]*request
	byAWS  map[string]*request              // the first of a chain, see request.same
	byCall map[call]map[*request]struct{}   // unpaired, for key_name_time
	inFly  map[string]map[*request]struct{} // in flight, by access key
	due    dueHeap
	ended  queue // open requests whose end is known
	flying queue // open requests in flight
	shorts shorts
	// spilled are open requests that are in the store alone, by the minute of
	// their receipt.
	spilled map[time.Time]*spilledMinute
	callers map[caller]*caller
	callees map[callee]*callee
	behind  bool
	early   int

	sessions map[string]Session
	locks    map[string]Lock
	trails   map[string]Trail

	records map[RecordID]*record
	byReq   map[string]map[*record]struct{} // unpaired, by AWS request id
	pending []*record                       // not judged yet
	copies  []spilledCopy                   // nor these, the first due first
	shared  map[string]*record              // that no request made, by SharedEventID: the first of each
	told    map[string]string               // verdicts of such, as the store told in this Advance

	passed      []Credential // keys whose records the store has yet to be asked for
	asking      int          // how many of these, from the first, a page was asked for
	passedAfter Cursor       // the last record that was found of these

	settledRequests []*request // oldest first, to be forgotten
	settledRecords  []remembered

	out []Judgement
	now time.Time
}

type record struct {
	Record
	verdict string
	late    late
	arrived time.Time
	// doubted: the store was asked and knows nothing more.
	doubted bool
	// waited: the caller's own record did not come, see waitsForCaller.
	waited bool
}

// New returns an empty state.
func New(c Config) *State {
	if c.TrailDelay == 0 {
		c.TrailDelay = 20 * time.Minute
	}
	if c.Skew == 0 {
		c.Skew = time.Minute
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Remember == 0 {
		c.Remember = 30_000
	}
	if c.Open == 0 {
		c.Open = 30_000
	}
	if c.Short == 0 {
		c.Short = 400_000
	}
	return &State{
		c:      c,
		scope:  newScope(c.Skew),
		byID:   map[string]*request{},
		byAWS:  map[string]*request{},
		byCall: map[call]map[*request]struct{}{},
		inFly:  map[string]map[*request]struct{}{},

		shorts:  newShorts(c.Short),
		spilled: map[time.Time]*spilledMinute{},
		callers: map[caller]*caller{},
		callees: map[callee]*callee{},

		sessions: map[string]Session{},
		locks:    map[string]Lock{},
		trails:   map[string]Trail{},

		records: map[RecordID]*record{},
		byReq:   map[string]map[*record]struct{}{},
		shared:  map[string]*record{},
	}
}

// Sizes says how much is held, for metrics and tests.
func (s *State) Sizes() (requests, records int) { return len(s.byID) + s.shorts.n, len(s.records) }

// Open is how many requests in memory wait for their record.
func (s *State) Open() int { return len(s.due) + s.shorts.n }

// Early is how many records wait until the requests of their time are known. Who
// feeds the state has a reason to wait when these are many.
func (s *State) Early() int { return s.early }

// AddCredential tells of credentials that postern got from STS.
func (s *State) AddCredential(c Credential) {
	s.scope.credential(c)
}

// AddToken tells of a signature that a user was given.
func (s *State) AddToken(t Token) { s.scope.token(t) }

// AddIdentity tells of an identity that postern may lend to a user.
func (s *State) AddIdentity(i Identity, sourceIdentity, user string) {
	s.scope.identity(i, sourceIdentity, user)
}

// AddRole tells of AWS's own name (AROA…) of a role that postern lends.
func (s *State) AddRole(id, arn string) { s.scope.role(id, arn) }

// AddRequest tells of a request, or more of a known one.
func (s *State) AddRequest(r Request, at time.Time) []Judgement {
	s.now = at
	s.addRequest(r)
	s.spill()
	return s.take()
}

func (s *State) addRequest(r Request) {
	known := s.byID[r.ID]
	switch {
	case known == nil:
		s.addNew(s.newRequest(&r))
		return
	case r.Outcome != InFlight && known.Outcome == InFlight:
		s.unindex(known)
		known.Outcome, known.AWSRequestID, known.took = r.Outcome, r.AWSRequestID, r.Took
		if known.in != nil {
			s.enqueue(known)
		}
		s.pairUp(known)
	}
}

// addNew takes a request that is not known yet.
func (s *State) addNew(r *request) {
	s.unshort(r)
	s.byID[r.ID] = r
	if r.verdict != "" {
		r.late = late{true, true} // looked at when it was judged
		s.settle(r)
	} else {
		heap.Push(&s.due, r)
		s.enqueue(r)
	}
	s.pairUp(r)
}

// pairUp looks for the record of a request among those that came before it.
func (s *State) pairUp(r *request) {
	s.link(r)
	if r.paired() {
		return
	}
	s.index(r)
	if rec := s.firstOf(r, fitsOwn); rec != nil {
		s.join(r, rec, "request_id")
	}
}

// AddRecord tells of a record that arrived at that time.
func (s *State) AddRecord(r Record, at time.Time) []Judgement {
	s.now = at
	s.addRecord(r, at)
	return s.take()
}

func (s *State) addRecord(r Record, at time.Time) {
	if known, again := s.records[r.ID()]; again {
		if known.verdict == "" && known.Seq == 0 { // recalled before the stream came to it, which is to hold the mark
			known.Seq = r.Seq
		}
		return
	}
	if !s.concerns(&r) {
		return
	}
	rec := &record{Record: r, verdict: r.Verdict, arrived: at}
	if r.Verdict != "" {
		rec.late = late{true, true}
	}
	s.records[r.ID()] = rec
	if settled(rec.verdict) {
		s.remember(rec)
		return
	}
	if r.RequestID != "" {
		s.unshorten(rec)
		insert(s.byReq, r.RequestID, rec)
		if req := s.requestOf(rec); req != nil && !req.paired() && fit(req, rec) == fitsOwn {
			s.join(req, rec, "request_id")
			return
		}
	}
	if rec.verdict == "" {
		s.early++
		s.pending = append(s.pending, rec)
	} else { // a bypass that a store recalls: waits for its request
		s.remember(rec)
	}
}

// byRequestID settles a record whose request is known by AWS's id.
func (s *State) byRequestID(req *request, rec *record) {
	switch {
	case fit(req, rec) == fitsNot:
		s.judgeRecord(rec, events.Proxied, ruleSame, "what AWS did for the request", req)
	case !req.paired():
		s.join(req, rec, "request_id")
	case req.wrong != nil && req.wrong.another && req.pair != rec.ID() && fit(req, rec) == fitsOwn && len(disagreements(req, rec)) == 0:
		s.pairAgain(req, rec)
	case req.pair == rec.ID():
		rec.verdict = req.verdict // a delivery of what is judged
		remove(s.byReq, rec.RequestID, rec)
		s.remember(rec)
	case rec.SharedEventID != "" && rec.SharedEventID == req.shared:
		s.judgeRecord(rec, events.Proxied, ruleShared, sameEvent, req)
	default:
		s.judgeRecord(rec, events.Proxied, ruleSame, oneMore, req)
	}
}

// requestOf finds the request of a record by AWS's id: the one that it is paired
// with, else one that waits, else any.
func (s *State) requestOf(rec *record) (found *request) {
	if rec.RequestID == "" {
		return nil
	}
	for req := s.byAWS[rec.RequestID]; req != nil; req = req.same {
		switch {
		case !guard(req, rec):
		case req.paired() && req.pair == rec.ID():
			return req
		case found == nil, found.paired() && !req.paired():
			found = req
		}
	}
	return found
}

// fitness is how well a record with a request's AWS request id is that of the request
// itself, the lower the better. CloudTrail repeats the id in records of what AWS did for
// the request, and of its parts, and these may come first.
type fitness int

const (
	fitsOwn     fitness = iota // of the caller's account, service and operation agree: a pair at once
	fitsCopy                   // as another account got it: pairs if the caller's own does not come
	fitsService                // the same call, by an AWS service
	fitsPart                   // another call, by nobody else: disagrees if no better one comes
	fitsNot                    // another call, by an AWS service
)

// fit says how well a record fits a request whose AWS request id it has.
func fit(req *request, rec *record) fitness {
	same := (req.Service == "" || rec.EventSource == "" || SameService(req.Service, req.SigningName, rec.EventSource)) &&
		(req.Operation == "" || rec.EventName == "" || SameName(req.Service, req.Operation, rec.EventSource, rec.EventName))
	switch {
	case !same && rec.InvokedBy != "":
		return fitsNot
	case !same:
		return fitsPart
	case rec.InvokedBy != "":
		return fitsService
	case copied(req, rec):
		return fitsCopy
	}
	return fitsOwn
}

// copied says that a record is what another account got of an event: AWS sends
// it to the caller's account and to the owner of the resource. The caller's is
// the pair; a copy only where the caller's does not come.
func copied(req *request, rec *record) bool { return !agree(req.Account, rec.Account) }

// firstOf returns an unpaired record of a request by AWS's id, that fits at least as well
// as worst: the best, of these the one that arrived first; nil for none.
func (s *State) firstOf(req *request, worst fitness) *record {
	var first *record
	if req.AWSRequestID == "" {
		return nil
	}
	best := worst
	for rec := range s.byReq[req.AWSRequestID] {
		f := fit(req, rec)
		if f > best || !guard(req, rec) {
			continue
		}
		if first == nil || f < best || rec.arrived.Before(first.arrived) || rec.arrived.Equal(first.arrived) && rec.EventID < first.EventID {
			first, best = rec, f
		}
	}
	return first
}

// concerns tells records apart that could be about an identity of ours, or a request.
func (s *State) concerns(r *Record) bool {
	if r.SessionName != "" || r.SourceIdentity != "" || r.AccessKeyID != "" || r.IssuedAccessKeyID != "" {
		return true
	}
	if r.RequestID == "" {
		return false
	}
	_, x, _ := s.shorts.find(r.RequestID)
	return x != nil || s.byAWS[r.RequestID] != nil
}

// guard refuses a pair by request id whose sides name different accounts or keys.
func guard(req *request, rec *record) bool {
	return agree(req.Account, rec.IdentityAccount) && agree(req.AccessKeyID, rec.AccessKeyID)
}

func agree(a, b string) bool { return a == "" || b == "" || a == b }

func (r *request) paired() bool { return r.verdict == events.Matched || r.verdict == events.Mismatched }

// settled says that no other side is waited for.
func settled(recordVerdict string) bool {
	return recordVerdict != "" && recordVerdict != events.Bypass
}

func (s *State) take() []Judgement {
	out := s.out
	s.out = nil
	return out
}

// remembered is a record that is settled.
type remembered struct {
	id  RecordID
	rec *record
}

// over stands for all records of which nothing but that they are settled matters any more.
var over = &record{verdict: events.Matched}

// remember keeps a record that is settled for a while: of most that it was there.
func (s *State) remember(rec *record) {
	id := rec.ID()
	switch rec.verdict {
	case events.Bypass, events.Console, events.Exported, events.ByToken, events.Forwarded: // see lateRecord
		s.settledRecords = append(s.settledRecords, remembered{id, rec})
		if rec.SharedEventID != "" && s.shared[rec.SharedEventID] == nil {
			s.shared[rec.SharedEventID] = rec
		}
	default:
		s.records[id] = over
		s.settledRecords = append(s.settledRecords, remembered{id, over})
	}
}

// forget drops the oldest settled things beyond what is remembered.
func (s *State) forget() {
	for len(s.settledRequests) > s.c.Remember {
		r := s.settledRequests[0]
		s.settledRequests[0] = nil
		s.settledRequests = s.settledRequests[1:]
		s.dropRequest(r)
	}
	for len(s.settledRecords) > s.c.Remember {
		x := s.settledRecords[0]
		s.settledRecords[0] = remembered{}
		s.settledRecords = s.settledRecords[1:]
		if x.rec != over {
			remove(s.byReq, x.rec.RequestID, x.rec)
			if s.shared[x.rec.SharedEventID] == x.rec {
				delete(s.shared, x.rec.SharedEventID)
			}
		}
		if s.records[x.id] == x.rec {
			delete(s.records, x.id)
		}
	}
	s.spill()
}

// Withdraw takes back a request that failed before it was forwarded: AWS has
// nothing to say about it.
func (s *State) Withdraw(requestID string) {
	if r := s.byID[requestID]; r != nil && r.verdict == "" {
		s.dropRequest(r)
	}
}
