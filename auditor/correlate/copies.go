package correlate

import (
	"time"

	"github.com/posternhq/postern/events"
)

// spilledCopy is a record that waits in the store alone, for what the caller's own
// account gets of the event.
type spilledCopy struct {
	due time.Time
	seq uint64 // its place in CLOUDTRAIL
}

// hold keeps waiting copies, and the requests that they wait for, in memory: the newest
// of them, as many as open requests. Of the others their places are known.
func (s *State) hold(copies []*record, c Clock) []*record {
	over := len(copies) - s.c.Open
	held := copies[:0]
	for _, rec := range copies {
		req := s.requestOf(rec)                                        // nil: see waitsForCaller
		if over > 0 && rec.Seq > 0 && (req == nil || req.place >= 0) { // who is overdue needs it now
			over--
			s.copies = append(s.copies, spilledCopy{c.Now.Add(s.c.TrailDelay + s.c.Skew), rec.Seq})
			s.drop(rec)
			if req != nil && req.in == nil { // it may be spilled, too
				s.enqueue(req)
			}
			continue
		}
		if req != nil {
			s.dequeue(req)
		}
		held = append(held, rec)
	}
	return held
}

// copiesDue are the places of copies that have waited for long enough: their requests
// are judged by now, or will be when the copies are there.
func (s *State) copiesDue(c Clock) []uint64 {
	var out []uint64
	for _, x := range s.copies {
		if len(out) == atOnce || x.due.After(c.Now) {
			break
		}
		out = append(out, x.seq)
	}
	return out
}

// unspillCopies takes what a store has for the first n copies.
func (s *State) unspillCopies(n int, found []Record) {
	s.copies = s.copies[n:]
	s.behind = s.behind || n == atOnce
	for _, r := range found {
		s.addRecord(r, s.now)
		if rec := s.records[r.ID()]; rec != nil && rec != over {
			rec.waited = true
		}
	}
}

// waitsForCaller says that a record is to wait for what the caller's own account gets of
// the event: it doesn't have the key, by which alone calls that postern knows of are told
// from others of the same identity.
func (s *State) waitsForCaller(rec *record, c Clock) bool {
	if rec.AccessKeyID != "" || rec.Account == rec.IdentityAccount || rec.waited || s.shared[rec.SharedEventID] != nil {
		return false
	}
	if rec.arrived.Add(s.c.TrailDelay).After(c.Now) {
		return rec.doubted // the store is asked first, and once more at the end
	}
	rec.waited = true
	return false
}

// follow judges a record as another account's record of the same event was, if that is
// known: what there is to find was found then.
func (s *State) follow(rec *record) bool {
	if rec.SharedEventID == "" {
		return false
	}
	verdict := s.told[rec.SharedEventID]
	if first := s.shared[rec.SharedEventID]; first != nil && first != rec {
		verdict = first.verdict
	}
	switch verdict {
	case events.Bypass, events.Console, events.Exported, events.ByToken, events.Forwarded:
		rec.Rule = ruleShared
		s.judgeRecord(rec, verdict, ruleShared, sameEvent, nil)
		return true
	}
	return false
}

// ruleShared is the rule of verdicts that follow from that on another account's record of
// the event, sameEvent their detail.
const (
	ruleShared = "shared_event"
	sameEvent  = "the same event as another account got it"
	// ruleSame is of further records with a request's AWS id.
	ruleSame = "same_request"
	oneMore  = "one more record of the request"
)
