package correlate

import (
	"container/heap"
	"time"

	"github.com/posternhq/postern/events"
)

// request is a Request as the state holds it: short, because there are many, so
// what requests have in common is held once.
type request struct {
	ID           string
	AWSRequestID string
	ReceivedAt   time.Time
	Outcome      Outcome
	Resources    []string // until it is settled
	took         time.Duration
	seq          uint64
	*caller
	*callee

	verdict string
	pair    RecordID
	wrong   *wrongPair // of a pair that disagrees
	shared  string     // the pair's SharedEventID
	late    late
	settled bool
	refused bool // by AWS, as the pair says

	same       *request // another one with the same AWS request id
	place      int      // in the due heap; -1: not in it
	in         *queue
	prev, next *request // in the queue
}

// wrongPair is what is known of a pair that disagrees.
type wrongPair struct {
	at      time.Time // of the record
	another bool      // call, and the same caller
}

func wrongOf(r *Request) *wrongPair {
	if r.Verdict != events.Mismatched {
		return nil
	}
	return &wrongPair{r.PairTime, ofAnother(r.Detail)}
}

// caller is as whom a request was made.
type caller struct {
	User, Account, RoleARN, SessionName, SourceIdentity, AccessKeyID, SessionID, Proxy string
}

// callee is what was called.
type callee struct {
	Region, Service, SigningName, Operation string
	ReadOnly                                bool
}

// shareAtMost bounds the tables of what requests have in common.
const shareAtMost = 20_000

func (s *State) newRequest(r *Request) *request {
	who := caller{r.User, r.Account, r.RoleARN, r.SessionName, r.SourceIdentity, r.AccessKeyID, r.SessionID, r.Proxy}
	what := callee{r.Region, r.Service, r.SigningName, r.Operation, r.ReadOnly}
	by := s.callers[who]
	if by == nil {
		if len(s.callers) >= shareAtMost {
			clear(s.callers)
		}
		by = &who
		s.callers[who] = by
		s.scope.identity(Identity{roleAccount(r.RoleARN), roleName(r.RoleARN), r.SessionName}, r.SourceIdentity, r.User)
	}
	of := s.callees[what]
	if of == nil {
		if len(s.callees) >= shareAtMost {
			clear(s.callees)
		}
		of = &what
		s.callees[what] = of
	}
	return &request{
		ID: r.ID, AWSRequestID: r.AWSRequestID, ReceivedAt: r.ReceivedAt, Outcome: r.Outcome, Resources: r.Resources, took: r.Took, seq: r.Seq,
		caller: by, callee: of, verdict: r.Verdict, pair: RecordID{r.PairAccount, r.PairEvent}, wrong: wrongOf(r), place: -1,
	}
}

// whole is the request as it was told.
func (r *request) whole() Request {
	return Request{
		ID: r.ID, AWSRequestID: r.AWSRequestID, ReceivedAt: r.ReceivedAt, Outcome: r.Outcome, Resources: r.Resources, Took: r.took, Seq: r.seq,
		User: r.User, Account: r.Account, RoleARN: r.RoleARN, SessionName: r.SessionName, SourceIdentity: r.SourceIdentity,
		AccessKeyID: r.AccessKeyID, SessionID: r.SessionID, Proxy: r.Proxy, Region: r.Region, Service: r.Service, SigningName: r.SigningName,
		Operation: r.Operation, ReadOnly: r.ReadOnly, Verdict: r.verdict, PairAccount: r.pair.Account, PairEvent: r.pair.EventID,
	}
}

// settle moves a request from those that wait to those that are remembered.
func (s *State) settle(r *request) {
	s.dequeue(r)
	if r.place >= 0 {
		heap.Remove(&s.due, r.place)
	}
	if !r.settled {
		r.settled = true
		s.settledRequests = append(s.settledRequests, r)
	}
}

// dropRequest takes a request out of memory.
func (s *State) dropRequest(r *request) {
	s.dequeue(r)
	if r.place >= 0 {
		heap.Remove(&s.due, r.place)
	}
	s.unindex(r)
	s.unlink(r)
	if s.byID[r.ID] == r {
		delete(s.byID, r.ID)
	}
}

// spilledMinute is what is known of the open requests of a minute that are in
// the store alone.
type spilledMinute struct {
	seq       uint64    // the lowest place in the AUDIT stream among them
	last      time.Time // when the last of them was received
	afterTime time.Time
	afterID   string
}

// Span asks for requests received from From on and before To that wait for a
// record: in the order of receipt and id, those after (AfterTime, AfterID), Limit
// of them at most.
type Span struct {
	From, To  time.Time
	AfterTime time.Time
	AfterID   string
	Limit     int
}

// atOnce bounds what is in doubt at once, and so what is recalled.
const atOnce = 5_000

// spill forgets the oldest open requests beyond what is held whole: the store has them.
func (s *State) spill() {
	for _, q := range []*queue{&s.ended, &s.flying} {
		for q.n > s.c.Open {
			r := q.first
			s.Spilled(r.ReceivedAt, r.seq)
			s.dropRequest(r)
			s.shorts.add(r)
		}
	}
}

// Spilled tells of an open request that the store has, received at a time and at
// a place in the AUDIT stream.
func (s *State) Spilled(received time.Time, seq uint64) {
	minute := received.UTC().Truncate(time.Minute)
	if m := s.spilled[minute]; m == nil {
		s.spilled[minute] = &spilledMinute{seq: seq, last: received}
	} else {
		m.seq = min(m.seq, seq)
		if received.After(m.last) {
			m.last = received
		}
		m.afterTime, m.afterID = time.Time{}, "" // it may be before what was read
	}
}

// spilledDue finds a minute of which all requests are overdue.
func (s *State) spilledDue(c Clock) (time.Time, bool) {
	var first time.Time
	for minute, m := range s.spilled {
		deadline := m.last.Add(s.c.TrailDelay + s.c.Skew)
		if !deadline.After(c.Now) && !deadline.After(c.Records) && (first.IsZero() || minute.Before(first)) {
			first = minute
		}
	}
	return first, !first.IsZero()
}

func (s *State) span(minute time.Time) *Span {
	m := s.spilled[minute]
	return &Span{From: minute, To: minute.Add(time.Minute), AfterTime: m.afterTime, AfterID: m.afterID, Limit: atOnce}
}

// unspill takes what a store has for a minute's span.
func (s *State) unspill(minute time.Time, found []Request) {
	m := s.spilled[minute]
	if m == nil {
		return
	}
	for _, r := range found {
		r.Seq = m.seq
		if s.byID[r.ID] == nil {
			s.addRequest(r)
			s.dequeue(s.byID[r.ID]) // due as it is, so not to be spilled again
		}
		m.afterTime, m.afterID = r.ReceivedAt, r.ID
	}
	if len(found) < atOnce {
		delete(s.spilled, minute)
	}
}

// OldestOpen is the lowest place in the AUDIT stream of a request that is not
// judged yet; 0 if there is none. All before it is settled.
func (s *State) OldestOpen() uint64 {
	low := uint64(0)
	lower := func(seq uint64) {
		if low == 0 || seq < low {
			low = seq
		}
	}
	for _, r := range s.due {
		lower(r.seq)
	}
	for _, m := range s.spilled {
		lower(m.seq)
	}
	return low
}

// queue is a list of requests, the oldest first.
type queue struct {
	first, last *request
	n           int
}

func (s *State) enqueue(r *request) {
	s.dequeue(r)
	q := &s.ended
	if r.Outcome == InFlight {
		q = &s.flying
	}
	r.in, r.prev = q, q.last
	if q.last != nil {
		q.last.next = r
	} else {
		q.first = r
	}
	q.last = r
	q.n++
}

func (s *State) dequeue(r *request) {
	q := r.in
	if q == nil {
		return
	}
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		q.first = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		q.last = r.prev
	}
	r.in, r.prev, r.next = nil, nil, nil
	q.n--
}

// dueHeap orders requests by when their record is overdue.
type dueHeap []*request

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].ReceivedAt.Before(h[j].ReceivedAt) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *dueHeap) Push(x any) {
	r := x.(*request)
	r.place = len(*h)
	*h = append(*h, r)
}
func (h *dueHeap) Pop() any {
	old := *h
	n := len(old) - 1
	x := old[n]
	old[n] = nil
	*h = old[:n]
	x.place = -1
	return x
}
